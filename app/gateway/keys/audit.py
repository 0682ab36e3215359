"""The audit's hash chain: whether rows were changed or taken away behind the triggers' back.

Each row bears the SHA-256 of the hash of the row before it and of its own columns. Who owns the database can drop
triggers and reckon a chain anew, but cannot reach the heads that gateways and the daily retention put into their logs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from app.gateway.errors import Problem, Refused
from app.gateway.keys.schema import FIRST_LINK, link

if TYPE_CHECKING:
    import asyncpg

    from app.gateway.keys.store import Store

_CHECK = (
    "WITH links AS (SELECT id, hash, lag(id) OVER chain AS before, "  # noqa: S608 - constants
    f"{link(f'coalesce(lag(hash) OVER chain, {FIRST_LINK})', 'audit')} AS due "
    "FROM penstock_keys.audit WINDOW chain AS (ORDER BY id)), "
    "broken AS (SELECT id, before FROM links WHERE hash IS DISTINCT FROM due ORDER BY id LIMIT 1) "
    "SELECT (SELECT count(*) FROM links) AS rows, (SELECT max(id) FROM links) AS last, "
    "(SELECT hash FROM links ORDER BY id DESC LIMIT 1) AS last_hash, head.id AS head, head.hash AS head_hash, "
    "(SELECT hash FROM links WHERE id = $1) AS known_hash, "
    "(SELECT id FROM broken) AS broken, (SELECT before FROM broken) AS before FROM penstock_keys.audit_head AS head"
)
"""One statement, so one snapshot. The server's own functions alone: those of the schema are the owner's to replace."""


@dataclass(frozen=True)
class Head:
    """The audit's last row at some time, as a log tells it: `ID:HASH`, the hash as 64 hexadecimal digits."""

    id: int
    hash: bytes

    @classmethod
    def read(cls, text: str) -> Head:
        """Raises ValueError."""
        identity, _, digest = text.partition(":")
        if not identity.isascii() or not identity.isdigit() or len(identity) > 18 or len(digest) != 64:
            raise ValueError(f"{text[:100]!r} is not of the form ID:HASH")
        return cls(int(identity), bytes.fromhex(digest))

    def __str__(self) -> str:
        return f"{self.id}:{self.hash.hex()}"


@dataclass(frozen=True)
class Checked:
    rows: int
    head: Head
    broken: int | None = None
    """The first row that is not as it was written."""
    reason: str = ""

    def shown(self) -> dict[str, Any]:
        broken = None if self.broken is None else {"id": self.broken, "reason": self.reason}
        return {"object": "audit.check", "rows": self.rows, "head": str(self.head), "broken": broken}

    def __str__(self) -> str:
        if self.broken is None:
            return f"{self.rows} rows, none changed, head {self.head}"
        return f"broken at row {self.broken} of {self.rows}: {self.reason}"


async def check(connection: asyncpg.Connection, known: Head | None = None) -> Checked:
    """Reckons the whole chain. `known`: a head that a log told of, which its row must still bear. Raises FAILURES."""
    row = await connection.fetchrow(_CHECK, None if known is None else known.id)
    if row is None:
        return Checked(0, Head(0, bytes(32)), 1, "the table of the chain's head is empty")
    rows, head = row["rows"], Head(row["head"], row["head_hash"])
    if row["broken"] is not None:
        reason = "it was changed, or rows before it are gone"
        if row["before"] is not None:
            reason = f"it or row {row['before']} was changed, or rows between them are gone"
        return Checked(rows, head, row["broken"], reason)
    last = Head(row["last"] or 0, row["last_hash"] or bytes(32))
    if last != head:
        return Checked(rows, head, last.id + 1, f"the last row is {last.id}, and row {head.id} was written last")
    if known is not None and row["known_hash"] != known.hash and known.id:
        return Checked(rows, head, known.id, "it does not bear the hash that was told: rows up to it were written anew")
    return Checked(rows, head)


async def check_where_kept(connection: asyncpg.Connection) -> Checked | None:
    """None where there is no audit, or one from before it was a chain. Raises FAILURES."""
    if await connection.fetchval("SELECT to_regclass('penstock_keys.audit_head')") is None:
        return None
    return await check(connection)


def checking(query: str) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """GET /admin/v1/audit/check?head=ID:HASH. Raises Refused (400)."""
    given = parse_qsl(query, keep_blank_values=True)
    try:
        if [name for name, _ in given] not in ([], ["head"]):
            raise ValueError("it may stand there once, and nothing else")
        known = Head.read(given[0][1]) if given else None
    except ValueError as error:
        raise Refused(Problem(400, f"`head`: {error}.", "invalid_query", "head")) from None

    async def work(store: Store) -> tuple[int, Any]:
        return 200, (await check(store.connection, known)).shown()

    return work


class Witness:
    """One gateway's memory of the head, which a chain written anew does not fit. `tell`: by name and fields."""

    def __init__(self) -> None:
        self._known: Head | None = None

    async def look(self, connection: asyncpg.Connection, now: Head) -> str | None:
        """None where nothing is new; "" where the chain has grown; else what is wrong. Raises FAILURES."""
        known, self._known = self._known, now
        if known == now:
            return None
        if known is None or known.id == 0:
            return ""
        borne = await connection.fetchval("SELECT hash FROM penstock_keys.audit WHERE id = $1", known.id)
        if now.id <= known.id or borne != known.hash:
            return f"the head was {known}, and that row is gone or another now"
        return ""
