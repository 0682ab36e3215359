"""Metrics of outside providers. Labels come from the configuration and from fixed lists."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ProviderMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.failures = Counter(
            "penstock_provider_failures",
            "Requests that an outside provider did not answer, by cause.",
            ["provider", "reason"],
            registry=registry,
        )
        self.key_usable = Gauge(
            "penstock_provider_key_usable",
            "1 while the provider can be asked, 0 while its key or role gives nothing to sign in with.",
            ["provider"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "penstock_provider_in_flight", "Requests at an outside provider.", ["provider"], registry=registry
        )

    def failed(self, provider: str, reason: str) -> None:
        self.failures.labels(provider, reason).inc()
