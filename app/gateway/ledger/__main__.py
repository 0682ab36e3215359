"""Makes and changes the ledger's tables: `python -m app.gateway.ledger migrate`. To be run as the database's owner.

The database is named by PENSTOCK_DATABASE_ADDRESS, _NAME, _USER, _PASSWORD or _PASSWORD_FILE, _TLS and _CA_FILE. Exit
status: 0 done, 1 where the database refused or was not there, 2 for a mistake in the settings.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys

from app.gateway.ledger.settings import Database, read_database
from app.gateway.settings import SettingsError

WRITER_PASSWORD = "PENSTOCK_LEDGER_WRITER_PASSWORD"  # noqa: S105 - the name of a variable


async def _migrate(database: Database, keep_days: int | None, writer: str, password: str) -> str:
    from app.gateway.ledger.database import connect, make_writer, migrate

    connection = await connect(database)
    try:
        applied = await migrate(connection, keep_days)
        if writer:
            await make_writer(connection, writer, password)
    finally:
        connection.terminate()
    done = f"applied {', '.join(map(str, applied))}" if applied else "nothing to apply"
    return f"ledger: {done}" + (f"; {writer} may write" if writer else "")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.gateway.ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("migrate", help="bring the tables up to this release; does nothing where they are")
    command.add_argument("--keep-days", type=int, help="drop the rows of a day after so many days (at least 2)")
    command.add_argument(
        "--writer",
        default="",
        help=f"make a login that can only write rows; its password comes from {WRITER_PASSWORD}, "
        "without one it signs in by IAM (RDS)",
    )
    options = parser.parse_args(arguments)
    try:
        database = read_database(os.environ)
        if database is None:
            raise SettingsError("PENSTOCK_DATABASE_ADDRESS and PENSTOCK_DATABASE_USER must be set")
        if options.keep_days is not None and options.keep_days < 2:
            raise SettingsError(f"--keep-days: {options.keep_days} is less than 2")
        if options.writer and not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", options.writer):
            raise SettingsError(f"--writer: {options.writer!r} is not a name of lower-case letters, digits and _")
        password = os.environ.get(WRITER_PASSWORD, "")
        if not password.isascii():
            raise SettingsError(f"{WRITER_PASSWORD}: only ASCII characters are allowed")
    except SettingsError as error:
        print(f"penstock ledger: {error}", file=sys.stderr)
        return 2
    from app.gateway.ledger.database import FAILURES

    try:
        print(asyncio.run(_migrate(database, options.keep_days, options.writer, password)))
    except FAILURES as error:
        print(f"penstock ledger: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
