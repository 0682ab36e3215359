"""What a load run counted, and the figures made of it. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.ops.load.buckets import Buckets

MOST_REASONS = 20
OTHER_REASONS = "other reasons"


@dataclass(frozen=True, slots=True)
class Request:
    """One JSON request. Times in seconds; `due` counts from the start of the run and latency from when it was due, so
    that a generator or server that falls behind shows ("coordinated omission")."""

    due: float
    latency: float
    colour: str
    failure: str = ""
    retries: int = 0
    """How often it was sent again; `failure` and `colour` are those of the last try."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. `start` is when it was due, where it was sent at a time of its own, and `ttft` counts from there to
    the first event with a token; `cut` means that it began and did not end whole."""

    start: float
    ttft: float | None
    duration: float
    tokens: int
    colour: str
    failure: str = ""
    cut: bool = False
    retries: int = 0


@dataclass(frozen=True)
class Figures:
    """Figures of a window of a run. Percentiles in seconds, None without a sample."""

    requests: int
    failed_requests: int
    streams: int
    failed_streams: int
    cut_streams: int
    tokens: int
    latency_p50: float | None
    latency_p99: float | None
    ttft_p50: float | None
    ttft_p99: float | None
    itl_p50: float | None
    itl_p99: float | None
    """Between arrivals of tokens in a stream, over the whole run."""
    worst_stall: float | None
    colours: dict[str, int]
    reasons: dict[str, int]

    @property
    def failures(self) -> int:
        return self.failed_requests + self.failed_streams

    def share(self, colour: str) -> float:
        """Of the answered requests and streams, 0 to 1."""
        answered = sum(self.colours.values())
        return self.colours.get(colour, 0) / answered if answered else 0.0

    def as_dict(self) -> dict[str, Any]:
        rounded = {name: round(value, 4) for name, value in self.__dict__.items() if isinstance(value, float)}
        return {**self.__dict__, **rounded}


@dataclass
class Records:
    """All of a run. Its size is bounded by the run's own bounds (see `load.Plan`)."""

    requests: list[Request] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    gaps: dict[str, Buckets] = field(default_factory=dict)
    """By colour: seconds between arrivals of tokens inside streams."""

    def mark(self) -> tuple[int, int]:
        """For `since`."""
        return len(self.requests), len(self.streams)

    def since(self, mark: tuple[int, int]) -> Records:
        """What ended after the mark. The gaps are those of the whole run."""
        requests, streams = mark
        return Records(self.requests[requests:], self.streams[streams:], self.gaps)

    def all_gaps(self) -> Buckets:
        whole = Buckets()
        for each in self.gaps.values():
            whole.merge(each)
        return whole

    def figures(self, start: float = 0.0, end: float = math.inf) -> Figures:
        """Requests that were due, and streams that began, from `start` up to `end` seconds into the run."""
        requests = [one for one in self.requests if start <= one.due < end]
        streams = [one for one in self.streams if start <= one.start < end]
        good = [one.latency for one in requests if not one.failure]
        first = [one.ttft for one in streams if one.ttft is not None]
        gaps = self.all_gaps()
        return Figures(
            requests=len(requests),
            failed_requests=sum(bool(one.failure) for one in requests),
            streams=len(streams),
            failed_streams=sum(bool(one.failure) for one in streams),
            cut_streams=sum(one.cut for one in streams),
            tokens=sum(one.tokens for one in streams),
            latency_p50=percentile(good, 50),
            latency_p99=percentile(good, 99),
            ttft_p50=percentile(first, 50),
            ttft_p99=percentile(first, 99),
            itl_p50=gaps.percentile(50),
            itl_p99=gaps.percentile(99),
            worst_stall=gaps.largest if gaps.total else None,
            colours=dict(Counter(one.colour for one in (*requests, *streams) if one.colour)),
            reasons=reasons([*(one.failure for one in requests), *(one.failure for one in streams)]),
        )

    def by_second(self) -> list[dict[str, Any]]:
        """For each second of the run: answers by colour, and failures."""
        rows: dict[int, dict[str, Any]] = {}
        for at, colour, failure in (
            *((one.due, one.colour, one.failure) for one in self.requests),
            *((one.start, one.colour, one.failure) for one in self.streams),
        ):
            row = rows.setdefault(int(at), {"second": int(at), "failed": 0})
            if colour:
                row[colour] = row.get(colour, 0) + 1
            row["failed"] += bool(failure)
        return [rows[second] for second in sorted(rows)]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile: a value that was measured, never one between two."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def reasons(failures: Iterable[str]) -> dict[str, int]:
    """How often each reason, the most frequent first; rare ones beyond MOST_REASONS are summed.

    Reasons that differ in numbers alone are one, shown as it came first.
    """
    counted: Counter[str] = Counter()
    first: dict[str, str] = {}
    for failure in failures:
        if failure:
            counted[first.setdefault(re.sub("[0-9]+", "0", failure), failure)] += 1
    ranked = counted.most_common()
    kept = dict(ranked[:MOST_REASONS])
    rest = sum(count for _, count in ranked[MOST_REASONS:])
    return kept | ({OTHER_REASONS: rest} if rest else {})
