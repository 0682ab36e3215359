"""Where files, batches and jobs are kept, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from app.gateway.database.settings import Database, read_database
from app.gateway.settings import SettingsError
from app.jobs.config import JobsConfig

LEAST_SECRET_BYTES = 24


@dataclass(frozen=True)
class Place:
    """What jobs need of the surroundings."""

    database: Database
    bucket: str
    secret: bytes = field(repr=False)
    """Workers sign with it in whose name they ask, and webhooks' secrets come from it."""


def read_place(environment: Mapping[str, str]) -> Place:
    """Reads PENSTOCK_JOBS_BUCKET, PENSTOCK_JOBS_SECRET and PENSTOCK_DATABASE_*. Raises SettingsError."""
    database = read_database(environment)
    bucket, secret = (environment.get(f"PENSTOCK_JOBS_{name}", "").strip() for name in ("BUCKET", "SECRET"))
    if database is None:
        raise SettingsError("jobs need PENSTOCK_DATABASE_ADDRESS and PENSTOCK_DATABASE_USER")
    if not bucket:
        raise SettingsError("PENSTOCK_JOBS_BUCKET is not set: jobs keep their files there")
    if len(secret) < LEAST_SECRET_BYTES:
        raise SettingsError(f"PENSTOCK_JOBS_SECRET has {len(secret)} characters; at least {LEAST_SECRET_BYTES} needed")
    return Place(database, bucket, secret.encode())


def read_config(environment: Mapping[str, str]) -> JobsConfig:
    """Reads PENSTOCK_JOBS_CONFIG, a JSON object. Raises SettingsError."""
    try:
        return JobsConfig.model_validate_json(environment.get("PENSTOCK_JOBS_CONFIG") or "{}")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(f"PENSTOCK_JOBS_CONFIG: {where}: {first['msg']}") from None
