"""Metrics of routing. All labels come from the configuration or from fixed lists."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

NO_MODEL = "none"
"""What stands for the model in metrics, log and ledger where no model answered."""


class RoutingMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.routed = Counter(
            "penstock_routed_requests",
            "Requests for a name with a route, by the model chosen first and the rule that chose it.",
            ["name", "to", "reason"],
            registry=registry,
        )
        self.fallbacks = Counter(
            "penstock_fallbacks",
            "Steps down a chain: to a model, or to `cache`, `knowledge` or `canned`, and why.",
            ["name", "to", "reason"],
            registry=registry,
        )
        self.discarded = Counter(
            "penstock_discarded_answers",
            "Answers that were empty, cut or not in the asked format; passed on where nothing better came.",
            ["model", "reason"],
            registry=registry,
        )
        self.discarded_cost = Counter(
            "penstock_discarded_cost_usd",
            "Cost of such answers that were not passed on; no client is charged.",
            ["model"],
            registry=registry,
        )
        self.circuit = Gauge(
            "penstock_circuit_open",
            "1 while a model is passed over, 0.5 while it is tried.",
            ["model"],
            registry=registry,
        )
