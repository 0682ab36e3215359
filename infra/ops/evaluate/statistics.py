"""How sure a figure is. Bounds that hold for any number of samples, wherever there are such; pure, standard library.

Three kinds of figures, three kinds of bounds, each one-sided with probability `alpha` of being wrong:

- shares of right answers: Clopper and Pearson's exact bounds (1934);
- means of scores between 0 and 1: the betting bounds of Waudby-Smith and Ramdas ("Estimating means of bounded random
  variables by betting", 2023), which need no assumption but the range and independence;
- percentiles of times: order statistics, which assume nothing of the distribution.

A mean without a range (perplexity, cost) has a bootstrap bound, which is right for many samples only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

HALVINGS = 50
RESAMPLES = 2000
STAKE = 0.5
"""Of the capital that a bet may lose at once; between 1/2 and 3/4 in the paper."""


def share_bounds(good: int, total: int, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of a share, each wrong with probability `alpha` at most."""
    if total == 0:
        return 0.0, 1.0
    low = 0.0 if good == 0 else _search(lambda share: binomial_above(good, total, share) <= alpha)
    high = 1.0 if good == total else 1 - _search(lambda share: binomial_above(total - good, total, share) <= alpha)
    return low, high


def binomial_above(least: int, total: int, share: float) -> float:
    """The probability of `least` or more of `total`."""
    if least <= 0:
        return 1.0
    if share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    logs = (
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        + k * math.log(share) + (total - k) * math.log1p(-share)
        for k in range(least, total + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))


def mean_bounds(values: Sequence[float], alpha: float, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """Bounds of the mean of independent values that lie between `low` and `high`, in an order that says nothing."""
    if not values:
        return low, high
    width = high - low
    scaled = [(value - low) / width for value in values]
    below = _betting_lower(scaled, alpha)
    above = 1 - _betting_lower([1 - value for value in scaled], alpha)
    return low + width * below, low + width * above


def _betting_lower(values: Sequence[float], alpha: float) -> float:
    """The smallest mean against which betting on more has not made the capital 1/alpha times as large."""
    bets = list(_bets(values, alpha))

    def refuted(mean: float) -> bool:
        capital = 0.0
        for value, bet in zip(values, bets, strict=True):
            stake = min(bet, STAKE / mean) if mean > 0 else bet
            capital += math.log1p(stake * (value - mean))
        return capital >= math.log(1 / alpha)

    return _search(refuted)


def _bets(values: Sequence[float], alpha: float) -> Sequence[float]:
    """What to stake on each value, from those before it alone: more, the less they vary."""
    bets, total, squares = [], 0.5, 0.25
    for index, value in enumerate(values):
        variance = squares / (index + 1)
        bets.append(math.sqrt(2 * math.log(1 / alpha) / (len(values) * variance)))
        total += value
        squares += (value - total / (index + 2)) ** 2
    return bets


def _search(holds: Callable[[float], bool]) -> float:
    """The largest place between 0 and 1, from the left, at which it still holds; rounded to the safe side."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def percentile_upper(values: Sequence[float], share: float, alpha: float) -> float | None:
    """An upper bound of a percentile; None where there are too few values for one (p95 at 95 %: 59)."""
    total = len(values)
    for rank in range(1, total + 1):
        if 1 - binomial_above(rank, total, share) >= 1 - alpha:
            return sorted(values)[rank - 1]
    return None


def bootstrap_upper(parts: Sequence[tuple[float, float]], alpha: float, seed: int) -> float:
    """An upper bound of sum(first) / sum(second) over independent parts."""
    chance = random.Random(seed)  # noqa: S311 - statistics
    ratios = []
    for _ in range(RESAMPLES):
        drawn = chance.choices(parts, k=len(parts))
        ratios.append(math.fsum(part[0] for part in drawn) / math.fsum(part[1] for part in drawn))
    return percentile(ratios, 1 - alpha)


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p of McNemar's test: of samples that one version has right and the other wrong."""
    total = better + worse
    return min(1.0, 2 * binomial_above(max(better, worse), total, 0.5)) if total else 1.0
