"""Counters and histograms for the hot path: one thread, no lock, read by Prometheus when it asks.

prometheus_client's own children lock at each call and cost five times as much (0.36 us and 0.82 us on the machine of
docs/performance.md); an SSE event alone is to cost 14 us.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString


class Count:
    """One child. Add to `value` by the loop's thread alone."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Buckets:
    """One histogram's child."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Counts:
    """A family of counters, by label values."""

    def __init__(self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._children: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def child(self, *values: str) -> Count:
        return self._children.setdefault(values, Count())

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class Spread:
    """A family of histograms, by label values. `buckets`: upper bounds, ascending."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, tuple(buckets)
        self._children: dict[tuple[str, ...], Buckets] = {}
        registry.register(self)

    def child(self, *values: str) -> Buckets:
        return self._children.setdefault(values, Buckets(self._bounds))

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]
        for values, child in self._children.items():
            cumulative = map(float, accumulate(child.counts))
            family.add_metric(values, list(zip(names, cumulative, strict=True)), child.sum)
        yield family
