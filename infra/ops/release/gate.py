"""Whether a new colour may have more traffic: error rate, time to first token and gaps of tokens, against the live one.

Every rule compares two shares: of failed requests, or of answers slower than the live colour's 95th percentile. A share
is known within bounds that hold at all looks together, however often somebody looks: the Beta-mixture confidence
sequence for a coin (Robbins 1970, "Statistical methods related to the law of the iterated logarithm"; one-sided use of
Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences"). By
Ville's inequality a true share leaves its bounds ever with probability `alpha` at most, so no schedule of looks has to
be fixed beforehand, as classical alpha spending needs. A rule is broken when the new colour's lower bound is above the
live colour's upper bound plus the margin: with half of `alpha` for each side, a colour within the margin is called bad
with probability `alpha` at most (union bound), over all rules and looks of a step.

All pure. Shares are 0 to 1, times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from infra.ops.release.samples import Histogram, ModelSample, Sample

State = Literal["good", "waiting", "bad"]

PRIOR = 0.5
"""Jeffreys' prior as the mixture: its bounds are nearly as tight at 10 samples as at 10,000."""
SLOW = 0.05
"""Above the 95th percentile."""
HALVINGS = 40
"""Of the search for a bound: exact to 1e-12."""


@dataclass(frozen=True)
class Limits:
    """What is still good, and how much has to be seen. Built from `release.gate` of the stack file."""

    error_margin: float
    """The new colour may fail so much more, as a share of its requests."""
    slow_margin: float
    """So much more of its answers may be slower than the live colour's 95th percentile."""
    min_requests: int
    min_streams: int
    alpha: float
    """How probable a false alarm may be in one step, all rules and looks together."""


@dataclass(frozen=True)
class Count:
    bad: int
    total: int

    @property
    def share(self) -> float:
        return self.bad / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.bad} of {self.total} ({self.share:.2%})"


@dataclass(frozen=True)
class Finding:
    """One rule's look. `over`: the bound in seconds above which an answer counts as slow, for latencies."""

    rule: str
    state: State
    new: Count
    live: Count
    margin: float
    over: float | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "state": self.state,
            "new": vars(self.new),
            "live": vars(self.live),
            "margin": self.margin,
            "over_seconds": self.over,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Verdict:
    findings: tuple[Finding, ...]

    @property
    def state(self) -> State:
        states = {finding.state for finding in self.findings}
        return "bad" if "bad" in states else "waiting" if "waiting" in states else "good"

    def reasons(self, state: State) -> list[str]:
        return [f"{one.rule}: {one.reason}" for one in self.findings if one.state == state]

    def as_dict(self) -> dict[str, Any]:
        return {"state": self.state, "findings": [finding.as_dict() for finding in self.findings]}


def lower_bound(count: Count, alpha: float) -> float:
    """The true share is below this, at any look, with probability `alpha` at most."""
    return _search(count, alpha, 0.0)


def upper_bound(count: Count, alpha: float) -> float:
    """The true share is above this, at any look, with probability `alpha` at most."""
    return _search(count, alpha, 1.0)


def _search(count: Count, alpha: float, end: float) -> float:
    """Where, between the observed share and `end`, the mixture's likelihood ratio reaches 1/alpha."""
    if not count.total:
        return end
    inside, outside = count.share, end
    limit = -math.log(alpha)
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if _log_ratio(count, middle) < limit:
            inside = middle
        else:
            outside = middle
    return outside


