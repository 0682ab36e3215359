"""Where a gateway runs, from its environment and command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.gateway.database.settings import read_database
from app.gateway.ledger.settings import read_settings
from app.gateway.settings import SettingsError

if TYPE_CHECKING:
    from app.gateway.database.settings import Database
    from app.gateway.ledger.settings import LedgerSettings
    from app.jobs.settings import Place


@dataclass(frozen=True)
class Surroundings:
    """Where the gateway runs, from its environment and command line."""

    zone: str = ""
    engines: tuple[tuple[str, int], ...] = ()
    """Fixed engines (host, port) for every model; empty where pods are watched."""
    api_url: str = ""
    credentials: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    cache_address: str = ""
    cache_tls: bool = False
    cache_token: str = field(default="", repr=False)
    database_address: str = ""
    classifier_key: str = field(default="", repr=False)
    trace_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What a collector wants to see, such as its key."""
    ledger: LedgerSettings | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For what asks AWS: addresses and credentials of the pod."""
    events_queue_url: str = ""
    """The queue of SQS with what AWS says of money."""
    keys: Database | None = None
    """Where keys are kept beside the key file; None: nowhere."""
    jobs: Place | None = None
    """Where files, batches and jobs are kept; None: nowhere."""


def surroundings(environment: Mapping[str, str], engines: str) -> Surroundings:
    """Reads the environment and the --engines option. Raises SettingsError."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    if not engines and not host:
        raise SettingsError(
            "no engines: give --engines URL,URL, or run in a Kubernetes pod (KUBERNETES_SERVICE_HOST is not set)"
        )
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    shown = f"[{host}]" if ":" in host else host
    return Surroundings(
        zone=environment.get("POD_ZONE", ""),
        engines=tuple(_engine(url.strip()) for url in engines.split(",") if url.strip()),
        api_url=f"https://{shown}:{port}" if host else "",
        credentials=Path(environment.get("KUBERNETES_CREDENTIALS") or Surroundings.credentials),
        cache_address=_address(environment, "PENSTOCK_CACHE_ADDRESS"),
        cache_tls=_switch(environment, "PENSTOCK_CACHE_TLS"),
        cache_token=environment.get("PENSTOCK_CACHE_TOKEN", "").strip(),
        database_address=_address(environment, "PENSTOCK_DATABASE_ADDRESS"),
        trace_headers=_trace_headers(environment),
        classifier_key=environment.get("PENSTOCK_CLASSIFIER_KEY", "").strip(),
        ledger=read_settings(environment),
        keys=_keys_database(environment),
        jobs=_jobs_place(environment),
        environment=environment,
        events_queue_url=environment.get("PENSTOCK_EVENTS_QUEUE_URL", "").strip(),
    )


def _keys_database(environment: Mapping[str, str]) -> Database | None:
    if not _switch(environment, "PENSTOCK_KEYS_DATABASE"):
        return None
    found = read_database(environment)
    if found is None:
        raise SettingsError(
            "PENSTOCK_KEYS_DATABASE: keys need PENSTOCK_DATABASE_ADDRESS and PENSTOCK_DATABASE_USER as well"
        )
    return found


def _jobs_place(environment: Mapping[str, str]) -> Place | None:
    if not environment.get("PENSTOCK_JOBS_BUCKET"):
        return None
    from app.jobs.settings import read_place

    return read_place(environment)


def _trace_headers(environment: Mapping[str, str]) -> Mapping[str, str]:
    text = environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    if not text:
        return {}
    from app.gateway.trace.export import read_headers

    try:
        return read_headers(text)
    except ValueError as error:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_HEADERS: {error}") from None


def _engine(url: str) -> tuple[str, int]:
    rest = url.removeprefix("http://").rstrip("/")
    host, colon, port = rest.rpartition(":")
    if not colon or not host or not port.isdigit() or "/" in rest:
        raise SettingsError(f"--engines: {url!r} is not of the form http://HOST:PORT")
    return host.strip("[]"), int(port)


def _switch(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "").strip().lower()
    if value not in ("", "0", "1", "false", "true"):
        raise SettingsError(f"{name}: {value!r} is not allowed; it may be true, false, 1 or 0")
    return value in ("1", "true")


def _address(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if value and not value.rpartition(":")[2].isdigit():
        raise SettingsError(f"{name}: {value!r} is not of the form HOST:PORT")
    return value
