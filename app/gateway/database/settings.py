"""Where the database is, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from app.gateway.settings import SettingsError

Tls = Literal["prefer", "require", "verify-full"]


@dataclass(frozen=True)
class Database:
    host: str
    port: int
    name: str
    user: str
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    """Read at each connection, so that a rotated password is taken up."""
    tls: Tls = "prefer"
    """`prefer` takes TLS where the server has it, unverified; `verify-full` checks the server's name and its chain."""
    ca_file: Path | None = None

    def read_password(self) -> str:
        """Raises OSError."""
        return self.password if self.password_file is None else self.password_file.read_text().rstrip("\r\n")


def read_database(environment: Mapping[str, str], prefix: str = "PENSTOCK_DATABASE_") -> Database | None:
    """None where no address or no user is given. Raises SettingsError."""
    address = environment.get(f"{prefix}ADDRESS", "").strip()
    user = environment.get(f"{prefix}USER", "").strip()
    if not address or not user:
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"{prefix}ADDRESS: {address!r} is not of the form HOST:PORT")
    tls = environment.get(f"{prefix}TLS", "prefer")
    if tls not in get_args(Tls):
        raise SettingsError(f"{prefix}TLS: {tls!r} is not one of {', '.join(get_args(Tls))}")
    password_file, ca_file = environment.get(f"{prefix}PASSWORD_FILE"), environment.get(f"{prefix}CA_FILE")
    return Database(
        host=host.strip("[]"),
        port=int(port),
        name=environment.get(f"{prefix}NAME", "penstock"),
        user=user,
        password=environment.get(f"{prefix}PASSWORD", ""),
        password_file=Path(password_file) if password_file else None,
        tls=tls,  # ty: ignore[invalid-argument-type] - checked above
        ca_file=Path(ca_file) if ca_file else None,
    )
