"""From outcomes to figures with bounds, and from figures to a verdict. Pure.

Every figure must surely be good enough: its bound counts, not its mean, so few samples do not pass by luck. All of them
must be, and each is wrong with probability `alpha` at most; so a version that is below any threshold passes the whole
suite with probability `alpha` at most, however many tasks there are (an intersection-union test).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from infra.ops.evaluate.ask import Outcome
from infra.ops.evaluate.run import Prices, Ran
from infra.ops.evaluate.statistics import (
    bootstrap_upper,
    mcnemar,
    mean_bounds,
    percentile,
    percentile_upper,
    share_bounds,
)
from infra.ops.evaluate.suite import GRADED, Suite, Task, task_digest

Verdict = str
PASSED, FAILED, INCOMPLETE = "passed", "failed", "incomplete"


@dataclass(frozen=True)
class Figure:
    """`value` lies between `low` and `high`, each bound by itself with the suite's confidence; None: not bounded."""

    name: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    limit: float | None
    samples: int
    reason: str
    """Why it is not good enough; empty where it is."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": not self.reason}


def figures(suite: Suite, ran: Ran, prices: Prices) -> list[Figure]:
    by_task: dict[str, list[Outcome]] = {task.name: [] for task in suite.shown.tasks}
    for outcome in ran.outcomes:
        by_task[outcome.task].append(outcome)
    found = [_task(task, by_task[task.name], suite) for task in suite.shown.tasks]
    found.append(_failures(suite, ran.outcomes))
    found += _latency(suite, ran.outcomes)
    if suite.shown.usd_per_thousand_requests is not None:
        found.append(_cost(suite, ran.outcomes, prices))
    return found


def _task(task: Task, outcomes: Sequence[Outcome], suite: Suite) -> Figure:
    if task.metric == "perplexity":
        return _perplexity(task, outcomes, suite)
    scores = [outcome.score for outcome in outcomes]
    value = math.fsum(scores) / len(scores) if scores else None
    low, high = _bounds(task, scores, suite.alpha)
    assert task.at_least is not None  # noqa: S101 - the suite's own check
    reason = ""
    if len(scores) < task.minimum_samples:
        reason = f"{task.name}: {len(scores)} samples; needed: {task.minimum_samples}"
    elif low < task.at_least:
        reason = f"{task.name}: {value:.3f}, surely {low:.3f} or more; needed: {task.at_least:g}"
    return Figure(task.name, task.metric, value, low, high, task.at_least, len(scores), reason)


def _bounds(task: Task, scores: Sequence[float], alpha: float) -> tuple[float, float]:
    if task.metric not in GRADED:
        return share_bounds(sum(map(int, scores)), len(scores), alpha)
    return mean_bounds(scores, alpha)


def _perplexity(task: Task, outcomes: Sequence[Outcome], suite: Suite) -> Figure:
    parts = [(-one.logprob, float(one.scored_tokens)) for one in outcomes if one.scored_tokens]
    if not parts:
        why = next((one.failure for one in outcomes if one.failure), "no answer")
        reason = f"{task.name}: not known: {why}"
        return Figure(task.name, task.metric, None, None, None, task.at_most, 0, reason)
    value = math.exp(math.fsum(part[0] for part in parts) / math.fsum(part[1] for part in parts))
    high = math.exp(bootstrap_upper(parts, suite.alpha, suite.shown.seed))
    assert task.at_most is not None  # noqa: S101 - the suite's own check
    reason = ""
    if len(parts) < task.minimum_samples:
        reason = f"{task.name}: {len(parts)} documents; needed: {task.minimum_samples}"
    elif high > task.at_most:
        reason = f"{task.name}: {value:.2f}, perhaps {high:.2f}; allowed: {task.at_most:g}"
    return Figure(task.name, task.metric, value, None, high, task.at_most, len(parts), reason)


def _failures(suite: Suite, outcomes: Sequence[Outcome]) -> Figure:
    """A plain comparison: a failed request is a score of 0 besides, so none passes by failing."""
    failed, limit = sum(bool(one.failure) for one in outcomes), suite.shown.failed_at_most
    share = failed / len(outcomes) if outcomes else 1.0
    low, high = share_bounds(failed, len(outcomes), suite.alpha)
    why = next((f"; the first: {one.failure}" for one in outcomes if one.failure), "")
    reason = f"requests: {failed} of {len(outcomes)} failed; allowed: {limit:.1%}{why}" if share > limit else ""
    return Figure("requests", "failed", share, low, high, limit, len(outcomes), reason)


def _latency(suite: Suite, outcomes: Sequence[Outcome]) -> list[Figure]:
    wanted = suite.shown.latency
    if wanted is None:
        return []
    found = []
    for name, limit, values in (
        ("ttft-p95", wanted.ttft_p95_seconds, [one.ttft_seconds for one in outcomes]),
        ("itl-p95", wanted.itl_p95_seconds, [one.itl_p95_seconds for one in outcomes]),
    ):
        times = [value for value in values if value is not None]
        high = percentile_upper(times, 0.95, suite.alpha)
        value = percentile(times, 0.95) if times else None
        reason = ""
        if len(times) < wanted.minimum_samples or high is None:
            reason = f"{name}: {len(times)} streams; needed: {wanted.minimum_samples}"
        elif high > limit:
            reason = f"{name}: {value:.3f} s, perhaps {high:.3f} s; allowed: {limit:g} s"
        found.append(Figure(name, "latency", value, None, high, limit, len(times), reason))
    return found


def _cost(suite: Suite, outcomes: Sequence[Outcome], prices: Prices) -> Figure:
    limit = suite.shown.usd_per_thousand_requests
    assert limit is not None  # noqa: S101 - asked for by the caller
    parts = [(1000 * prices.usd(one), 1.0) for one in outcomes if not one.failure]
    if not parts:
        return Figure("cost", "cost", None, None, None, limit, 0, "cost: no answer has a known number of tokens")
    value = math.fsum(part[0] for part in parts) / len(parts)
    high = bootstrap_upper(parts, suite.alpha, suite.shown.seed)
    reason = f"cost: {value:.3f} USD for 1000 requests, perhaps {high:.3f}; allowed: {limit:g}" if high > limit else ""
    return Figure("cost", "cost", value, None, high, limit, len(parts), reason)


def compared(suite: Suite, ran: Ran, previous: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Each task that may not be worse, against the record of the version in production, on the samples of both."""
    found = []
    for task in suite.shown.tasks:
        if task.worse_by_at_most is None:
            continue
        before = _scores(previous, task.name, task_digest(suite, task))
        pairs = [
            (outcome.score, before[outcome.sample])
            for outcome in ran.outcomes
            if outcome.task == task.name and outcome.sample in before
        ]
        if not pairs:
            found.append({"task": task.name, "samples": 0, "reason": ""})
            continue
        differences = [new - old for new, old in pairs]
        low, high = mean_bounds(differences, suite.alpha, -1.0, 1.0)
        better, worse = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
        told = f"{task.name}: {math.fsum(differences) / len(pairs):+.3f} against the version in production"
        sure = f", surely {low:+.3f} or more; needed: {-task.worse_by_at_most:+g}"
        found.append(
            {
                "task": task.name, "samples": len(pairs), "difference": math.fsum(differences) / len(pairs),
                "low": low, "high": high, "better": better, "worse": worse, "p": mcnemar(better, worse),
                "limit": -task.worse_by_at_most, "reason": told + sure if low < -task.worse_by_at_most else "",
            }
        )  # fmt: skip
    return found


def _scores(record: Mapping[str, Any] | None, task: str, digest: str) -> dict[str, float]:
    """Empty where the record asked something else."""
    if record is None or (record.get("task_digests") or {}).get(task) != digest:
        return {}
    return (record.get("scores") or {}).get(task) or {}


def verdict(ran: Ran, found: Sequence[Figure], pairs: Sequence[Mapping[str, Any]]) -> tuple[Verdict, list[str]]:
    reasons = [figure.reason for figure in found if figure.reason]
    reasons += [pair["reason"] for pair in pairs if pair["reason"]]
    if ran.stopped:
        return INCOMPLETE, [f"a budget was used up ({ran.stopped})", *reasons]
    return (FAILED, reasons) if reasons else (PASSED, [])
