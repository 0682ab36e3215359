"""The ledger's connection to PostgreSQL. Everything here has a time limit: a database may be slow, silent or wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import io
import os
import ssl
from collections.abc import AsyncGenerator

import asyncpg

from app.gateway.ledger import schema
from app.gateway.ledger.row import COLUMNS
from app.gateway.ledger.settings import Database

CONNECT_SECONDS = 5.0
STORE_SECONDS = 15.0
MIGRATE_SECONDS = 120.0
SCRAM_ROUNDS = 4096
"""PostgreSQL's own default."""

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a database that is away, slow, restarted or wrong ends in."""
COLUMN_NAMES = [name for name, _ in COLUMNS]


class LedgerError(Exception):
    """The database cannot be used as it is. The message is for the operator."""


class RefusedRowsError(LedgerError):
    """The database takes the connection but not these rows."""


def _tls(database: Database) -> ssl.SSLContext | str:
    if database.tls != "verify-full":
        return database.tls
    return ssl.create_default_context(cafile=None if database.ca_file is None else str(database.ca_file))


async def connect(database: Database) -> asyncpg.Connection:
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
                "application_name": "penstock-ledger",
                "lock_timeout": "3s",
                "statement_timeout": f"{STORE_SECONDS:.0f}s",
                "idle_in_transaction_session_timeout": "30s",
            },
        )


class Session:
    """One connection that stores rows."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, database: Database) -> Session:
        """Connects, and brings the tables about where the user may. Raises FAILURES, LedgerError."""
        connection = await connect(database)
        try:
            if await version(connection) < schema.VERSION:
                await _migrate_as_writer(connection)
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
                    raise LedgerError(f"the database answered {said!r} to {rows} rows")
                said = await self._connection.execute(schema.STORE)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise RefusedRowsError(str(error)) from error
        return int(said.rpartition(" ")[2])

    def alive(self) -> bool:
        return not self._connection.is_closed()

    def close(self) -> None:
        """At once, without a word to the server, which rolls back what was under way."""
        self._connection.terminate()


async def version(connection: asyncpg.Connection) -> int:
    """The newest migration; 0 where there is none. Raises FAILURES."""
    async with asyncio.timeout(STORE_SECONDS):
        try:
            found = await connection.fetchval(f"SELECT max(version) FROM {schema.SCHEMA}.migrations")  # noqa: S608
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return 0
        return found or 0


async def _migrate_as_writer(connection: asyncpg.Connection) -> None:
    try:
        await migrate(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise LedgerError(
            "the ledger's tables are missing or older than this gateway, and its database user may not change them "
            f"({error}): run `python -m app.gateway.ledger migrate` as the database's owner"
        ) from error


@contextlib.asynccontextmanager
async def _one_at_a_time(connection: asyncpg.Connection) -> AsyncGenerator[None]:
    async with asyncio.timeout(MIGRATE_SECONDS), connection.transaction():
        # Another migration may take its time: this one waits for it.
        await connection.execute(
            f"SET LOCAL statement_timeout = '{MIGRATE_SECONDS:.0f}s'; SET LOCAL lock_timeout = '{MIGRATE_SECONDS:.0f}s'"
        )
        await connection.execute(f"SELECT pg_advisory_xact_lock({schema.LOCK})")
        yield


async def migrate(connection: asyncpg.Connection, keep_days: int | None = None) -> list[int]:
    """Applies the migrations that are missing, all or none, and returns their numbers. Raises FAILURES."""
    applied = []
    async with _one_at_a_time(connection):
        if await version_in_transaction(connection) < schema.VERSION:
            await connection.execute(schema.BEFORE_MIGRATIONS)
            done = await version_in_transaction(connection)
            for number in range(done + 1, schema.VERSION + 1):
                await connection.execute(schema.MIGRATIONS[number - 1])
                await connection.execute(f"INSERT INTO {schema.SCHEMA}.migrations VALUES ($1)", number)  # noqa: S608
                applied.append(number)
        if keep_days is not None:
            await connection.execute(f"UPDATE {schema.SCHEMA}.settings SET keep_days = $1", keep_days)  # noqa: S608
        await connection.execute(f"SELECT {schema.SCHEMA}.prepare_days()")
    return applied


async def version_in_transaction(connection: asyncpg.Connection) -> int:
    """As `version`; asks the catalogue first, as an error would end the transaction."""
    if await connection.fetchval(f"SELECT to_regclass('{schema.SCHEMA}.migrations')") is None:
        return 0
    return await connection.fetchval(f"SELECT coalesce(max(version), 0) FROM {schema.SCHEMA}.migrations")  # noqa: S608


async def make_writer(connection: asyncpg.Connection, user: str, password: str) -> None:
    """Makes a login that can only write the ledger, or gives it this password. An empty one: it must sign in by IAM.

    Raises FAILURES. The server gets the password's SCRAM verifier, so that no log of statements can hold it.
    """
    async with _one_at_a_time(connection):
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", user):
            await _run(connection, "CREATE ROLE %I LOGIN", user)
        if password:
            await _run(connection, "ALTER ROLE %I LOGIN PASSWORD %L", user, scram_verifier(password, os.urandom(16)))
        else:
            await _run(connection, "GRANT rds_iam TO %I", user)
        await _run(connection, f"GRANT {schema.WRITER_ROLE} TO %I", user)


async def _run(connection: asyncpg.Connection, template: str, *values: str) -> None:
    """Runs a statement that takes no parameters; the server itself quotes the values into it."""
    slots = ", ".join(f"${number}::text" for number in range(2, len(values) + 2))
    await connection.execute(await connection.fetchval(f"SELECT format($1::text, {slots})", template, *values))


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores of a password (RFC 5803). For passwords of ASCII, which need no preparation (SASLprep)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ROUNDS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${SCRAM_ROUNDS}:{shown[0]}${shown[1]}:{shown[2]}"
