"""One tenant's data, all of it: given out as JSON lines, or erased. What parts are configured decides what there is.

Kept after an erasure: the audit, which says that it happened; and sums of the ledger, in rows that name nobody.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from app.gateway.errors import Problem, Refused, wrong_method

if TYPE_CHECKING:
    import asyncpg

    from app.gateway.keys.admin import Call
    from app.gateway.keys.store import Store
    from app.gateway.service import Service

PAGE = 1000
ERASE_SECONDS = 120
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_NOT_SHOWN = frozenset({"sha256", "previous_sha256"})
"""Hashes of keys open nothing, and are nobody's data."""
_TABLES = {
    "tenant": "SELECT * FROM penstock_keys.tenants WHERE name = $1",
    "key": "SELECT * FROM penstock_keys.keys WHERE tenant = $1 ORDER BY id",
    "feedback": "SELECT * FROM penstock_feedback.feedback WHERE tenant = $1 ORDER BY at, request_id",
    "evaluation": "SELECT * FROM penstock_feedback.evaluation WHERE tenant = $1 ORDER BY request_id",
    "file": "SELECT * FROM penstock_jobs.files WHERE tenant = $1 ORDER BY seq",
    "batch": "SELECT * FROM penstock_jobs.batches WHERE tenant = $1 ORDER BY seq",
    "document": "SELECT * FROM penstock_retrieval.documents WHERE tenant = $1 ORDER BY seq",
}
_ERASED = {
    "feedback": ("DELETE", "DELETE FROM penstock_feedback.feedback WHERE tenant = $1"),
    "privacy": ("DELETE", "DELETE FROM penstock_feedback.privacy WHERE tenant = $1"),
    "collections": ("DELETE", "DELETE FROM penstock_retrieval.collections WHERE tenant = $1"),
}
"""Part -> the right that it takes, and the statement. What hangs on these rows goes with them."""
_AS_TENANT = "SELECT set_config('app.tenant', $1, true)"
"""Row-level security of retrieval shows a transaction the rows of one tenant."""
_LEDGER = "SELECT * FROM penstock_ledger.rows_of($1, $2, $3, $4)"


async def export(connection: asyncpg.Connection, tenant: str) -> AsyncGenerator[bytes]:
    """JSON lines: `object` says what each is. One page is in memory at a time. Raises FAILURES."""
    for kind, statement in _TABLES.items():
        if not await _may(connection, statement):
            continue
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(_AS_TENANT, tenant)
            page = b""
            async for row in connection.cursor(statement, tenant, prefetch=100):
                page += _line(kind, row)
                if len(page) > 64 * 1024:
                    yield page
                    page = b""
            if page:
                yield page
    if await connection.fetchval(
        "SELECT to_regprocedure($1)", "penstock_ledger.rows_of(text,timestamptz,uuid,integer)"
    ):
        after, identity = _FIRST, uuid.UUID(int=0)
        while rows := await connection.fetch(_LEDGER, tenant, after, identity, PAGE):
            yield b"".join(_line("usage", row) for row in rows)
            after, identity = rows[-1]["ended_at"], rows[-1]["id"]
    yield json.dumps({"object": "end", "tenant": tenant}).encode() + b"\n"


async def _may(connection: asyncpg.Connection, statement: str, right: str = "SELECT") -> bool:
    """Whether the statement's table is there, and this login has the right."""
    table = next(word for word in statement.split() if word.startswith("penstock_"))
    return bool(
        await connection.fetchval(
            "SELECT CASE WHEN to_regclass($1) IS NULL THEN false ELSE has_table_privilege($1, $2) END", table, right
        )
    )


def _line(kind: str, row: asyncpg.Record) -> bytes:
    plain = {name: _plain(value) for name, value in row.items() if name not in _NOT_SHOWN}
    return json.dumps({"object": kind, **plain}).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int | float | str | list) else str(value)


async def erase(service: Service, store: Store, tenant: str) -> dict[str, Any]:
    """Revokes the tenant's keys and erases the rest, all or nothing but for the caches, which come first.

    Safe to repeat. Rows that a spool still holds come later: erase again after an hour.
    """
    connection = store.connection
    cached = 0
    if service.cache is not None:
        try:
            cached = await service.cache.purge(tenant=tenant)
        except Exception as error:  # noqa: BLE001 - of either store; nothing was erased yet
            service.log.event("erase_failed", reason=type(error).__name__)
            message = "The cache did not forget the tenant's answers, so nothing was erased. Try again."
            raise Refused(Problem(503, message, "cache_away")) from None
    found: dict[str, int] = {"cached_answers": cached}
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = '{ERASE_SECONDS}s'")
        said = await connection.execute(
            "UPDATE penstock_keys.keys SET revoked_at = coalesce(revoked_at, now()), name = 'erased', "
            "access = '{}' WHERE tenant = $1 AND (revoked_at IS NULL OR name <> 'erased')",
            tenant,
        )
        found["keys_revoked"] = _count(said)
        said = await connection.execute(
            "UPDATE penstock_keys.tenants SET enabled = false, limits = NULL, updated_at = now() "
            "WHERE name = $1 AND enabled",
            tenant,
        )
        found["tenants_disabled"] = _count(said)
        await connection.execute(_AS_TENANT, tenant)
        for part, (right, statement) in _ERASED.items():
            if await _may(connection, statement, right):
                found[part] = _count(await connection.execute(statement, tenant))
        erases = "SELECT to_regprocedure('penstock_jobs.erase(text)')"
        if service.jobs is not None and await connection.fetchval(erases):
            rows = await connection.fetch("SELECT DISTINCT penstock_jobs.erase($1)", tenant)
            await service.jobs.erase([row[0] for row in rows])  # before the rows that name them are gone for good
            found["job_files"] = len(rows)
        if await connection.fetchval("SELECT to_regprocedure('penstock_ledger.erase(text)')"):
            found["usage_rows_unnamed"] = await connection.fetchval("SELECT penstock_ledger.erase($1)", tenant)
        await store.audit_row("tenant.erase", tenant, found)
    return {"object": "erasure", "tenant": tenant, **found, "kept": ["audit", "sums of usage without names"]}


def _count(said: str) -> int:
    return int(said.rpartition(" ")[2])


def erasing(service: Service, call: Call, tenant: str) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """DELETE /admin/v1/tenants/{name}/data?confirm={name}. Raises Refused."""
    if call.method != "DELETE":
        raise Refused(wrong_method(call.method, call.path, "DELETE"))
    if dict(parse_qsl(call.query)).get("confirm") != tenant:
        message = f"This cannot be undone: confirm it by `?confirm={tenant[:100]}`."
        raise Refused(Problem(400, message, "not_confirmed", "confirm"))

    async def work(store: Store) -> tuple[int, Any]:
        return 200, await erase(service, store, tenant)

    return work


def is_export(path: str) -> str | None:
    """The tenant whose data is asked for; None for another path."""
    parts = path.split("/")
    return (
        parts[4] if len(parts) == 6 and parts[:4] == ["", "admin", "v1", "tenants"] and parts[5] == "export" else None
    )
