"""Metrics of balancing and waiting. What the pools count themselves is read at scrape time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.gateway.metrics import REQUEST_BUCKETS

if TYPE_CHECKING:
    from app.gateway.service import Service


class BalanceMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue_seconds = Histogram(
            "penstock_queue_seconds",
            "Time in the waiting room, of those that left it.",
            ["model"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.queue_refused = Counter(
            "penstock_queue_refused",
            "Requests that got 503 from the waiting room: full, or expired.",
            ["model", "reason"],
            registry=registry,
        )
        self.hedged = Counter(
            "penstock_hedged_requests",
            "Requests sent to a second engine: first or second answered, or failed; no_budget: not sent.",
            ["model", "outcome"],
            registry=registry,
        )
        self.hangs = Counter(
            "penstock_engine_hangs", "Engines found hung by probes, each time.", ["model"], registry=registry
        )


class BalanceCollector:
    def __init__(self, service: Callable[[], Service]) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        label = ["model"]
        waiting = GaugeMetricFamily(
            "penstock_queue_waiting", "Requests in the waiting room.", labels=["model", "priority"]
        )
        demand = GaugeMetricFamily(
            "penstock_demand", "Requests that wait for an engine or are at one: what scaling looks at.", labels=label
        )
        resting = GaugeMetricFamily(
            "penstock_engines_resting", "Ready engines that failed and have not answered since.", labels=label
        )
        placed = CounterMetricFamily(
            "penstock_affine_requests",
            "Requests with a session or prefix: at their engine (home), or moved by its load.",
            labels=["model", "place"],
        )
        spilled = CounterMetricFamily(
            "penstock_zone_spills", "Requests that left the own zone because of its load.", labels=label
        )
        for name, target in self._service().targets.items():
            pool, room = target.pool, target.room
            queued = 0 if room is None else len(room)
            waiting.add_metric([name, "interactive"], 0 if room is None else room.queue.interactive)
            waiting.add_metric([name, "batch"], 0 if room is None else room.queue.batch)
            demand.add_metric([name], queued + target.at_engines)
            resting.add_metric([name], pool.resting)
            placed.add_metric([name, "home"], pool.at_home)
            placed.add_metric([name, "moved"], pool.moved)
            spilled.add_metric([name], pool.spilled)
        return (waiting, demand, resting, placed, spilled)
