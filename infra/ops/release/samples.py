"""What the gateways' metrics say of a window of time: counters in, differences out. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Key = tuple[str, ...]
Reading = Mapping[Key, float]
"""One scrape of one gateway: counters by (what, model, more)."""

REQUESTS, FAILED, TTFT, ITL = "requests", "failed", "ttft", "itl"
SHADOW_STATUS, SHADOW_TEXT = "shadow_status", "shadow_text"
SHADOW_TTFT = {"original": "shadow_ttft_original", "copy": "shadow_ttft_copy"}
COMPARED = {"status": SHADOW_STATUS, "text": SHADOW_TEXT}
HISTOGRAMS = {"penstock_ttft_seconds_bucket": TTFT, "penstock_itl_seconds_bucket": ITL}


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` samples are in the bucket up to `bounds[i]` and above the one before; the last bound is infinite."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.counts)

    def above(self, bound: float) -> int:
        """Samples in buckets that begin at `bound` or later."""
        return sum(count for top, count in zip(self.bounds, self.counts, strict=True) if top > bound)

    @classmethod
    def cumulative(cls, values: Mapping[float, float]) -> Histogram:
        """From Prometheus's `le` -> samples up to it."""
        bounds = tuple(sorted(values))
        rising = [values[bound] for bound in bounds]
        counts = tuple(max(0, round(at - before)) for before, at in zip([0.0, *rising], rising, strict=False))
        return cls(bounds, counts)


@dataclass(frozen=True)
class ModelSample:
    """`failed`: answers of 500 and above, and streams that ended with an error event."""

    requests: int = 0
    failed: int = 0
    ttft: Histogram = field(default_factory=Histogram)
    """One sample for each stream."""
    itl: Histogram = field(default_factory=Histogram)
    """One sample for each gap between two events of a stream."""


@dataclass(frozen=True)
class ShadowSample:
    """Copies of requests that the original's colour answered well. `failed`: the copy was not, or not whole."""

    failed: int = 0
    compared: int = 0
    texts_differ: int = 0
    texts: int = 0
    original: Histogram = field(default_factory=Histogram)
    copy: Histogram = field(default_factory=Histogram)
    """Times to the first event, of the same streams."""


@dataclass(frozen=True)
class Sample:
    """A colour in a window of time."""

    counters: Reading = field(default_factory=dict)

    def of(self, model: str) -> ModelSample:
        return self.total([model])

    def total(self, models: Sequence[str]) -> ModelSample:
        wanted = set(models)

        def count(kind: str) -> int:
            return round(sum(value for key, value in self.counters.items() if key[0] == kind and key[1] in wanted))

        requests = count(REQUESTS)
        ttft, itl = self._histogram(TTFT, wanted), self._histogram(ITL, wanted)
        return ModelSample(requests, min(requests, count(FAILED)), ttft, itl)

    def shadow(self, models: Sequence[str]) -> ShadowSample:
        """What the requests that were copied to the other colour showed, as the gateways they came from count it."""
        wanted = set(models)

        def pair(kind: str) -> tuple[int, int]:
            same, other = (
                round(sum(self.counters.get((kind, model, answer), 0.0) for model in wanted))
                for answer in ("true", "false")
            )
            return other, same + other

        original, copy = (self._histogram(SHADOW_TTFT[of], wanted) for of in ("original", "copy"))
        return ShadowSample(*pair(SHADOW_STATUS), *pair(SHADOW_TEXT), original, copy)

    def _histogram(self, kind: str, models: Collection[str]) -> Histogram:
        found: dict[float, float] = {}
        for key, value in self.counters.items():
            if key[0] == kind and key[1] in models:
                found[float(key[2])] = found.get(float(key[2]), 0.0) + value
        return Histogram.cumulative(found)


def read(text: str) -> Reading:
    """The counters of a scrape that the gate needs. Raises ValueError for what is not in Prometheus's text format."""
    from prometheus_client.parser import text_string_to_metric_families

    found: defaultdict[Key, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            model = sample.labels.get("model", "")
            if sample.name == "penstock_requests_total":
                found[REQUESTS, model] += sample.value
                found[FAILED, model] += sample.value if sample.labels.get("code", "").startswith("5") else 0.0
            elif sample.name == "penstock_interrupted_streams_total":
                found[FAILED, model] += sample.value
            elif sample.name == "penstock_shadow_compared_total":
                if kind := COMPARED.get(sample.labels["what"]):
                    found[kind, model, sample.labels["same"]] += sample.value
            elif sample.name == "penstock_shadow_ttft_seconds_bucket":
                of = SHADOW_TTFT[sample.labels["of"]]
                found[of, model, str(float(sample.labels["le"].replace("+Inf", "inf")))] += sample.value
            elif kind := HISTOGRAMS.get(sample.name):
                found[kind, model, str(float(sample.labels["le"].replace("+Inf", "inf")))] += sample.value
    return dict(found)


class Window:
    """Sums what gateways counted since it was opened, over their restarts and departures.

    A gateway's first scrape is where it starts from, also for one that comes later: its first moments are not counted.
    """

    def __init__(self, last: Mapping[str, Reading] | None = None) -> None:
        self._last: dict[str, Reading] = dict(last or {})
        self._sum: defaultdict[Key, float] = defaultdict(float)

    def feed(self, gateway: str, reading: Reading) -> None:
        before = self._last.get(gateway)
        self._last[gateway] = reading
        if before is None:
            return
        restarted = any(reading.get(key, 0.0) < value for key, value in before.items())
        for key, value in reading.items():
            self._sum[key] += value - (0.0 if restarted else before.get(key, 0.0))

    def next(self) -> Window:
        """A window that begins with the last scrapes of this one."""
        return Window(self._last)

    def sample(self) -> Sample:
        return Sample(dict(self._sum))


def histogram(bounds: Iterable[float], values: Iterable[float]) -> Histogram:
    """Single values put into buckets, as a gateway does it; for reports and tests."""
    tops = (*sorted(bounds), math.inf)
    counts = [0] * len(tops)
    for value in values:
        counts[next(index for index, top in enumerate(tops) if value <= top)] += 1
    return Histogram(tops, tuple(counts))
