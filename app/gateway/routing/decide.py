"""The choice of a chain of models for one request: pure, the same answer for the same question."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.gateway.routing.config import Experiment, Route
from app.gateway.routing.features import Features
from app.gateway.routing.rules import Rules
from app.gateway.routing.score import classify, complexity

Reason = Literal["template", "task", "intent", "experiment", "complexity", "default", "context", "cost", "budget"]
REASONS: tuple[Reason, ...] = (
    "template",
    "task",
    "intent",
    "experiment",
    "complexity",
    "default",
    "context",
    "cost",
    "budget",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What routing knows of a model: tokens, and US dollars for a million of them."""

    name: str
    context_tokens: int
    max_output_tokens: int
    input_usd: float
    output_usd: float


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a client says in headers, or its key says for it."""

    tenant: str = ""
    task: str = ""
    intent: str = ""
    """What the classifier of traffic says; empty where there is none."""
    most_usd: float | None = None
    fallback: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """`chain`: models in the order in which they are asked. `text`: the answer itself, where a rule has it."""

    chain: tuple[str, ...]
    reason: Reason
    detail: str = ""
    text: str | None = None
    refusal: str = ""
    """Why no model may be asked: each costs more than the ceiling."""


def point(experiment: str, tenant: str) -> float:
    """A tenant's place in an experiment, in per cent: 0 up to, but without, 100."""
    digest = hashlib.sha256(f"{experiment}\0{tenant}".encode()).digest()
    return int.from_bytes(digest[:6]) / (1 << 48) * 100


def arm(experiment: Experiment, tenant: str) -> str | None:
    """The model of a tenant's share; None where the tenant is in none."""
    place, end = point(experiment.name, tenant), 0.0
    for share in experiment.shares:
        end += share.percent
        if place < end:
            return share.to
    return None


def most_cost(facts: Facts, features: Features) -> float:
    """The most that a request can cost with a model, in US dollars."""
    output = min(features.asked_tokens or facts.max_output_tokens, facts.max_output_tokens) * features.choices
    prompt = min(features.prompt_tokens, facts.context_tokens)
    return (prompt * facts.input_usd + output * facts.output_usd) / 1e6


def fits(facts: Facts, features: Features) -> bool:
    """Prompt and asked output have room in the model's context; where nothing is asked, one token of output."""
    return features.prompt_tokens + min(features.asked_tokens or 1, facts.max_output_tokens) <= facts.context_tokens


def decide(
    route: Route, rules: Rules | None, features: Features, wishes: Wishes, models: Mapping[str, Facts]
) -> Decision:
    """The decision for one request. `models` knows each model that the route names."""
    found = rules.answer(features) if rules is not None else None
    if found is not None:
        return Decision((), "template", found[0], found[1])
    first, reason, detail = _first(route, features, wishes)
    # Behind the chain, for a request that does not fit into it: what else the route names, the cheapest first.
    rest = sorted({name for _, name in route.models()}, key=lambda name: (most_cost(models[name], features), name))
    chain = tuple(dict.fromkeys((first, *route.fallback)))
    wider = tuple(dict.fromkeys((*chain, *rest)))
    roomy = tuple(name for name in chain if fits(models[name], features))
    if chain[0] not in roomy:
        roomy = roomy or tuple(name for name in wider if fits(models[name], features))[:1]
        if roomy:
            reason, detail = "context", f"{features.prompt_tokens} tokens do not fit {first}"
    chain = roomy or chain[:1]  # where nothing fits, the engine's own error tells the client by how much
    if wishes.most_usd is not None:
        cheap = tuple(name for name in chain if most_cost(models[name], features) <= wishes.most_usd)
        cheap = cheap or tuple(
            name
            for name in wider
            if most_cost(models[name], features) <= wishes.most_usd and fits(models[name], features)
        )
        if not cheap:
            least = min(most_cost(models[name], features) for name in wider)
            return Decision((), "cost", refusal=_too_dear(wishes.most_usd, least))
        if cheap[0] != chain[0]:
            reason, detail = "cost", f"{chain[0]} may cost {most_cost(models[chain[0]], features):.6f} USD"
        chain = cheap
    return Decision(chain if wishes.fallback else chain[:1], reason, detail)


def _first(route: Route, features: Features, wishes: Wishes) -> tuple[str, Reason, str]:
    if route.tasks:
        task = next((task for task in route.tasks if task.name == wishes.task), None)
        if task is not None:
            return task.to, "task", f"{task.name} by header"
        task = classify(features.text, route.tasks)
        if task is not None:
            return task.to, "task", f"{task.name} by words"
    if wishes.intent:
        for one in route.when:
            if wishes.intent in one.intent:
                return one.to, "intent", wishes.intent
    if route.experiment is not None:
        to = arm(route.experiment, wishes.tenant)
        if to is not None:
            return to, "experiment", route.experiment.name
    if route.levels:
        score = complexity(features)
        for level in reversed(route.levels):
            if score >= level.score:
                return level.to, "complexity", f"score {score:.2f}"
        return route.to, "complexity", f"score {score:.2f}"
    return route.to, "default", ""


def _too_dear(most: float, least: float) -> str:
    return (
        f"This request may cost {least:.6f} USD with the cheapest model, and its ceiling is {most:.6f} USD. Ask for "
        "fewer tokens (`max_tokens`), shorten the prompt, or raise the ceiling (`x-penstock-max-cost-usd`)."
    )
