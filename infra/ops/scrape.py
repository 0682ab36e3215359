"""The few figures that `status` takes from the metrics of gateways and engines. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from components.engines import ENGINES
from components.engines.adapter import Metrics


@dataclass(frozen=True)
class EngineFigures:
    """An engine's gauges. `kv_cache_usage` is a share, 0 to 1."""

    running: int
    waiting: int
    kv_cache_usage: float


@dataclass(frozen=True)
class GatewayFigures:
    """Counters since the gateway started. `failed` are answers of 500 and above."""

    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: GatewayFigures) -> GatewayFigures:
        return GatewayFigures(**{name: value + getattr(other, name) for name, value in asdict(self).items()})


class Samples:
    """One scrape, summed by name and label."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for what is not in the Prometheus text format."""
        from prometheus_client.parser import text_string_to_metric_families

        self._samples: list[Any] = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def has(self, name: str | None) -> bool:
        return any(sample.name == name for sample in self._samples)

    def total(self, name: str, where: Callable[[Mapping[str, str]], bool] = lambda labels: True) -> float:
        return sum(sample.value for sample in self._samples if sample.name == name and where(sample.labels))


def engine(text: str) -> EngineFigures:
    """Of whichever engine wrote it: the first whose names stand there. One that tells nothing counts as idle."""
    samples = Samples(text)
    names = next((each.metrics for each in ENGINES.values() if samples.has(each.metrics.running)), Metrics())

    def total(name: str | None) -> float:
        return 0.0 if name is None else samples.total(name)

    return EngineFigures(
        running=int(total(names.running)),
        waiting=int(total(names.waiting)),
        kv_cache_usage=round(total(names.kv_cache_usage), 4),
    )


def gateway(text: str) -> GatewayFigures:
    samples = Samples(text)
    return GatewayFigures(
        requests=int(samples.total("penstock_requests_total")),
        failed=int(samples.total("penstock_requests_total", lambda labels: labels.get("code", "").startswith("5"))),
        input_tokens=int(samples.total("penstock_tokens_total", lambda labels: labels.get("direction") == "input")),
        output_tokens=int(samples.total("penstock_tokens_total", lambda labels: labels.get("direction") == "output")),
        cost_usd=round(samples.total("penstock_cost_usd_total"), 6),
    )


def total(figures: Iterable[GatewayFigures]) -> GatewayFigures:
    return sum(figures, GatewayFigures())
