"""The record of a run: what was asked of what, every figure with its bounds, and what failed, masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.ops.evaluate.ask import Outcome
from infra.ops.evaluate.judge import compared, figures, verdict
from infra.ops.evaluate.run import Prices, Ran
from infra.ops.evaluate.suite import Suite, task_digest

SCHEMA = 1
MOST_FAILED = 50
MOST_TEXT = 200
KINDS = ("email", "phone", "iban", "credit_card", "us_ssn", "ip_address", "secret")


def make_record(
    suite: Suite, ran: Ran, prices: Prices, about: Mapping[str, Any], previous: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`about`: model, version, bound, stack, colour, engine, by, began_at and ended_at."""
    found = figures(suite, ran, prices)
    pairs = compared(suite, ran, previous)
    state, reasons = verdict(ran, found, pairs)
    return {
        "schema": SCHEMA,
        **about,
        "verdict": state,
        "reasons": reasons,
        "suite": {"name": suite.shown.name, "file": suite.file.name, "digest": suite.digest},
        "confidence_percent": suite.shown.confidence_percent,
        "figures": [figure.as_dict() for figure in found],
        "compared_with": None if previous is None else {key: previous.get(key) for key in ("version", "ended_at")},
        "comparisons": pairs,
        "spent": {
            "requests": len(ran.outcomes), "seconds": round(ran.seconds, 1), "taken_up": ran.taken_up,
            "tokens": sum(one.prompt_tokens + one.output_tokens for one in ran.outcomes),
            "usd": round(sum(map(prices.usd, ran.outcomes)), 6),
        },
        "task_digests": {task.name: task_digest(suite, task) for task in suite.shown.tasks},
        "scores": _scores(suite, ran.outcomes),
        "failed_samples": _failed(suite, ran.outcomes),
    }  # fmt: skip


def _scores(suite: Suite, outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {task.name: {} for task in suite.shown.tasks}
    for one in outcomes:
        found[one.task][one.sample] = round(one.score, 6)
    return found


def _failed(suite: Suite, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The beginning of each, without personal data; of prompts only the sample's id."""
    metrics = {task.name: task.metric for task in suite.shown.tasks}
    bad = [one for one in outcomes if one.failure or (metrics[one.task] != "perplexity" and one.score < 1)]
    return [
        {"task": one.task, "sample": one.sample, "score": round(one.score, 4), "failure": one.failure,
         "answer": masked(one.text) if suite.shown.mask else one.text[:MOST_TEXT]}
        for one in bad[:MOST_FAILED]
    ]  # fmt: skip


def masked(text: str) -> str:
    """By the gateway's own patterns, before anything is cut off."""
    from app.gateway.guards import pii

    content = text.encode()
    return pii.masked(content, pii.Finder(KINDS).find(content)).decode("utf-8", "replace")[:MOST_TEXT]
