"""All that gateways and workers keep in the database, as one file: out of one server, into the empty tables of another.

The file is a ZIP: `SCHEMA.TABLE` in the text form of COPY, and `manifest.json` at the end. Not in it: cached answers,
sessions of the console, logins. Its id is a digest of the rows, so that the same rows make the same id: a restore that
is repeated knows its archive and does nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import IO, Any

import asyncpg

from app.gateway.database.connection import DatabaseError

CARRIED = (
    "penstock_ledger",
    "penstock_keys",
    "penstock_budget",
    "penstock_feedback",
    "penstock_jobs",
    "penstock_retrieval",
)
LEFT = frozenset({"migrations"})
"""Tables that each server has of its own."""
ONE_ROW = "only_row"
"""A table with this column has its row from the migration, which the archive's takes the place of."""
PARTED = "penstock_ledger.usage"
MANIFEST = "manifest.json"
FORM = 1
DONE = "penstock_moved"
"""The schema that remembers which archives came in."""

_TABLES = """
SELECT n.nspname || '.' || c.relname AS name, c.relforcerowsecurity AS forced,
    array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated = '' ORDER BY a.attnum) AS columns,
    array(SELECT f.confrelid::regclass::text FROM pg_constraint f
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid) AS needs,
    array(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
        AND t.tgenabled = 'O' AND t.tgtype & 4 <> 0) AS at_insert
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> ALL($2)
"""
_PARTITIONS = (
    f"SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "  # noqa: S608 - a constant
    f"WHERE i.inhparent = to_regclass('{PARTED}') AND c.relname ~ '^usage_[0-9]{{8}}$' ORDER BY 1"
)


class _Digested:
    """Writes to a member of the archive, and keeps the digest of what went by."""

    def __init__(self, member: IO[bytes]) -> None:
        self.member, self.digest = member, hashlib.sha256()

    async def __call__(self, data: bytes) -> None:
        self.digest.update(data)
        await asyncio.to_thread(self.member.write, data)


