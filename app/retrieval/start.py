"""Brings retrieval to life in a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from app.gateway.keys.errands import Errands
from app.gateway.settings import SettingsError
from app.retrieval.api import RetrievalApi
from app.retrieval.embed import Door
from app.retrieval.relay import Relay
from app.retrieval.store import Stores
from app.retrieval.work import Retrieval

if TYPE_CHECKING:
    from app.gateway.database.settings import Database
    from app.gateway.service import Service
    from app.retrieval.config import RetrievalConfig

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def start(service: Service, config: RetrievalConfig, database: Database | None, url: str) -> None:
    """`url`: where this gateway asks itself. Raises SettingsError."""
    if database is None:
        raise SettingsError(
            "retrieval: documents are kept in the database: set PENSTOCK_KEYS_DATABASE and "
            "PENSTOCK_DATABASE_ADDRESS, or leave `retrieval` out"
        )
    door = Door(url, config.embed_seconds, config.embed_batch)
    registry = service.metrics.registry
    requests = Counter(
        "penstock_gateway_retrieval_requests", "Retrieval requests.", ("operation", "status"), registry=registry
    )
    seconds = Histogram(
        "penstock_gateway_retrieval_seconds", "Time of a retrieval request.", ("operation",), registry=registry,
        buckets=BUCKETS,
    )  # fmt: skip
    service.keys.errands = errands = Errands(service.keys)
    retrieval = Retrieval(config, Stores(database), door, errands, service.log)
    service.retrieval = RetrievalApi(
        retrieval, Relay(door), service.config.max_body_bytes, service.log, requests, seconds
    )
