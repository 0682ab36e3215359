"""`python -m app.gateway.database migrate` makes and changes the gateway's tables; `retention` deletes what is past its
time, and fails where rows of the audit were changed; `dump` and `restore` carry all rows to another server. To be run
as the database's owner.

The database is named by PENSTOCK_DATABASE_ADDRESS, _NAME, _USER, _PASSWORD or _PASSWORD_FILE, _TLS and _CA_FILE. With
PENSTOCK_DATABASE_SECRET_ARN user and password come from that secret of AWS Secrets Manager. Exit
status: 0 done, 1 where the database refused or was not there, 2 for a mistake in the settings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Coroutine
from typing import Any

from app.gateway.database.secret import SecretError, owner_environment
from app.gateway.database.settings import Database, read_database
from app.gateway.settings import SettingsError

LOGIN_PASSWORD = "PENSTOCK_DATABASE_LOGIN_PASSWORD"  # noqa: S105 - the name of a variable
JOBS_PASSWORD = "PENSTOCK_DATABASE_JOBS_PASSWORD"  # noqa: S105
ARCHIVE = "PENSTOCK_DATABASE_ARCHIVE"


async def _migrate(
    database: Database,
    keep_days: int | None,
    login: str,
    password: str,
    semantic: bool,
    workers: tuple[str, str] | None,
    *,
    retrieval: bool = False,
) -> str:
    from app.gateway.budget.schema import BUDGET
    from app.gateway.cache.schema import CACHE
    from app.gateway.console.schema import CONSOLE
    from app.gateway.database.connection import connect
    from app.gateway.database.migrations import make_login, migrate
    from app.gateway.feedback.schema import FEEDBACK
    from app.gateway.keys.schema import KEYS
    from app.gateway.ledger.database import set_retention
    from app.gateway.ledger.schema import LEDGER
    from app.jobs.schema import JOBS, WORKERS
    from app.retrieval.schema import RETRIEVAL

    said = []
    schemas = {"ledger": LEDGER, "keys": KEYS, "budget": BUDGET, "feedback": FEEDBACK, "console": CONSOLE}
    schemas |= {"cache": CACHE} if semantic else {}
    schemas |= {"jobs": JOBS} if workers is not None else {}
    schemas |= {"retrieval": RETRIEVAL} if retrieval else {}
    connection = await connect(database, "penstock-migrate")
    try:
        for name, schema in schemas.items():
            applied = await migrate(connection, schema)
            numbers = ", ".join(map(str, applied))
            done = f"applied {numbers}" if applied else "nothing to apply"
            said.append(f"{name}: {done}")
        if keep_days is not None:
            await set_retention(connection, keep_days)
        if login:
            await make_login(connection, login, password, schemas.values(), LEDGER.lock)
            said.append(f"{login} may use all")
        if workers is not None:
            await make_login(connection, *workers, (WORKERS,), LEDGER.lock)
            said.append(f"{workers[0]} may work on jobs")
    finally:
        connection.terminate()
    return "; ".join(said)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.gateway.database", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("migrate", help="bring the tables up to this release; does nothing where they are")
    command.add_argument("--keep-days", type=int, help="drop the usage of a day after so many days (at least 2)")
    command.add_argument(
        "--login",
        default="",
        help="make a login for gateways, which can add usage, and read and change keys, and nothing else; its password "
        f"comes from {LOGIN_PASSWORD}, without one it signs in by IAM (RDS)",
    )
    command.add_argument(
        "--semantic-cache",
        action="store_true",
        help="make the semantic cache's tables too; the server must have the extension pgvector",
    )
    command.add_argument(
        "--jobs",
        default="",
        metavar="LOGIN",
        help="make the tables of files, batches and jobs too, and a login for workers, which may use them and nothing "
        f"else; its password comes from {JOBS_PASSWORD}, without one it signs in by IAM (RDS)",
    )
    command.add_argument(
        "--retrieval",
        action="store_true",
        help="make retrieval's tables too; the server must have the extension pgvector, 0.8 or later",
    )
    commands.add_parser("retention", help="delete what is past its time, and check the audit's chain; once a day")
    for name, about in (
        ("dump", "write all rows to an archive; prints how many of each table"),
        ("restore", "take an archive into empty tables, all of it or nothing; prints how many of each table"),
    ):
        commands.add_parser(name, help=about).add_argument(
            "archive",
            nargs="?",
            default=os.environ.get(ARCHIVE),
            help=f"a file, or the signed URL of an object of S3; without it: {ARCHIVE}",
        )
    options = parser.parse_args(arguments)
    try:
        database = read_database(owner_environment(os.environ))
        if database is None:
            raise SettingsError("PENSTOCK_DATABASE_ADDRESS and PENSTOCK_DATABASE_USER must be set")
        if options.command == "retention":
            return _run(_retain(database))
        if options.command in ("dump", "restore"):
            if not options.archive:
                raise SettingsError(f"no archive is named; give it, or set {ARCHIVE}")
            return _run(_carry(options.command, database, options.archive))
        if options.keep_days is not None and options.keep_days < 2:
            raise SettingsError(f"--keep-days: {options.keep_days} is less than 2")
        for option, name in (("--login", options.login), ("--jobs", options.jobs)):
            if name and not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
                raise SettingsError(f"{option}: {name!r} is not a name of lower-case letters, digits and _")
        password, jobs_password = os.environ.get(LOGIN_PASSWORD, ""), os.environ.get(JOBS_PASSWORD, "")
        for variable, text in ((LOGIN_PASSWORD, password), (JOBS_PASSWORD, jobs_password)):
            if not text.isascii():
                raise SettingsError(f"{variable}: only ASCII characters are allowed")
    except SecretError as error:
        print(f"penstock database: {error}", file=sys.stderr)
        return 1
    except SettingsError as error:
        print(f"penstock database: {error}", file=sys.stderr)
        return 2
    workers = (options.jobs, jobs_password) if options.jobs else None
    return _run(
        _migrate(
            database,
            options.keep_days,
            options.login,
            password,
            options.semantic_cache,
            workers,
            retrieval=options.retrieval,
        )
    )


async def _retain(database: Database) -> str:
    from app.gateway.database.connection import DatabaseError, connect
    from app.gateway.database.retention import retain
    from app.gateway.keys.audit import check_where_kept

    connection = await connect(database, "penstock-retention")
    try:
        said = [f"{part}: {count} gone" for part, count in (await retain(connection)).items()]
        audit = await check_where_kept(connection)
    finally:
        connection.terminate()
    if audit is not None:
        said.append(f"audit: {audit}")
        if audit.broken is not None:
            raise DatabaseError("; ".join(said))
    return "; ".join(said) or "there are no tables"


async def _carry(command: str, database: Database, place: str) -> str:
    from app.gateway.database import archive, carriage
    from app.gateway.database.connection import connect

    connection = await connect(database, f"penstock-{command}")
    try:
        if command == "dump":
            with carriage.outgoing(place) as path:
                done = await archive.dump(connection, path)
        else:
            with carriage.incoming(place) as path:
                done = await archive.restore(connection, path)
    finally:
        connection.terminate()
    rows = {name: table["rows"] for name, table in done["tables"].items()}
    return json.dumps({"id": done["id"], "already": done.get("already", False), "rows": rows})


def _run(work: Coroutine[Any, Any, str]) -> int:
    from app.gateway.database.connection import FAILURES, DatabaseError

    try:
        print(asyncio.run(work))
    except (*FAILURES, DatabaseError) as error:
        print(f"penstock database: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
