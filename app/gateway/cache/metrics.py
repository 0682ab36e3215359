"""The cache's metrics. Labels are models of the configuration and words of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Outcome = Literal["hit", "coalesced", "semantic", "miss", "bypass"]
OUTCOMES: tuple[Outcome, ...] = ("hit", "coalesced", "semantic", "miss", "bypass")
NOT_STORED = ("stored", "not_whole", "other_model", "too_large", "memory", "away", "refused")
LOOKUP_BUCKETS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1)


class CacheMetrics:
    def __init__(self, registry: CollectorRegistry, models: Iterable[str]) -> None:
        requests = Counter(
            "penstock_cache_requests",
            "Requests by what the cache did: an exact or semantic hit, coalesced with one under way, miss, bypass.",
            ["model", "outcome"],
            registry=registry,
        )
        tokens = Counter(
            "penstock_cache_saved_tokens", "Tokens that no engine had to work on.", ["model"], registry=registry
        )
        usd = Counter("penstock_cache_saved_usd", "What these tokens would have cost.", ["model"], registry=registry)
        names = tuple(models)
        self.requests = {(name, outcome): requests.labels(name, outcome) for name in names for outcome in OUTCOMES}
        self.tokens = {name: tokens.labels(name) for name in names}
        self.usd = {name: usd.labels(name) for name in names}
        stored = Counter(
            "penstock_cache_answers", "Answers by whether they were kept, or why not.", ["outcome"], registry=registry
        )
        self.stored = {outcome: stored.labels(outcome) for outcome in NOT_STORED}
        self.corrupt = Counter(
            "penstock_cache_corrupt", "Kept answers that were not what was put there.", registry=registry
        )
        self.up = Gauge("penstock_cache_up", "1 while answers can be looked up.", registry=registry)
        self.flights = Gauge(
            "penstock_cache_flights", "Requests under way that identical ones may follow.", registry=registry
        )
        semantic = Counter(
            "penstock_semantic_lookups", "Semantic look-ups by their end.", ["outcome"], registry=registry
        )
        self.semantic = {
            name: semantic.labels(name)
            for name in ("hit", "miss", "guarded", "late", "busy", "failed", "resting", "stored", "not_stored")
        }
        self.semantic_seconds = Histogram(
            "penstock_semantic_lookup_seconds",
            "Time of semantic look-ups, embedding included.",
            buckets=LOOKUP_BUCKETS,
            registry=registry,
        )

    def watch(self, flights: Callable[[], float]) -> None:
        self.flights.set_function(flights)
