"""Sums that tell little of any single feedback. Pure, but for the chance that is handed in.

The geometric mechanism (Ghosh, Roughgarden and Sundararajan, "Universally utility-maximizing privacy mechanisms", STOC
2009) is the Laplace mechanism (Dwork, McSherry, Nissim and Smith, "Calibrating noise to sensitivity in private data
analysis", TCC 2006) on whole numbers: it has no low bits of a float that could tell what was added to (Mironov, CCS
2012). Groups that few are in are left out, as their mere names would tell of someone (Korolova, Kenthapadi, Mishra and
Ntoulas, "Releasing search queries and clicks privately", WWW 2009).

What is protected is one feedback. Each report of the same data spends its epsilon anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

DELTA = 1e-6
"""Chance by which a group of a single feedback may be shown."""
LOWEST, HIGHEST = 1, 5
"""Ratings."""


@dataclass(frozen=True, slots=True)
class Group:
    labels: tuple[str, ...]
    count: int
    total: int
    """Sum of the ratings."""

    @property
    def mean(self) -> float | None:
        return None if self.count <= 0 else self.total / self.count


def noise(scale: float, chance: Random) -> int:
    """A whole number of the two-sided geometric distribution with P(k) ~ exp(-|k| / scale)."""
    ratio = math.exp(-1 / scale)
    return _geometric(ratio, chance) - _geometric(ratio, chance)


def _geometric(ratio: float, chance: Random) -> int:
    """How many times in a row chance says go on, each with probability `ratio`."""
    return int(math.log(1.0 - chance.random()) / math.log(ratio))


def threshold(epsilon: float, groups_each: int) -> float:
    """Groups with a smaller noisy count are not shown. `epsilon`: of the count alone."""
    return 1 + groups_each * math.log(groups_each / (2 * DELTA)) / epsilon


def private(groups: Iterable[Group], epsilon: float, groups_each: int, chance: Random) -> Sequence[Group]:
    """The groups with noise: half of `epsilon` for the counts, half for the sums of ratings above the lowest.

    `groups_each`: the most groups that one feedback can be in.
    """
    half = epsilon / 2
    count_scale, sum_scale = groups_each / half, groups_each * (HIGHEST - LOWEST) / half
    least = threshold(half, groups_each)
    found = []
    for group in groups:
        count = group.count + noise(count_scale, chance)
        above = group.total - group.count * LOWEST + noise(sum_scale, chance)
        if count >= least:
            above = min(max(above, 0), count * (HIGHEST - LOWEST))
            found.append(Group(group.labels, count, above + count * LOWEST))
    return found
