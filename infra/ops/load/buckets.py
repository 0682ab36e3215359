"""Times in buckets that grow by 5 %: bounded memory whatever the run, percentiles within 5 %. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

GROWTH = 1.05
LEAST_SECONDS = 1e-5


@dataclass
class Buckets:
    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0
    largest: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[_index(seconds)] += 1
        self.total += 1
        self.largest = max(self.largest, seconds)

    def merge(self, other: Buckets) -> None:
        self.counts.update(other.counts)
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def percentile(self, percent: float) -> float | None:
        """The upper end of the bucket that holds it, never above the largest; None without a sample."""
        if not self.total:
            return None
        rank, seen = max(1, math.ceil(percent / 100 * self.total)), 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                return min(self.end_of(index), self.largest)
        return self.largest

    @staticmethod
    def end_of(index: int) -> float:
        """Seconds: the upper end of a bucket."""
        return LEAST_SECONDS * GROWTH**index


def _index(seconds: float) -> int:
    return max(0, math.ceil(math.log(max(seconds, LEAST_SECONDS) / LEAST_SECONDS, GROWTH) - 1e-9))