def _log_ratio(count: Count, share: float) -> float:
    """Logarithm of the likelihood under the mixture over that under `share`: a martingale where `share` is true."""
    good = count.total - count.bad
    if (count.bad and share <= 0.0) or (good and share >= 1.0):
        return math.inf
    mixed = _log_beta(count.bad + PRIOR, good + PRIOR) - _log_beta(PRIOR, PRIOR)
    return mixed - (count.bad * math.log(share) if count.bad else 0) - (good * math.log1p(-share) if good else 0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def judge(live: Sample, new: Sample, limits: Limits, models: Sequence[str]) -> Verdict:
    """All rules over what both colours did since the step began.

    Over all models together each rule must have enough samples before it is good. With several models each has its
    rules, too: they can only break, for a model that nobody asks must not hold a release for ever. Pooling is fair, as
    the load balancer divides the requests at random: both colours get the same mixture.
    """
    scopes: dict[str, tuple[ModelSample, ModelSample]] = {"": (live.total(models), new.total(models))}
    if len(models) > 1:
        scopes |= {model: (live.of(model), new.of(model)) for model in models}
    alpha = limits.alpha / (3 * len(scopes))
    findings: list[Finding] = []
    for model, (old, fresh) in scopes.items():
        found = _rules(old, fresh, limits, alpha)
        findings += found if not model else [_of_model(one, model) for one in found if one.state == "bad"]
    return Verdict(tuple(findings))


def _of_model(finding: Finding, model: str) -> Finding:
    return replace(finding, rule=f"{finding.rule} of {model}")


def _rules(live: ModelSample, new: ModelSample, limits: Limits, alpha: float) -> Iterator[Finding]:
    yield compare(
        "errors",
        Count(live.failed, live.requests),
        Count(new.failed, new.requests),
        limits.error_margin,
        limits.min_requests,
        alpha,
    )
    yield latency("TTFT p95", live.ttft, new.ttft, live.ttft.total, new.ttft.total, limits, alpha)
    # Gaps of one stream go together: a stream counts once, however many tokens it has (Kish's design effect is the
    # cluster's size at most), so this is on the safe side.
    yield latency("ITL p95", live.itl, new.itl, live.ttft.total, new.ttft.total, limits, alpha)


def latency(
    rule: str, live: Histogram, new: Histogram, live_units: int, new_units: int, limits: Limits, alpha: float
) -> Finding:
    """Compares the shares above the bucket bound that holds the live colour's 95th percentile.

    The bound is chosen from the samples themselves; `alpha` is divided by the number of bounds, so that the choice is
    paid for. A change inside one bucket cannot be seen: the histogram does not hold it.
    """
    over = p95_bound(live)
    if over is None:
        nothing = Count(0, 0)
        return Finding(rule, "waiting", Count(0, new.total), nothing, limits.slow_margin, None, "no sample of the live")
    if math.isinf(over):
        enough = new_units >= limits.min_streams
        reason = "the live colour is beyond the largest bucket: nothing is slower"
        state: State = "good" if enough else "waiting"
        return Finding(rule, state, Count(0, new_units), Count(0, live_units), limits.slow_margin, None, reason)
    finding = compare(
        rule,
        _scaled(live.above(over), live.total, live_units, math.ceil),
        _scaled(new.above(over), new.total, new_units, math.floor),
        limits.slow_margin,
        limits.min_streams,
        alpha / max(1, len(live.bounds)),
    )
    return replace(finding, over=over)


def p95_bound(histogram: Histogram) -> float | None:
    """The smallest bucket bound with 5 % of the samples above it at most; None without a sample."""
    if not histogram.total:
        return None
    return next(bound for bound in histogram.bounds if histogram.above(bound) <= SLOW * histogram.total)


def _scaled(bad: int, total: int, units: int, rounding: Any) -> Count:
    """The same share of no more samples than there were independent units."""
    if units >= total:
        return Count(bad, total)
    return Count(min(units, rounding(bad * units / total)), units)


def compare(rule: str, live: Count, new: Count, margin: float, least: int, alpha: float) -> Finding:
    low, high = lower_bound(new, alpha / 2), upper_bound(live, alpha / 2)
    told = f"{new} against {live}, margin {margin:.2%}"
    if new.total and live.total and low > high + margin:
        state: State = "bad"
        reason = f"{told}: surely {low - high:.2%} more, at the least"
    elif min(new.total, live.total) < least:
        state, reason = "waiting", f"{told}: {least} samples of each colour are needed"
    elif new.share > live.share + margin:
        state, reason = "waiting", f"{told}: beyond the margin, and not yet sure"
    else:
        state, reason = "good", told
    return Finding(rule, state, new, live, margin, None, reason)


def limits_of(gate: Any, steps: int) -> Limits:
    """From `release.gate` of the settings. The probability of a false alarm is divided among the steps."""
    return Limits(
        error_margin=gate.error_points / 100,
        slow_margin=gate.slow_points / 100,
        min_requests=gate.min_requests,
        min_streams=gate.min_streams,
        alpha=gate.false_alarm_percent / 100 / max(1, steps),
    )


def sample_counts(sample: Sample, models: Sequence[str]) -> Mapping[str, int]:
    """For reports: requests, failed ones and streams of all models."""
    total = sample.total(models)
    return {"requests": total.requests, "failed": total.failed, "streams": total.ttft.total}