async def dump(connection: asyncpg.Connection, path: Path) -> dict[str, Any]:
    """Writes the archive and returns its manifest. As the tables' owner; nothing is changed.

    Raises FAILURES, DatabaseError.
    """
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        await _patient(connection)
        tables = await _tables(connection)
        if not tables:
            raise DatabaseError("there are no tables: `python -m app.gateway.database migrate` makes them")
        await _unforced(connection, tables)
        manifest: dict[str, Any] = {
            "form": FORM,
            "versions": await _versions(connection),
            "partitions": [row["relname"] for row in await connection.fetch(_PARTITIONS)],
            "tables": {},
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for table in tables:
                manifest["tables"][table["name"]] = await _copy_out(connection, archive, table)
            manifest["id"] = _identity(manifest)
            archive.writestr(MANIFEST, json.dumps(manifest))
        return manifest
    finally:
        await transaction.rollback()  # row security was lifted for this transaction alone


async def restore(connection: asyncpg.Connection, path: Path) -> dict[str, Any]:
    """All or nothing into tables that are there and empty; returns the manifest, with `already` where the archive has
    come in before. As the tables' owner. Raises FAILURES, DatabaseError."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            if manifest.get("form") != FORM:
                raise DatabaseError(f"the archive's form is {manifest.get('form')}; this release reads {FORM}")
            async with connection.transaction():
                await _patient(connection)
                await connection.execute(
                    f"CREATE SCHEMA IF NOT EXISTS {DONE}; CREATE TABLE IF NOT EXISTS {DONE}.archives "
                    "(id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
                )
                await connection.execute(f"LOCK TABLE {DONE}.archives IN EXCLUSIVE MODE")
                if await connection.fetchval(f"SELECT true FROM {DONE}.archives WHERE id = $1", manifest["id"]):  # noqa: S608
                    return manifest | {"already": True}
                await _restore(connection, archive, manifest)
                await connection.execute(f"INSERT INTO {DONE}.archives (id) VALUES ($1)", manifest["id"])  # noqa: S608
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise DatabaseError(f"the archive is damaged: {error}") from error
    return manifest | {"already": False}


async def _restore(connection: asyncpg.Connection, archive: zipfile.ZipFile, manifest: Mapping[str, Any]) -> None:
    tables = await _tables(connection)
    await _fit(connection, manifest, tables)
    await _make_partitions(connection, manifest["partitions"])
    await _unforced(connection, tables)
    for table in tables:
        name, carried = table["name"], manifest["tables"].get(table["name"])
        if carried is None:
            continue
        if ONE_ROW in table["columns"]:
            await connection.execute(f"DELETE FROM {name}")  # noqa: S608
        # Rows keep their numbers: a trigger would give them new ones. The one that guards the audit stays on.
        for trigger in table["at_insert"]:
            await connection.execute(f"ALTER TABLE {name} DISABLE TRIGGER {trigger}")
        schema, _, alone = name.partition(".")
        with archive.open(name) as member:
            await connection.copy_to_table(alone, schema_name=schema, source=member, columns=carried["columns"])
        for trigger in table["at_insert"]:
            await connection.execute(f"ALTER TABLE {name} ENABLE TRIGGER {trigger}")
        found = await connection.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608
        if found != carried["rows"]:
            raise DatabaseError(f"{name}: {carried['rows']} rows were carried and {found} came in; nothing was kept")
        await _count_on(connection, name, table["columns"])
    for table in tables:
        if table["forced"]:
            await connection.execute(f"ALTER TABLE {table['name']} FORCE ROW LEVEL SECURITY")
    if "penstock_keys.state" in manifest["tables"]:
        # Gateways that run already read everything anew.
        await connection.execute("UPDATE penstock_keys.state SET version = version + 1, reload = version + 1")
        await connection.execute("NOTIFY penstock_keys")


async def _patient(connection: asyncpg.Connection) -> None:
    """Large tables take their time; rows come in the order in which they lie."""
    await connection.execute(
        "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; "
        "SET LOCAL synchronize_seqscans = off; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'"
    )


async def _tables(connection: asyncpg.Connection) -> list[Mapping[str, Any]]:
    """Each after those that it refers to."""
    found = {row["name"]: row for row in await connection.fetch(_TABLES, list(CARRIED), list(LEFT))}
    order = TopologicalSorter({name: sorted(set(row["needs"]) & set(found)) for name, row in sorted(found.items())})
    return [found[name] for name in order.static_order()]


async def _unforced(connection: asyncpg.Connection, tables: Iterable[Mapping[str, Any]]) -> None:
    for table in tables:
        if table["forced"]:
            await connection.execute(f"ALTER TABLE {table['name']} NO FORCE ROW LEVEL SECURITY")


async def _versions(connection: asyncpg.Connection) -> dict[str, int]:
    """Newest migration of each schema that is there."""
    found = {}
    for schema in CARRIED:
        if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.migrations") is not None:
            found[schema] = await connection.fetchval(f"SELECT max(version) FROM {schema}.migrations")  # noqa: S608
    return found


async def _copy_out(
    connection: asyncpg.Connection, archive: zipfile.ZipFile, table: Mapping[str, Any]
) -> dict[str, Any]:
    columns = ", ".join(f'"{column}"' for column in table["columns"])
    # A constant date, so that nothing but the rows makes a difference.
    with archive.open(zipfile.ZipInfo(table["name"]), "w", force_zip64=True) as member:
        output = _Digested(member)
        query = f"SELECT {columns} FROM {table['name']}"  # noqa: S608
        said = await connection.copy_from_query(query, output=output)
    return {
        "rows": int(re.sub(r"\D", "", said) or 0),
        "columns": list(table["columns"]),
        "sha256": output.digest.hexdigest(),
    }


def _identity(manifest: Mapping[str, Any]) -> str:
    told = json.dumps([manifest["versions"], manifest["tables"]], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


async def _fit(
    connection: asyncpg.Connection, manifest: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]
) -> None:
    """Raises DatabaseError where rows would be lost, or mixed with others."""
    there = await _versions(connection)
    for schema, version in manifest["versions"].items():
        if there.get(schema, 0) < version:
            raise DatabaseError(
                f"{schema} is of version {there.get(schema, 0)} here and of {version} in the archive: migrate first, "
                "with the release and the settings that the archive comes from"
            )
    names = {table["name"]: table for table in tables}
    if missing := sorted(set(manifest["tables"]) - set(names)):
        raise DatabaseError(f"there is no {', '.join(missing)} here: migrate first")
    full = [
        name
        for name, table in names.items()
        if ONE_ROW not in table["columns"] and await connection.fetchval(f"SELECT true FROM {name} LIMIT 1")  # noqa: S608
    ]
    if full:
        raise DatabaseError(f"{', '.join(sorted(full))}: rows are here already, and none are mixed with others")


async def _make_partitions(connection: asyncpg.Connection, names: Iterable[str]) -> None:
    """Days that the ledger kept and a new server has no partition for, so that they end with their time as before."""
    for name in names:
        if not re.fullmatch(r"usage_\d{8}", name):
            raise DatabaseError(f"the archive is damaged: it has a partition {name!r}")
        if await connection.fetchval("SELECT to_regclass($1)", f"penstock_ledger.{name}") is None:
            day = f"{name[6:10]}-{name[10:12]}-{name[12:]}"
            await connection.execute(
                f"CREATE TABLE penstock_ledger.{name} PARTITION OF {PARTED} "
                f"FOR VALUES FROM ('{day}') TO (date '{day}' + 1)"
            )


async def _count_on(connection: asyncpg.Connection, name: str, columns: Sequence[str]) -> None:
    """New rows get numbers after those that came in."""
    for column in columns:
        sequence = await connection.fetchval("SELECT pg_get_serial_sequence($1, $2)", name, column)
        if sequence is not None:
            await connection.execute(
                f"SELECT setval('{sequence}', coalesce(max({column}), 1), max({column}) IS NOT NULL) FROM {name}"  # noqa: S608
            )
