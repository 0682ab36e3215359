"""What is past its time goes: once a day, as the database's owner. Parts that are not there are passed over."""

from __future__ import annotations

import asyncpg

from app.gateway.budget.store import REMEMBERED_DAYS
from app.gateway.console.release import KEPT_DAYS
from app.gateway.database.migrations import MIGRATE_SECONDS
from app.gateway.keys.store import REPLAY_HOURS

AT_ONCE = 5000
"""Rows of one statement: a longer one would hold up gateways."""
EXPIRED = {
    "feedback": ("penstock_feedback.feedback", "expires_at < now()"),
    "idempotency keys": ("penstock_keys.creations", f"created_at < now() - interval '{REPLAY_HOURS} hours'"),
    "budget messages": ("penstock_budget.messages", f"at < now() - interval '{REMEMBERED_DAYS} days'"),
    "budget signals": ("penstock_budget.signals", "month < to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')"),
    "sign-ins": ("penstock_console.sessions", "expires_at < now()"),
    "wishes": ("penstock_console.wishes", f"at < now() - interval '{KEPT_DAYS} days'"),
    "cached answers": ("penstock_cache.answers", "expires_at < now()"),
}
"""Part -> table, and what of it is over. The ledger drops whole days by its own function."""


async def retain(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows went of each part that is there. Raises FAILURES."""
    found: dict[str, int] = {}
    await connection.execute(f"SET statement_timeout = '{MIGRATE_SECONDS:.0f}s'")
    for part, (table, over) in EXPIRED.items():
        if await connection.fetchval("SELECT to_regclass($1)", table) is None:
            continue
        gone = 0
        while True:
            # `S608`: constants of this module alone are put in.
            said = await connection.execute(
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608
                f"SELECT ctid FROM {table} WHERE {over} LIMIT {AT_ONCE}))"
            )
            gone += int(said.rpartition(" ")[2])
            if not said.endswith(f" {AT_ONCE}"):
                break
        found[part] = gone
    if await connection.fetchval("SELECT to_regprocedure('penstock_ledger.prepare_days()')"):
        before = await _days(connection)
        await connection.execute("SELECT penstock_ledger.prepare_days()")
        found["days of usage"] = max(0, before - await _days(connection))
        # Rows of days without a partition of their own.
        said = await connection.execute(
            "DELETE FROM penstock_ledger.usage_other WHERE day < (now() AT TIME ZONE 'UTC')::date - "
            "(SELECT keep_days FROM penstock_ledger.settings)"
        )
        found["usage of other days"] = int(said.rpartition(" ")[2])
    return found


async def _days(connection: asyncpg.Connection) -> int:
    """Partitions of past days."""
    return await connection.fetchval(
        "SELECT count(*) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE "
        "inhparent = 'penstock_ledger.usage'::regclass AND relname ~ '^usage_[0-9]{8}$' "
        "AND to_date(substr(relname, 7), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - 1"
    )
