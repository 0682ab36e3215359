"""Rows and objects that the rehearsal of a move plants, and counts again on the other side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from infra.ops.move.objects import PART_BYTES, Bucket

ROWS = 5000
"""Of the ledger."""
PLANTED = {
    "penstock_ledger.usage": ROWS,
    "penstock_keys.tenants": 3,
    "penstock_keys.keys": 30,
    "penstock_jobs.files": 2,
    "penstock_retrieval.collections": 1,
    "penstock_retrieval.documents": 20,
}
OBJECTS = {
    "registry/tiny/pointer.json": b'{"version": "one"}',
    "tiny/one/config.json": b"{}",
    "acme/ein gewöhnlicher name.jsonl": bytes(range(256)) * 64,
    "tiny/one/model.safetensors": b"weights!" * (PART_BYTES // 8 + 4096),
}
"""The last one goes in two parts."""
MIGRATE = ["migrate", "--login", "gateway", "--keep-days", "400", "--jobs", "jobs", "--retrieval"]
LOGINS = {
    "PENSTOCK_DATABASE_LOGIN_PASSWORD": "of the rehearsal",
    "PENSTOCK_DATABASE_JOBS_PASSWORD": "of the rehearsal",
}
_SQL = f"""
INSERT INTO penstock_keys.tenants (name) VALUES ('acme'), ('other'), ('third');
INSERT INTO penstock_keys.keys (id, name, tenant, access, sha256, created_by)
    SELECT 'key-' || n, 'rehearsal', 'acme', '{{}}', sha256(n::text::bytea), 'rehearsal' FROM generate_series(1, 30) n;
INSERT INTO penstock_ledger.usage (day, id, ended_at, request_id, tenant, key_id, model, colour, route, status,
        outcome, stream, input_tokens, output_tokens, cached_tokens, estimated, duration_ms, tries, resumed, cost_usd)
    SELECT at::date, gen_random_uuid(), at, 'r' || n, 'acme', 'key-1', 'tiny', 'blue', 'chat', 200, 'ok', true, n, n,
        0, false, n / 7.0, 1, 0, n / 1e6
    FROM generate_series(1, {ROWS}) n, LATERAL (SELECT now() AT TIME ZONE 'UTC' - n % 20 * interval '1 hour' AS at) t;
INSERT INTO penstock_jobs.files (id, tenant, key_id, purpose, filename, bytes, object_key, expires_at)
    SELECT 'file-' || n, 'acme', 'key-1', 'batch', 'in', 1, 'acme/' || n, now() + interval '9 days'
    FROM generate_series(1, 2) n;
INSERT INTO penstock_retrieval.collections (tenant, name, language) VALUES ('acme', 'notes', 'english');
INSERT INTO penstock_retrieval.documents (id, tenant, collection, digest, name, media_type, bytes, text, metadata)
    SELECT 'doc-' || n, 'acme', 1, sha256(n::text::bytea), 'n', 'text/plain', 3, 'text', '{{}}'
    FROM generate_series(1, 20) n;
"""  # noqa: S608 - constants


class CutOff(BaseException):
    """A run that ends in the middle, as by a signal: nothing handles it."""


def plant(given: dict[str, str], aws: dict[str, str]) -> None:
    """`given`: the variables of a pod that signs in as the database's owner."""
    asyncio.run(_do(given | aws, lambda connection: connection.execute(_SQL)))


def count(given: dict[str, str], aws: dict[str, str]) -> dict[str, int]:
    """Rows of the planted tables."""
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in PLANTED)  # noqa: S608 - constants
    row = asyncio.run(_do(given | aws, lambda connection: connection.fetchrow(f"SELECT {counts}")))
    return dict(zip(PLANTED, row, strict=True))


async def _do(environment: dict[str, str], work: Callable[[Any], Awaitable[Any]]) -> Any:
    from app.gateway.database.connection import connect
    from app.gateway.database.secret import owner_environment
    from app.gateway.database.settings import read_database

    database = read_database(owner_environment({**environment, "PENSTOCK_DATABASE_TLS": "prefer"}))
    assert database is not None  # noqa: S101 - the address is the pod's own
    connection = await connect(database, "penstock-rehearsal")
    try:
        return await work(connection)
    finally:
        await connection.close()


def put(bucket: Bucket) -> None:
    for key, body in OBJECTS.items():
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body, IfNoneMatch="*")
