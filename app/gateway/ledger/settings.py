"""Where the ledger's database and spool are, from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.gateway.database.settings import Database, read_database
from app.gateway.settings import SettingsError

DEFAULT_FOLDER = "/var/spool/penstock"
DEFAULT_SPOOL_BYTES = 512 * 1024 * 1024
SMALLEST_SPOOL_BYTES = 64 * 1024


@dataclass(frozen=True)
class LedgerSettings:
    database: Database
    folder: Path
    spool_bytes: int


def read_settings(environment: Mapping[str, str]) -> LedgerSettings | None:
    """None where no database user is given. Raises SettingsError."""
    database = read_database(environment)
    if database is None:
        return None
    given = environment.get("PENSTOCK_LEDGER_SPOOL_BYTES", str(DEFAULT_SPOOL_BYTES))
    if not re.fullmatch(r"[0-9]{1,15}", given) or int(given) < SMALLEST_SPOOL_BYTES:
        raise SettingsError(
            f"PENSTOCK_LEDGER_SPOOL_BYTES: {given!r} is not an integer of {SMALLEST_SPOOL_BYTES} or more"
        )
    folder = Path(environment.get("PENSTOCK_LEDGER_FOLDER") or DEFAULT_FOLDER)
    return LedgerSettings(database, folder, int(given))
