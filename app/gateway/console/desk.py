"""The console's own connection to the database: sign-ins that hold at every gateway, and the release as last told.

One connection, made when it is first needed and closed when nobody looks. asyncpg is imported here: import this late.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.gateway.console import release
from app.gateway.console.schema import CONSOLE
from app.gateway.database.connection import FAILURES, DatabaseError, connect
from app.gateway.database.migrations import migrate_as_user
from app.gateway.errors import Problem, Refused, retry_after

if TYPE_CHECKING:
    import asyncpg

    from app.gateway.database.settings import Database
    from app.gateway.keys.ring import KeyRing
    from app.gateway.log import Log

STATEMENT_SECONDS = 3.0
TRUSTED_SECONDS = 2.0
"""A session that was looked up is not looked up again for so long; a sign-out elsewhere is seen as late as this."""
MOST_SESSIONS = 1000
TOKEN_BYTES = 32
AWAY = Problem(503, "The console's database is away. Try again in 2 s.", "database_away", headers=retry_after())


@dataclass(frozen=True, slots=True)
class Session:
    digest: bytes
    actor: str
    expires_at: float
    """Unix time."""


class Desk:
    def __init__(self, database: Database, ring: KeyRing, log: Log) -> None:
        self._database = database
        self._ring = ring
        self._log = log
        self._one = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None
        self._trusted: dict[bytes, tuple[float, Session | None]] = {}

    async def prepare(self) -> None:
        """Makes the tables where the login may, and tells why not where it may not. Ends when they are there."""
        pause, told = 0.3, ""
        while True:
            try:
                async with self._use():
                    pass
            except Refused as refused:
                reason = str(refused.__cause__ or refused)[:300]
                if reason != told:
                    told = reason
                    self._log.event("console", usable=False, reason=reason)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)
            else:
                await self.close()
                return

    @contextlib.asynccontextmanager
    async def _use(self) -> AsyncGenerator[asyncpg.Connection]:
        """Raises Refused (503)."""
        try:
            async with asyncio.timeout(STATEMENT_SECONDS + 2), self._one:
                connection = self._connection
                if connection is None or connection.is_closed():
                    connection = await connect(self._database, "penstock-console", STATEMENT_SECONDS)
                    try:
                        await migrate_as_user(connection, CONSOLE)
                    except BaseException:
                        connection.terminate()
                        raise
                    self._connection = connection
                try:
                    yield connection
                except BaseException:
                    connection.terminate()  # what it is in the middle of is not known
                    self._connection = None
                    raise
        except (*FAILURES, DatabaseError) as error:
            raise Refused(AWAY) from error

    async def close(self) -> None:
        async with self._one:
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None

    # -- sign-ins --

    async def sign_in(self, actor: str, admin: bytes, minutes: int) -> tuple[str, Session]:
        """The cookie's value, and the session. Raises Refused (503)."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        digest = hashlib.sha256(token.encode()).digest()
        async with self._use() as connection:
            await connection.execute("DELETE FROM penstock_console.sessions WHERE expires_at < now()")
            ends = await connection.fetchval(
                "INSERT INTO penstock_console.sessions (digest, actor, admin, expires_at) "
                "VALUES ($1, $2, $3, now() + make_interval(mins => $4)) RETURNING expires_at",
                digest,
                actor,
                admin,
                minutes,
            )
            await connection.execute(  # the newest stay
                "DELETE FROM penstock_console.sessions WHERE digest IN (SELECT digest FROM penstock_console.sessions "
                "ORDER BY created_at DESC OFFSET $1)",
                MOST_SESSIONS,
            )
            await connection.execute(
                "INSERT INTO penstock_keys.audit (actor, action, target, detail, request_id) "
                "VALUES ($1, 'console.sign_in', $1, '{}', '')",
                actor,
            )
        return token, Session(digest, actor, ends.timestamp())

    async def session(self, token: str) -> Session | None:
        """Raises Refused (503)."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._trusted.get(digest)
        now = time.monotonic()
        if known is not None and now - known[0] < TRUSTED_SECONDS:
            return known[1]
        found = (await self.sessions([digest])).get(digest)
        if len(self._trusted) > MOST_SESSIONS:
            self._trusted.clear()
        self._trusted[digest] = (now, found)
        return found

    async def sessions(self, digests: Iterable[bytes]) -> dict[bytes, Session]:
        """Those that hold: not ended, not signed out, and of an admin key that is still one. Raises Refused (503)."""
        async with self._use() as connection:
            rows = await connection.fetch(
                "SELECT digest, actor, admin, expires_at FROM penstock_console.sessions "
                "WHERE digest = ANY($1) AND expires_at > now()",
                list(digests),
            )
        return {
            row["digest"]: Session(row["digest"], row["actor"], row["expires_at"].timestamp())
            for row in rows
            if self._ring.admin_of(row["admin"]) == row["actor"]
        }

    async def sign_out(self, session: Session) -> None:
        """Safe to repeat. Raises Refused (503)."""
        self._trusted.pop(session.digest, None)
        async with self._use() as connection:
            await connection.execute("DELETE FROM penstock_console.sessions WHERE digest = $1", session.digest)

    # -- the release --

    async def release(self) -> dict[str, Any]:
        """Raises Refused (503)."""
        async with self._use() as connection:
            return await release.shown(connection)
