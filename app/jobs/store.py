"""What a gateway asks and changes of files, batches and jobs in PostgreSQL. All is of one tenant, and stays so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.jobs.schema import CLAIMED, QUEUED

_JOB = f"""
SELECT b.*, r.attempts, CASE WHEN b.status = 'validating' OR r.state = {QUEUED} THEN (
    SELECT count(*) FROM penstock_jobs.rows o
    WHERE o.tenant = b.tenant AND o.state = {QUEUED} AND o.rank = 0 AND o.batch_seq < b.seq
) + (
    SELECT count(*) FROM penstock_jobs.batches e
    WHERE e.tenant = b.tenant AND e.kind = 'job' AND e.status = 'validating' AND e.seq < b.seq
) ELSE 0 END AS queued_before
FROM penstock_jobs.batches b LEFT JOIN penstock_jobs.rows r ON r.batch = b.id
WHERE b.id = $1 AND b.tenant = $2 AND b.kind = 'job'
"""  # noqa: S608 - only numbers of this package are put in
_WAITING = f"SELECT count(*) FROM penstock_jobs.rows WHERE tenant = $1 AND state IN ({QUEUED}, {CLAIMED})"  # noqa: S608


@dataclass(frozen=True)
class NewBatch:
    id: str
    kind: str
    tenant: str
    key_id: str
    endpoint: str
    input_file: str | None
    input_object: str
    input_bytes: int
    seconds: float
    """Until it expires."""
    metadata: dict[str, str] | None
    webhook: str | None
    idempotency_key: str | None
    fingerprint: bytes
    """Of what was asked: the same idempotency key must mean the same."""


class Store:
    """Raises FAILURES."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def add_file(
        self, identity: str, tenant: str, key_id: str, purpose: str, name: str, size: int, key: str, seconds: float
    ) -> asyncpg.Record:
        row = await self._connection.fetchrow(
            "INSERT INTO penstock_jobs.files (id, tenant, key_id, purpose, filename, bytes, object_key, expires_at) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, now() + $8 * interval '1 second') RETURNING *",
            *(identity, tenant, key_id, purpose, name, size, key, seconds),
        )
        assert row is not None  # noqa: S101 - an insert returns its row
        return row

    async def file(self, identity: str, tenant: str) -> asyncpg.Record | None:
        return await self._connection.fetchrow(
            "SELECT * FROM penstock_jobs.files WHERE id = $1 AND tenant = $2 AND expires_at > now()", identity, tenant
        )

    async def list_files(
        self, tenant: str, purpose: str | None, after: str | None, limit: int, *, newest_first: bool
    ) -> list[asyncpg.Record]:
        """One more than the limit, where there is one."""
        sign, order = ("<", "DESC") if newest_first else (">", "ASC")
        return await self._connection.fetch(
            "SELECT * FROM penstock_jobs.files WHERE tenant = $1 AND expires_at > now() "  # noqa: S608
            "AND ($2::text IS NULL OR purpose = $2) AND ($3::text IS NULL OR "
            f"seq {sign} (SELECT seq FROM penstock_jobs.files WHERE id = $3 AND tenant = $1)) "
            f"ORDER BY seq {order} LIMIT $4",
            *(tenant, purpose, after, limit + 1),
        )

    async def remove_file(self, identity: str, tenant: str) -> None:
        await self._connection.execute(
            "DELETE FROM penstock_jobs.files WHERE id = $1 AND tenant = $2", identity, tenant
        )

    async def used_by(self, file: str) -> str | None:
        """A batch that still reads this file."""
        return await self._connection.fetchval(
            "SELECT id FROM penstock_jobs.batches WHERE input_file = $1 AND ended_at IS NULL LIMIT 1", file
        )

    async def waiting(self, tenant: str) -> int:
        """Requests of a tenant that have not ended."""
        return await self._connection.fetchval(_WAITING, tenant)

    async def same(self, new: NewBatch) -> asyncpg.Record | None:
        """What was made before with the idempotency key."""
        if new.idempotency_key is None:
            return None
        return await self._connection.fetchrow(
            "SELECT * FROM penstock_jobs.batches "
            "WHERE tenant = $1 AND key_id = $2 AND kind = $3 AND idempotency_key = $4",
            *(new.tenant, new.key_id, new.kind, new.idempotency_key),
        )

    async def add_batch(self, new: NewBatch) -> asyncpg.Record | None:
        """None where the idempotency key was used in the meantime."""
        return await self._connection.fetchrow(
            "INSERT INTO penstock_jobs.batches (id, kind, tenant, key_id, endpoint, input_file, input_object, "
            "input_bytes, status, expires_at, metadata, webhook, idempotency_key, fingerprint) VALUES ($1, $2, $3, $4, "
            "$5, $6, $7, $8, 'validating', now() + $9 * interval '1 second', $10, $11, $12, $13) "
            "ON CONFLICT (tenant, key_id, kind, idempotency_key) DO NOTHING RETURNING *",
            *(new.id, new.kind, new.tenant, new.key_id, new.endpoint, new.input_file, new.input_object),
            *(new.input_bytes, new.seconds, None if new.metadata is None else json.dumps(new.metadata)),
            *(new.webhook, new.idempotency_key, new.fingerprint),
        )

    async def batch(self, identity: str, tenant: str, kind: str) -> dict[str, Any] | None:
        if kind == "job":
            found = await self._connection.fetchrow(_JOB, identity, tenant)
        else:
            found = await self._connection.fetchrow(
                "SELECT * FROM penstock_jobs.batches WHERE id = $1 AND tenant = $2 AND kind = 'batch'", identity, tenant
            )
        return None if found is None else dict(found)

    async def list_batches(self, tenant: str, kind: str, after: str | None, limit: int) -> list[asyncpg.Record]:
        """The newest first; one more than the limit, where there is one."""
        return await self._connection.fetch(
            "SELECT b.*, NULL AS queued_before, (SELECT max(attempts) FROM penstock_jobs.rows r WHERE r.batch = b.id "
            "AND b.kind = 'job') AS attempts FROM penstock_jobs.batches b WHERE b.tenant = $1 AND b.kind = $2 AND "
            "($3::text IS NULL OR seq < (SELECT seq FROM penstock_jobs.batches WHERE id = $3 AND tenant = $1)) "
            "ORDER BY seq DESC LIMIT $4",
            *(tenant, kind, after, limit + 1),
        )

    async def cancel(self, identity: str, tenant: str) -> None:
        """Nothing where it has ended, or is about to."""
        await self._connection.execute(
            "UPDATE penstock_jobs.batches SET status = 'cancelling', cancelling_at = now() "
            "WHERE id = $1 AND tenant = $2 AND status IN ('validating', 'in_progress')",
            *(identity, tenant),
        )
