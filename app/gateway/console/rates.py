"""From the gateways' sums to what the page shows: rates by colour, zone and model, and quantiles. Pure.

A rate is what was counted between two snapshots of one process, over the time between; a process that is new begins
with its first. Quantiles are of the last WINDOW points, as a second alone has few streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.gateway.console.snapshot import ModelSums, Snapshot
from app.gateway.metrics import ITL_BUCKETS, TTFT_BUCKETS

WINDOW = 10
MOST_POINTS = 300
MOST_GATEWAYS = 200
MOST_ERRORS = 100
MOST_ENGINES = 1000
SHORTEST_SECONDS = 0.2
"""Below this two snapshots are one."""
_SUMS = ("requests", "failed", "refused", "left", "input_tokens", "output_tokens", "cost_usd")


@dataclass
class Sum:
    """What was counted in a time, and gauges at its end."""

    rates: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0.0))
    in_flight: int = 0
    waiting: int = 0
    ttft: list[int] = field(default_factory=lambda: [0] * (len(TTFT_BUCKETS) + 1))
    itl: list[int] = field(default_factory=lambda: [0] * (len(ITL_BUCKETS) + 1))

    @classmethod
    def between(cls, before: ModelSums | None, now: ModelSums, seconds: float) -> Sum:
        """`before`: None for the first snapshot of a process."""
        one = cls(in_flight=now.in_flight, waiting=now.waiting)
        if before is not None:
            for name in _SUMS:
                one.rates[name] = max(0.0, getattr(now, name) - getattr(before, name)) / seconds
            _grow(one.ttft, before.ttft, now.ttft)
            _grow(one.itl, before.itl, now.itl)
        return one

    def add(self, other: Sum, *, again: bool) -> None:
        """`again`: the same as a second ago, as nothing newer came; its rates hold, its samples are counted already."""
        for name in _SUMS:
            self.rates[name] += other.rates[name]
        self.in_flight += other.in_flight
        self.waiting += other.waiting
        if not again:
            _grow(self.ttft, (), other.ttft)
            _grow(self.itl, (), other.itl)


def _grow(into: list[int], before: Sequence[int], now: Sequence[int]) -> None:
    for index, new in enumerate(now[: len(into)]):
        into[index] += max(0, new - (before[index] if index < len(before) else 0))


def quantile(share: float, counts: Sequence[int], bounds: Sequence[float]) -> float | None:
    """In seconds, linear inside a bucket; None without a sample. Beyond the last bound it is that bound."""
    total = sum(counts)
    if not total:
        return None
    wanted, below = share * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            if index >= len(bounds):
                return bounds[-1]
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (wanted - below) / count
        below += count
    return bounds[-1]


class Fleet:
    """Keeps the last snapshot of each gateway, and the points made of them."""

    def __init__(self) -> None:
        self._last: dict[str, Snapshot] = {}
        self._parts: dict[str, dict[str, Sum]] = {}
        """By process and model."""
        self._windows: dict[str, deque[Sum]] = {}
        self.points: deque[dict[str, Any]] = deque(maxlen=MOST_POINTS)

    def take(self, snapshots: Iterable[Snapshot], now: float) -> dict[str, Any]:
        """The point of now. Gateways that are not among the snapshots are gone."""
        found = {one.id: one for one in list(snapshots)[:MOST_GATEWAYS]}
        colours: dict[str, Sum] = {}
        zones: dict[str, Sum] = {}
        models: dict[str, Sum] = {}
        for identity, one in found.items():
            before = self._last.get(identity)
            again = before is not None and one.at - before.at < SHORTEST_SECONDS
            if before is not None and again:
                found[identity] = before
            else:
                seconds = one.at - before.at if before is not None else 1.0
                self._parts[identity] = {
                    model: Sum.between(None if before is None else before.models.get(model, ModelSums()), sums, seconds)
                    for model, sums in one.models.items()
                }
            for model, part in self._parts[identity].items():
                colours.setdefault(one.colour, Sum()).add(part, again=again)
                zones.setdefault(one.zone or "unknown", Sum()).add(part, again=again)
                models.setdefault(model, Sum()).add(part, again=again)
        self._parts = {identity: self._parts[identity] for identity in found}
        self._last = found
        point = {
            "t": round(now, 1),
            "colours": {name: self._shown(f"colour {name}", one) for name, one in sorted(colours.items())},
            "zones": {name: self._shown(f"zone {name}", one) for name, one in sorted(zones.items())},
            "models": {name: self._shown(f"model {name}", one) for name, one in sorted(models.items())},
        }
        gone = self._windows.keys() - {
            f"{kind} {name}"
            for kind, names in (("colour", colours), ("zone", zones), ("model", models))
            for name in names
        }
        for name in gone:
            del self._windows[name]
        self.points.append({"t": point["t"], "colours": point["colours"], "zones": _small(point["zones"])})
        return point

    def _shown(self, name: str, one: Sum) -> dict[str, Any]:
        window = self._windows.setdefault(name, deque(maxlen=WINDOW))
        window.append(one)
        ttft = [sum(counts) for counts in zip(*(each.ttft for each in window), strict=True)]
        itl = [sum(counts) for counts in zip(*(each.itl for each in window), strict=True)]
        rates = one.rates
        return {
            "rps": round(rates["requests"], 2),
            "failed": round(rates["failed"], 2),
            "refused": round(rates["refused"], 2),
            "tokens": round(rates["output_tokens"], 1),
            "usd_hour": round(rates["cost_usd"] * 3600, 4),
            "in_flight": one.in_flight,
            "waiting": one.waiting,
            "ttft": [_rounded(quantile(share, ttft, TTFT_BUCKETS)) for share in (0.5, 0.95)],
            "itl": [_rounded(quantile(share, itl, ITL_BUCKETS)) for share in (0.5, 0.95)],
        }

    def gateways(self) -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "colour": one.colour,
                "zone": one.zone,
                "version": one.version,
                "started_at": one.started_at,
                "draining": one.draining,
                "in_flight": sum(sums.in_flight for sums in one.models.values()),
                "connections": one.connections,
                "away": sorted(name for name, up in one.health.items() if not up),
            }
            for one in sorted(self._last.values(), key=lambda one: (one.colour, one.name))
        ]

    def engines(self) -> list[dict[str, Any]]:
        """Each once, with the work of all gateways. Where two see it differently the worse word counts."""
        found: dict[tuple[str, str, str], dict[str, Any]] = {}
        rank = {"ready": 0, "starting": 1, "draining": 2}
        for one in self._last.values():
            for engine in one.engines:
                key = (one.colour, engine.model, engine.name)
                row = found.get(key)
                if row is None:
                    found[key] = {
                        "name": engine.name,
                        "model": engine.model,
                        "colour": one.colour,
                        "zone": engine.zone,
                        "state": engine.state,
                        "in_flight": engine.in_flight,
                    }
                    continue
                row["in_flight"] += engine.in_flight
                row["state"] = max(row["state"], engine.state, key=lambda state: rank.get(state, 3))
        return [found[key] for key in sorted(found)[:MOST_ENGINES]]

    def errors(self) -> list[dict[str, Any]]:
        """The newest first."""
        every: list[dict[str, Any]] = [
            {**{name: getattr(failure, name) for name in failure.__struct_fields__}, "colour": one.colour}
            for one in self._last.values()
            for failure in one.errors
        ]
        return sorted(every, key=lambda row: -row["time"])[:MOST_ERRORS]


def _small(zones: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: {"rps": one["rps"]} for name, one in zones.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
