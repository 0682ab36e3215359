"""What a drill counted, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.ops.drill.catalogue import PROMISED_SECONDS, Drill
from infra.ops.load.buckets import GROWTH, LEAST_SECONDS, Buckets
from infra.ops.load.records import Records
from infra.ops.load.retry import USUAL_RETRIES

RESUMED, UNRESUMED = "penstock_resumed_streams_total", "unresumed"
GOOD_OUTCOMES = frozenset({"resumed", "completed"})
LOW_IS_BAD = ("_up",)
"""Gauges that are 1 in good times."""
PLATFORM_WIDE = ("_spool_bytes", "_backlog", "_resting", "_local", "_total")
"""Their sum over the gateways is meant; of the others the worst gateway."""


@dataclass
class Counters:
    """The gateways' metrics over time. A gateway that starts anew counts from zero, and one that dies keeps what was
    last read of it."""

    last: dict[str, dict[str, float]] = field(default_factory=dict)
    grown: dict[str, float] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)
    usual: dict[str, float] = field(default_factory=dict)

    def take(self, readings: Mapping[str, Mapping[str, float]]) -> None:
        """gateway -> metric (with the label of its outcome, where it has one) -> value."""
        for gateway, reading in readings.items():
            before = self.last.get(gateway)
            for name, value in reading.items():
                if is_counter(name):
                    base = 0.0 if before is None else before.get(name, 0.0)
                    growth = 0.0 if before is None and not self.usual else value - base if value >= base else value
                    self.grown[name] = self.grown.get(name, 0.0) + growth
            self.last[gateway] = dict(reading)
        gauges = gauges_of(readings.values())
        if not self.usual:
            self.usual = gauges
        for name, value in gauges.items():
            pick = min if low_is_bad(name) else max
            self.worst[name] = pick(self.worst.get(name, value), value)

    def counted(self, name: str) -> int:
        """The growth of a counter, over all of its labels."""
        return round(sum(value for key, value in self.grown.items() if key == name or key.startswith(f"{name}{{")))

    @property
    def resumed(self) -> int:
        return round(sum(self.grown.get(f"{RESUMED}{{{outcome}}}", 0.0) for outcome in GOOD_OUTCOMES))

    @property
    def unresumed(self) -> dict[str, int]:
        """Why not -> how many."""
        marks = {f"{RESUMED}{{{outcome}}}" for outcome in GOOD_OUTCOMES}
        return {
            key[len(RESUMED) + 1 : -1]: round(value)
            for key, value in self.grown.items()
            if key.startswith(f"{RESUMED}{{") and key not in marks and value
        }

    def untold(self, telling: Iterable[str]) -> list[str]:
        """Those that have not moved."""
        return [name for name in telling if not self.degraded([name])]

    def degraded(self, watched: Iterable[str]) -> dict[str, str]:
        """Of the watched metrics those that moved, in words."""
        said = {}
        for name in watched:
            if growth := self.counted(f"{name}_total"):
                said[name] = f"+{growth}"
            elif name in self.worst and abs(self.worst[name] - self.usual.get(name, 0.0)) >= threshold(name):
                said[name] = f"{self.usual.get(name, 0.0):.4g} -> {self.worst[name]:.4g}"
        return said


def is_counter(name: str) -> bool:
    return name.partition("{")[0].endswith("_total")


def low_is_bad(name: str) -> bool:
    return name.endswith(LOW_IS_BAD)


def threshold(name: str) -> float:
    """Below it a gauge's movement is not worth a word: seconds and bytes come and go."""
    return 2.0 if name.endswith("_seconds") else 1024 if name.endswith("_bytes") else 0.5


def gauges_of(readings: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for reading in readings:
        for name, value in reading.items():
            if is_counter(name):
                continue
            if name not in found:
                found[name] = value
            elif name.endswith(PLATFORM_WIDE):
                found[name] += value
            else:
                found[name] = min(found[name], value) if low_is_bad(name) else max(found[name], value)
    return found


def gaps_over(buckets: Buckets, seconds: float) -> int:
    """Gaps in buckets that begin at `seconds` or later."""
    return sum(
        count for index, count in buckets.counts.items() if LEAST_SECONDS * GROWTH ** (index - 1) >= seconds * 0.999
    )


def failed_after(records: Records, moment: float) -> int:
    """Requests for good, and streams that never began, that were due later, by the load's clock."""
    requests = sum(bool(one.failure) and one.due > moment for one in records.requests)
    return requests + sum(bool(one.failure) and not one.cut and one.start > moment for one in records.streams)


def outage(records: Records, since: float) -> float:
    """Seconds from the first try that failed after `since` to the end of the last request that had one."""
    failed = [
        (one.due, one.due + one.latency)
        for one in records.requests
        if (one.failure or one.retries) and one.due >= since
    ]
    return max(end for _, end in failed) - min(due for due, _ in failed) if failed else 0.0


@dataclass(frozen=True)
class Result:
    drill: str
    figures: Mapping[str, float | None]
    degraded: Mapping[str, str]
    done: str
    """What was broken, in words."""
    missed: tuple[str, ...]
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Why requests failed and streams were cut, as the client saw it."""

    @property
    def passed(self) -> bool:
        return not self.missed

    def as_dict(self) -> dict[str, Any]:
        return {
            "drill": self.drill,
            "done": self.done,
            "passed": self.passed,
            "missed": list(self.missed),
            **{name: None if value is None else round(value, 3) for name, value in self.figures.items()},
            "degraded": dict(self.degraded),
            "reasons": dict(self.reasons),
        }


def result(
    drill: Drill,
    done: str,
    records: Records,
    counters: Counters,
    *,
    injected_at: float,
    capacity_seconds: float | None,
    stalls: Buckets,
    more: Mapping[str, float | None],
) -> Result:
    """`stalls`: gaps between tokens from the fault on; `injected_at` and `capacity_seconds` in seconds, the first on
    the load's clock, the second from the end of the fault."""
    whole = records.figures()
    refused = [one for one in records.requests if one.failure]
    figures: dict[str, float | None] = {
        "requests": whole.requests,
        "retried": sum(one.retries > 0 for one in (*records.requests, *records.streams)),
        "retried_more": sum(one.retries > USUAL_RETRIES for one in (*records.requests, *records.streams)),
        "failed": whole.failed_requests + whole.failed_streams - whole.cut_streams,
        "failed_late": failed_after(records, injected_at + PROMISED_SECONDS),
        "failed_in_gateway": sum(bool(one.colour) for one in refused),
        "streams": whole.streams,
        "cut": whole.cut_streams,
        "resumed": counters.resumed,
        "unresumed": sum(counters.unresumed.values()),
        "worst_stall": stalls.largest,
        "stalled_200ms": gaps_over(stalls, 0.2),
        "outage_seconds": outage(records, injected_at - 1.0),
        "full_capacity_seconds": capacity_seconds,
        "untold": len(counters.untold(drill.telling)),
        "rows_lost": counters.counted("penstock_ledger_rows_lost_total"),
        **more,
    }
    missed = tuple(aim.words for aim in drill.aims if aim.missed(figures))
    degraded = counters.degraded(drill.watched)
    return Result(drill.name, figures, degraded, done, missed, whole.reasons)
