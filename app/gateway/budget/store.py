"""Signals, the override and the reader's lease in the database. asyncpg is imported here: import this late."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.gateway.budget.levels import Level, Override, Signal, Standing, month_of
from app.gateway.budget.messages import Heard, Over
from app.gateway.budget.schema import CHANNEL

LEASE_SECONDS = 4.0
"""A reader that says nothing for so long is taken for dead, and another gateway reads."""
MOST_SIGNALS = 500
REMEMBERED_DAYS = 15
"""Longer than SQS keeps a message (14 days)."""
_NOTIFY = f"SELECT pg_notify('{CHANNEL}', '')"
_AUDIT = "INSERT INTO penstock_keys.audit (actor, action, target, detail, request_id) VALUES ($1, $2, $3, $4, $5)"


@dataclass(frozen=True, slots=True)
class Known:
    """All that the level is worked out of."""

    signals: tuple[Signal, ...] = ()
    override: Override | None = None
    recorded: str = "normal"
    since: float = 0.0


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


async def load(connection: asyncpg.Connection) -> Known:
    """Raises FAILURES."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        state = await connection.fetchrow("SELECT * FROM penstock_budget.state")
        rows = await connection.fetch("SELECT * FROM penstock_budget.signals ORDER BY at DESC LIMIT $1", MOST_SIGNALS)
    override = None
    if state["override_level"] is not None:
        override = Override(
            state["override_level"], state["override_until"].timestamp(), state["override_by"], state["override_reason"]
        )
    signals = tuple(
        Signal(
            row["source"],
            row["kind"],
            row["percent"],
            row["month"],
            row["at"].timestamp(),
            None if row["until"] is None else row["until"].timestamp(),
            row["detail"],
        )
        for row in rows
    )
    return Known(signals, override, state["level"], state["since"].timestamp())


async def hear(connection: asyncpg.Connection, identity: str, heard: Heard) -> bool:
    """Takes a message in, once: False where it was taken before. Raises FAILURES."""
    async with connection.transaction():
        said = await connection.execute(
            "INSERT INTO penstock_budget.messages (id) VALUES ($1) ON CONFLICT DO NOTHING", identity
        )
        if said.endswith(" 0"):
            return False
        if isinstance(heard, Signal):
            await put(connection, heard)
        elif isinstance(heard, Over):
            await connection.execute("DELETE FROM penstock_budget.signals WHERE source = $1", heard.source)
            await connection.execute(_NOTIFY)
    return True


async def put(connection: asyncpg.Connection, signal: Signal) -> None:
    """The newest word of a source stays: SQS delivers in no order."""
    await connection.execute(
        "INSERT INTO penstock_budget.signals (source, kind, percent, month, at, until, detail) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (source) DO UPDATE SET kind = excluded.kind, "
        "percent = excluded.percent, month = excluded.month, at = excluded.at, until = excluded.until, "
        "detail = excluded.detail WHERE signals.at <= excluded.at",
        signal.source,
        signal.kind,
        signal.percent,
        signal.month,
        _time(signal.at),
        None if signal.until is None else _time(signal.until),
        signal.detail,
    )
    await connection.execute(_NOTIFY)


async def lease(connection: asyncpg.Connection, me: str) -> bool:
    """Takes or renews the right to read the queue; by the database's clock alone. Raises FAILURES."""
    said = await connection.execute(
        "UPDATE penstock_budget.state SET reader = $1, reader_until = now() + make_interval(secs => $2) "
        "WHERE reader = $1 OR reader_until < now()",
        me,
        LEASE_SECONDS,
    )
    return said.endswith(" 1")


async def give_up(connection: asyncpg.Connection, me: str) -> None:
    await connection.execute(
        "UPDATE penstock_budget.state SET reader = '', reader_until = '-infinity' WHERE reader = $1", me
    )


async def record(connection: asyncpg.Connection, was: str, standing: Standing) -> bool:
    """Writes a change of level and its audit row down, once for all gateways. False where it is known."""
    async with connection.transaction():
        said = await connection.execute(
            "UPDATE penstock_budget.state SET level = $1, source = $2, since = now() WHERE level <> $1",
            standing.level,
            standing.reason,
        )
        if said.endswith(" 0"):
            return False
        detail = {"was": was, "reason": standing.reason}
        await connection.execute(_AUDIT, "penstock", "budget.level", standing.level, json.dumps(detail), "")
    return True


async def forget(connection: asyncpg.Connection, now: float) -> None:
    """What can have no effect any more. Raises FAILURES."""
    await connection.execute("DELETE FROM penstock_budget.signals WHERE month < $1", month_of(now))
    await connection.execute(
        "DELETE FROM penstock_budget.messages WHERE at < now() - make_interval(days => $1)", REMEMBERED_DAYS
    )


async def set_override(connection: asyncpg.Connection, level: Level, seconds: float, actor: str, reason: str) -> None:
    await connection.execute(
        "UPDATE penstock_budget.state SET override_level = $1, "
        "override_until = now() + make_interval(secs => $2), override_by = $3, override_reason = $4",
        level,
        seconds,
        actor,
        reason,
    )
    await connection.execute(_NOTIFY)


async def clear_override(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "UPDATE penstock_budget.state SET override_level = NULL, override_until = NULL, override_by = NULL, "
        "override_reason = NULL"
    )
    await connection.execute(_NOTIFY)


async def spent(connection: asyncpg.Connection, since: dt.date, until: dt.date) -> float:
    """The ledger's sum over these UTC days, in US dollars. Raises FAILURES."""
    row: Any = await connection.fetchrow("SELECT * FROM penstock_ledger.report($1, $2, '{}', 1)", since, until)
    return float(row["cost_usd"]) if row is not None else 0.0
