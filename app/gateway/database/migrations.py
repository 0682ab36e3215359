"""Numbered migrations of a schema, and the logins of gateways.

Each migration only adds, so that gateways of the release before and after work at the same time. A released one is
never changed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

import asyncpg

from app.gateway.database.connection import STATEMENT_SECONDS, DatabaseError

MIGRATE_SECONDS = 120.0
SCRAM_ROUNDS = 4096
"""PostgreSQL's own default."""


@dataclass(frozen=True)
class Schema:
    """One part's tables. Migration n (from 1) is at n - 1; `role` is the group of logins that may use them."""

    name: str
    lock: int
    """Advisory lock: one migration at a time."""
    role: str
    migrations: tuple[str, ...]
    after: str = ""
    """Run after each migrate, whatever there was to apply."""

    @property
    def version(self) -> int:
        return len(self.migrations)


async def version(connection: asyncpg.Connection, schema: Schema) -> int:
    """The newest migration; 0 where there is none. Raises FAILURES."""
    async with asyncio.timeout(STATEMENT_SECONDS):
        try:
            found = await connection.fetchval(f"SELECT max(version) FROM {schema.name}.migrations")  # noqa: S608
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return 0
        return found or 0


async def _version_in_transaction(connection: asyncpg.Connection, schema: Schema) -> int:
    """As `version`; asks the catalogue first, as an error would end the transaction."""
    if await connection.fetchval(f"SELECT to_regclass('{schema.name}.migrations')") is None:
        return 0
    return await connection.fetchval(f"SELECT coalesce(max(version), 0) FROM {schema.name}.migrations")  # noqa: S608


@contextlib.asynccontextmanager
async def one_at_a_time(connection: asyncpg.Connection, lock: int) -> AsyncGenerator[None]:
    """A transaction that waits for others of the same lock."""
    async with asyncio.timeout(MIGRATE_SECONDS), connection.transaction():
        # Another migration may take its time: this one waits for it.
        await connection.execute(
            f"SET LOCAL statement_timeout = '{MIGRATE_SECONDS:.0f}s'; SET LOCAL lock_timeout = '{MIGRATE_SECONDS:.0f}s'"
        )
        await connection.execute(f"SELECT pg_advisory_xact_lock({lock})")
        yield


async def migrate(connection: asyncpg.Connection, schema: Schema) -> list[int]:
    """Applies the migrations that are missing, all or none, and returns their numbers. Raises FAILURES."""
    applied = []
    async with one_at_a_time(connection, schema.lock):
        if await _version_in_transaction(connection, schema) < schema.version:
            await connection.execute(
                f"CREATE SCHEMA IF NOT EXISTS {schema.name};"
                f"CREATE TABLE IF NOT EXISTS {schema.name}.migrations "
                "(version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            done = await _version_in_transaction(connection, schema)
            for number in range(done + 1, schema.version + 1):
                await connection.execute(schema.migrations[number - 1])
                await connection.execute(f"INSERT INTO {schema.name}.migrations VALUES ($1)", number)  # noqa: S608
                applied.append(number)
        if schema.after:
            await connection.execute(schema.after)
    return applied


async def migrate_as_user(connection: asyncpg.Connection, schema: Schema) -> None:
    """What a gateway does at each connection: nothing where the tables are new enough.

    Raises FAILURES, DatabaseError.
    """
    if await version(connection, schema) >= schema.version:
        return
    try:
        await migrate(connection, schema)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseError(
            f"the tables of {schema.name} are missing or older than this gateway, and its database user may not change "
            f"them ({error}): run `python -m app.gateway.database migrate` as the database's owner"
        ) from error


async def make_login(
    connection: asyncpg.Connection, user: str, password: str, schemas: Iterable[Schema], lock: int
) -> None:
    """Makes a login that may do what a gateway must, or gives it this password. An empty one: it must sign in by IAM.

    Raises FAILURES. The server gets the password's SCRAM verifier, so that no log of statements can hold it.
    """
    async with one_at_a_time(connection, lock):
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", user):
            await _run(connection, "CREATE ROLE %I LOGIN", user)
        if password:
            await _run(connection, "ALTER ROLE %I LOGIN PASSWORD %L", user, scram_verifier(password, os.urandom(16)))
        else:
            await _run(connection, "GRANT rds_iam TO %I", user)
        for schema in schemas:
            await _run(connection, f"GRANT {schema.role} TO %I", user)


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
