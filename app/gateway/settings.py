"""Reads the configuration and the key file. A mistake ends in one sentence that names the field.

Where keys come from:
- the key file (`--keys`, `KeyFile`): client keys that work without a database, and the admin keys (`admins`) that open
  /admin/v1 and /debug;
- the database, where PENSTOCK_KEYS_DATABASE is `true`: keys and tenants of the admin API, in the ledger's database
  (PENSTOCK_DATABASE_ADDRESS, _NAME, _USER, _PASSWORD or _PASSWORD_FILE, _TLS, _CA_FILE). Its owner makes the tables by
  `python -m app.gateway.database migrate --login NAME`;
- an OpenID Connect issuer, where the configuration has `jwt`: there is no secret in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.gateway.config import GatewayConfig, KeyFile


class SettingsError(Exception):
    """A file that cannot be used. The message is for the operator."""


Model = TypeVar("Model", bound=BaseModel)


def _load(kind: type[Model], path: Path, *, secret: bool) -> Model:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        shown = "" if secret or isinstance(first["input"], dict | list | bytes) else f" (got {first['input']!r})"
        rest = error.error_count() - 1
        more = f"; {rest} more mistake{'s' if rest > 1 else ''} after it" if rest else ""
        raise SettingsError(f"{path}: {where}: {first['msg']}{shown}{more}") from None


def load_config(path: Path) -> GatewayConfig:
    """Raises SettingsError."""
    return _load(GatewayConfig, path, secret=False)


def load_keys(path: Path) -> KeyFile:
    """Raises SettingsError. Its message never holds a value of the file: a key may stand where its hash belongs."""
    return _load(KeyFile, path, secret=True)
