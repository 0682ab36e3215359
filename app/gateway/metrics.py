"""Prometheus metrics. Label values come from the configuration alone, so their number is bounded; children are kept."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily

from app.gateway.tally import Count, Counts, Spread

if TYPE_CHECKING:
    from app.gateway.service import Service

OTHER = "other"
TTFT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ITL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
STALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1, 2, 5, 10, 30, 60)
REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ModelMetrics:
    """What is counted of one model on the way of each request and event."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.model = model
        self._requests: dict[tuple[int, bool], Count] = {}
        self._family = metrics.requests
        self.input_tokens = metrics.tokens.child(model, "input")
        self.output_tokens = metrics.tokens.child(model, "output")
        self.cached_tokens = metrics.tokens.child(model, "cached")
        self.cost = metrics.cost.child(model)
        self.ttft = metrics.ttft.child(model)
        self.itl = metrics.itl.child(model)
        self.duration = metrics.duration.child(model)
        self.stall = metrics.stall.labels(model)

    def count(self, status: int, *, stream: bool) -> None:
        child = self._requests.get((status, stream))
        if child is None:
            child = self._family.child(self.model, str(status), "true" if stream else "false")
            self._requests[status, stream] = child
        child.value += 1

    def by_status(self) -> dict[int, float]:
        """Requests so far by HTTP status."""
        found: dict[int, float] = {}
        for (status, _), child in self._requests.items():
            found[status] = found.get(status, 0.0) + child.value
        return found


class Metrics:
    def __init__(self, models: Iterable[str], colour: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        label = ["model"]
        self.requests = Counts(
            "penstock_requests",
            "Inference requests answered, by HTTP status (499: the client left first).",
            ["model", "code", "stream"],
            registry=registry,
        )
        self.tokens = Counts(
            "penstock_tokens",
            "Tokens; `cached` ones are part of `input`.",
            ["model", "direction"],
            registry=registry,
        )
        self.cost = Counts("penstock_cost_usd", "Cost of tokens at the configured prices.", label, registry=registry)
        self.ttft = Spread(
            "penstock_ttft_seconds", "Streams: request to first event.", label, buckets=TTFT_BUCKETS, registry=registry
        )
        self.itl = Spread(
            "penstock_itl_seconds",
            "Streams: gaps between relayed events.",
            label,
            buckets=ITL_BUCKETS,
            registry=registry,
        )
        self.duration = Spread(
            "penstock_request_seconds", "Whole requests.", label, buckets=REQUEST_BUCKETS, registry=registry
        )
        self.retries = Counter(
            "penstock_retries",
            "Requests moved to another engine before their first byte.",
            ["reason"],
            registry=registry,
        )
        self.interrupted = Counter(
            "penstock_interrupted_streams", "Streams that ended with an error event.", label, registry=registry
        )
        self.resumed = Counter(
            "penstock_resumed_streams",
            "Streams that lost their engine, each time: resumed, completed (only the end was missing), or why not.",
            ["outcome"],
            registry=registry,
        )
        self.stall = Histogram(
            "penstock_stream_stall_seconds",
            "Resumed streams: from the last event of one engine to the first of the next.",
            label,
            buckets=STALL_BUCKETS,
            registry=registry,
        )
        self.refused = Counter(
            "penstock_refused_requests",
            "Requests refused to protect the gateway.",
            ["reason"],
            registry=registry,
        )
        self.watch_connected = Gauge(
            "penstock_watch_connected", "1 while the engine pods of a model are watched.", label, registry=registry
        )
        self.dependency_up = Gauge(
            "penstock_dependency_up", "1 when the cache or database answers.", ["name"], registry=registry
        )
        self.keys_valid = Gauge(
            "penstock_key_file_valid", "0 when the key file on disk is unusable.", registry=registry
        )
        self.keys_valid.set(1)
        self.logs_dropped = Counter(
            "penstock_log_lines_dropped", "Log lines lost as stdout is slow.", registry=registry
        )
        build = Gauge("penstock_build_info", "Always 1.", ["version", "python", "colour"], registry=registry)
        build.labels(version(), platform.python_version(), colour).set(1)
        self.models = {model: ModelMetrics(self, model) for model in (*models, OTHER)}

    def text(self) -> bytes:
        return generate_latest(self.registry)


@functools.cache
def version() -> str:
    """Looked up once: each look reads the names of all that is installed, and leaves 3 kB of cycles behind."""
    try:
        return importlib.metadata.version("penstock")
    except importlib.metadata.PackageNotFoundError:  # an image holds the modules without their distribution
        return "unknown"


class PoolCollector:
    """Reads engine counts and work at scrape time, so that the hot path writes no gauge."""

    def __init__(self, service: Callable[[], Service]) -> None:
        self._service = service

    def collect(self) -> Iterable[GaugeMetricFamily]:
        in_flight = GaugeMetricFamily("penstock_in_flight", "Requests in the gateway.", labels=["model"])
        work = GaugeMetricFamily(
            "penstock_engine_in_flight", "Requests at engines, by the engine's zone.", labels=["model", "zone"]
        )
        engines = GaugeMetricFamily("penstock_engines", "Engines known.", labels=["model", "state"])
        service = self._service()
        for name, target in service.targets.items():
            in_flight.add_metric([name], target.in_flight)
            states = dict.fromkeys(("ready", "starting", "draining"), 0)
            zones: dict[str, int] = {}
            for engine in target.pool.engines.values():
                states[engine.state] += 1
                zones[engine.zone] = zones.get(engine.zone, 0) + engine.in_flight
            for state, count in states.items():
                engines.add_metric([name, state], count)
            for zone, count in zones.items():
                work.add_metric([name, zone or "unknown"], count)
        draining = GaugeMetricFamily("penstock_draining", "1 once the gateway drains.", value=int(service.draining))
        return (in_flight, work, engines, draining)
