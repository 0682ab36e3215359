"""The ledger's side of the database: checking its tables, and storing rows. It may be slow, silent or wrong."""

from __future__ import annotations

import asyncio
import io

import asyncpg

from app.gateway.database.connection import DatabaseError, connect
from app.gateway.database.migrations import migrate_as_user, one_at_a_time
from app.gateway.database.settings import Database
from app.gateway.ledger import schema
from app.gateway.ledger.row import COLUMNS

STORE_SECONDS = 15.0
COLUMN_NAMES = [name for name, _ in COLUMNS]


class RefusedRowsError(DatabaseError):
    """The database takes the connection but not these rows."""


class Session:
    """One connection that stores rows."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, database: Database) -> Session:
        """Connects, and brings the tables about where the user may. Raises FAILURES, DatabaseError."""
        connection = await connect(database, "penstock-ledger")
        try:
            await migrate_as_user(connection, schema.LEDGER)
            async with asyncio.timeout(STORE_SECONDS):
                await connection.execute(schema.MAKE_STAGING)
        except BaseException:
            connection.terminate()
            raise
        return cls(connection)

    async def prepare_days(self) -> None:
        """Makes the partitions of the next days and drops old ones. Raises FAILURES."""
        async with asyncio.timeout(STORE_SECONDS):
            await self._connection.execute(f"SELECT {schema.SCHEMA}.prepare_days()")

    async def store(self, lines: bytes) -> int:
        """Stores whole lines, all or none; returns how many were new. Lines that are there already change nothing.

        Raises RefusedRowsError, or FAILURES; after the latter they may be stored or not, and can be given again.
        """
        rows = lines.count(b"\n")
        try:
            async with asyncio.timeout(STORE_SECONDS), self._connection.transaction():
                said = await self._connection.copy_to_table(
                    schema.STAGING, source=io.BytesIO(lines), columns=COLUMN_NAMES
                )
                if said != f"COPY {rows}":
                    raise DatabaseError(f"the database answered {said!r} to {rows} rows")
                said = await self._connection.execute(schema.STORE)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise RefusedRowsError(str(error)) from error
        return int(said.rpartition(" ")[2])

    def alive(self) -> bool:
        return not self._connection.is_closed()

    def close(self) -> None:
        """At once, without a word to the server, which rolls back what was under way."""
        self._connection.terminate()


async def set_retention(connection: asyncpg.Connection, keep_days: int) -> None:
    """Days after which rows are dropped, and drops them. Raises FAILURES."""
    async with one_at_a_time(connection, schema.LOCK):
        await connection.execute(f"UPDATE {schema.SCHEMA}.settings SET keep_days = $1", keep_days)  # noqa: S608
        await connection.execute(schema.LEDGER.after)
