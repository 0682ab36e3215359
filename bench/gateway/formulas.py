"""Arithmetic of the benchmark. Pure.

CPU of a gateway is the kernel's scheduler time of all threads of its process tree, read at both ends of the load
generator's window. On a shared machine requests per second drift by a factor of two; CPU per request does not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


class VoidRunError(ValueError):
    """A run with errors, which is no measurement. The message says what was counted."""


@dataclass(frozen=True)
class Window:
    """What the load generator counted between `begin` and `end` (nanoseconds of the monotonic clock)."""

    begin: int
    end: int
    requests: int
    events_per_second: float
    p50_ms: float
    p99_ms: float
    ttft_p50_ms: float
    ttft_p99_ms: float

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


def window(edges: dict[str, int], counted: dict[str, float]) -> Window:
    """From the generator's two lines. Raises VoidRunError where a request failed, was cut or had not 200."""
    faults = {name: int(counted[name]) for name in ("errs", "non200", "incomplete") if counted[name]}
    if faults:
        raise VoidRunError("void: " + ", ".join(f"{count} {name}" for name, count in faults.items()))
    if not counted["ok"]:
        raise VoidRunError("void: no request ended inside the window")
    return Window(
        begin=edges["from"],
        end=edges["until"],
        requests=int(counted["ok"]),
        events_per_second=counted["eps"],
        p50_ms=counted["p50"],
        p99_ms=counted["p99"],
        ttft_p50_ms=counted["ttft50"],
        ttft_p99_ms=counted["ttft99"],
    )


def microseconds_each(cpu_seconds: float, count: float) -> float:
    """CPU of one request or event, in microseconds. `count`: how many were answered while `cpu_seconds` were used."""
    if count <= 0:
        raise VoidRunError("void: nothing was answered")
    return cpu_seconds / count * 1e6


def per_core(microseconds: float) -> float:
    """Requests per second that one core can do."""
    return 1e6 / microseconds


def references(order: Sequence[str], reference: str) -> dict[int, tuple[int, ...]]:
    """For the index of each run of a slot: the indices of the nearest run of `reference` before it and after it.

    A slot is one mode of one round, so all its runs lie within seconds; neighbours of the machine hit them alike.
    """
    own = [index for index, name in enumerate(order) if name == reference]
    near = {}
    for index, name in enumerate(order):
        if name == reference:
            continue
        before = [at for at in own if at < index][-1:]
        after = [at for at in own if at > index][:1]
        near[index] = tuple(before + after)
    return near


def running_order(names: Sequence[str], reference: str, first: str) -> list[str]:
    """The order of a slot: the reference before and after `first`, then after at most three others each."""
    if reference not in names:
        return list(names)
    others = [name for name in names if name not in {reference, first}]
    order = [reference, first, reference] if first in names else [reference]
    for at in range(0, len(others), 3):
        order += [*others[at : at + 3], reference]
    return order


def middle(values: Sequence[float]) -> float | None:
    """The median; None where there is no value."""
    return statistics.median(values) if values else None


def noise(values: Sequence[float]) -> float | None:
    """Half the range as a share of the median: 0.1 means about 10 % to either side. None below two values."""
    if len(values) < 2:
        return None
    return (max(values) - min(values)) / 2 / statistics.median(values)


def idle_streams(wanted: int, open_files: int, spare: int = 200) -> int:
    """How many streams a gateway can hold: each takes one file towards the client and one towards the engine."""
    return max(0, min(wanted, (open_files - spare) // 2))


WARM_SHARE = 0.2
"""Of the requests: until then pools, caches and the allocator's heap take what they need."""
MOST_GROWTH_MB = 2.0


def growth(seen: Sequence[tuple[int, float]]) -> float | None:
    """MB from the highest reading of the first half after the warm-up to the highest of the second; None: too few."""
    warm = seen[-1][0] * WARM_SHARE if seen else 0
    after = [memory for done, memory in seen if done >= warm]
    half = len(after) // 2
    return max(after[half:]) - max(after[:half]) if half else None
