"""Where a gateway is full: the highest rate that it still follows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_FAILED = 0.01
SLOWER = 3.0
"""The 95th percentile of TTFT at most so many times that of the lowest rate. TTFT counts from when a request was due:
a backlog shows in it."""


@dataclass(frozen=True)
class Step:
    """One rate of a sweep. Times in seconds, rates per second."""

    rate: float
    sent: int
    failed: int
    seconds: float
    """From the first request to the last answer."""
    tokens: int
    ttft_p50: float | None
    ttft_p95: float | None
    itl_p50: float | None
    itl_p95: float | None
    itl_p99: float | None
    latency_p50: float | None
    latency_p95: float | None

    @property
    def answered_per_second(self) -> float:
        return (self.sent - self.failed) / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def as_dict(self) -> dict[str, Any]:
        rounded = {name: round(value, 5) for name, value in self.__dict__.items() if isinstance(value, float)}
        made = {
            "answered_per_second": round(self.answered_per_second, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
        }
        return {**self.__dict__, **rounded, **made}


def knee(steps: Sequence[Step]) -> float | None:
    """The highest rate, of those tried from the lowest on without a gap, at which hardly anything failed and the first
    token came not much later than at the lowest rate. None where the lowest rate is already too much."""
    found: float | None = None
    ordered = sorted(steps, key=lambda step: step.rate)
    base = ordered[0].ttft_p95 if ordered else None
    for step in ordered:
        sound = step.failed <= MOST_FAILED * step.sent
        quick = base is None or (step.ttft_p95 is not None and step.ttft_p95 <= SLOWER * base)
        if not (sound and quick and step.sent):
            break
        found = step.rate
    return found


def reached(steps: Sequence[Step]) -> bool:
    """Whether a rate was tried that was too much."""
    return bool(steps) and knee(steps) != max(step.rate for step in steps)


def knee_in_words(steps: Sequence[Step]) -> str:
    found = knee(steps)
    if found is None:
        return "knee below the lowest rate"
    return f"knee at {found:g} requests a second" if reached(steps) else f"no knee up to {found:g} requests a second"
