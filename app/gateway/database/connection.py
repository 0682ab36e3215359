"""A connection to the database, which may be slow, silent or wrong. asyncpg is imported here: import this late."""

from __future__ import annotations

import asyncio
import functools
import ssl

import asyncpg

from app.gateway.database.settings import Database

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 15.0

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a database that is away, slow, restarted or wrong ends in."""


class DatabaseError(Exception):
    """The database cannot be used as it is. The message is for the operator."""


def _tls(database: Database) -> ssl.SSLContext | str:
    """Raises OSError for a file of certificates that cannot be read."""
    if database.tls != "verify-full":
        return database.tls
    if database.ca_file is None:
        return _trust(None, 0)
    return _trust(str(database.ca_file), database.ca_file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _trust(ca_file: str | None, changed: int) -> ssl.SSLContext:
    """Kept until the file changes: reading certificates takes 25 ms, in which no stream goes on, and while the database
    is away every gateway tries anew every few seconds."""
    return ssl.create_default_context(cafile=ca_file)


async def connect(
    database: Database, application: str = "penstock", statement_seconds: float = STATEMENT_SECONDS
) -> asyncpg.Connection:
    """Raises what is in FAILURES."""
    async with asyncio.timeout(CONNECT_SECONDS):
        return await asyncpg.connect(
            host=database.host,
            port=database.port,
            database=database.name,
            user=database.user,
            password=database.read_password(),
            ssl=_tls(database),
            timeout=CONNECT_SECONDS,
            statement_cache_size=0,
            server_settings={
                "application_name": application,
                "lock_timeout": "3s",
                "statement_timeout": f"{statement_seconds:.0f}s",
                "idle_in_transaction_session_timeout": "30s",
            },
        )
