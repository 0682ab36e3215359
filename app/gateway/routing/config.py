"""Settings of model routing. Names of models and templates are checked where all of them are known: `unknown_names`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from app.gateway.strict import Name, Strict

Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=80)], ...], Field(max_length=200)]


class Rule(Strict):
    """Answers without a model when the last user message is one of `exact`, or matches `pattern` as a whole."""

    template: Name = Field(description="The template that is the answer.")
    exact: Words = Field(default=(), description="Whole messages; case, spaces and the punctuation at the end aside.")
    pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="RE2 expression (linear time) for the whole message; its named groups may stand in the template.",
    )

    @model_validator(mode="after")
    def matches_something(self) -> Self:
        if not self.exact and self.pattern is None:
            raise ValueError("a rule needs `exact` or `pattern`")
        return self


class Share(Strict):
    to: Name = Field(description="A model.")
    percent: float = Field(gt=0, le=100, description="Of the tenants, by a stable hash of their names.")


class Experiment(Strict):
    """Tenants are spread over models; a tenant stays where it is while shares before its own do not change."""

    name: Name = Field(description="Part of the hash: another name spreads the tenants anew.")
    shares: tuple[Share, ...] = Field(
        min_length=1, max_length=20, description="What is left to 100 per cent goes on to the next rule."
    )

    @model_validator(mode="after")
    def is_no_more_than_all(self) -> Self:
        total = sum(share.percent for share in self.shares)
        if total > 100 + 1e-9:
            raise ValueError(f"shares: they make {total:g} per cent; 100 are allowed")
        return self


class Task(Strict):
    name: Name = Field(description="What a client may send in the header `x-penstock-task`.")
    to: Name = Field(description="The model for it.")
    words: Words = Field(
        default=(), description="Words and phrases of the last user message that tell the task; none: header alone."
    )


class When(Strict):
    """A model for requests that are after something, as the classifier of traffic tells (`intents`)."""

    intent: tuple[Name, ...] = Field(min_length=1, max_length=40, description="Labels.")
    to: Name = Field(description="The model for them.")


class Level(Strict):
    score: float = Field(ge=0, le=1, description="From this complexity on, 0 to 1.")
    to: Name = Field(description="The model for it.")


class Route(Strict):
    """A name that clients send as `model`, the rules that choose a model for it, and what stands behind that one.

    The order: `rules`, `tasks`, `when`, `experiment`, `levels`, `to`. Then a model whose context is too short for the
    request, or that may cost more than the request's ceiling, is passed over for the next of the chain that fits.
    """

    name: Name = Field(description="A new name, or that of a model: then all requests for it come this way.")
    to: Name = Field(description="The model where no other rule chooses.")
    rules: tuple[Rule, ...] = Field(default=(), max_length=200, description="Answers without any model.")
    tasks: tuple[Task, ...] = Field(default=(), max_length=50, description="Models by task.")
    when: tuple[When, ...] = Field(default=(), max_length=40, description="Models by intent.")
    experiment: Experiment | None = Field(default=None, description="Models by a share of the tenants.")
    levels: tuple[Level, ...] = Field(default=(), max_length=10, description="Models by complexity, lowest first.")
    fallback: tuple[Name, ...] = Field(
        default=(), max_length=8, description="Models asked in turn when the one before fails: own ones or outside."
    )
    cached: bool = Field(default=False, description="Then the last answer kept for the same request, if there is one.")
    knowledge: bool = Field(default=False, description="Then an answer of the knowledge file, if one fits.")
    canned: Name | None = Field(default=None, description="Then this template.")
    check_output: bool = Field(
        default=True, description="An unstreamed answer that is empty, cut or not the asked JSON counts as a failure."
    )
    first_byte_seconds: float | None = Field(
        default=None, gt=0, le=600, description="How long a model with another one behind it may take to begin."
    )
    answer_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="The same for a whole answer that is not streamed."
    )

    @model_validator(mode="after")
    def levels_rise(self) -> Self:
        scores = [level.score for level in self.levels]
        if scores != sorted(set(scores)):
            raise ValueError("levels: their scores must rise")
        return self

    def models(self) -> Iterator[tuple[str, str]]:
        """Each field that names a model, and the name."""
        yield "to", self.to
        yield from ((f"tasks.{n}.to", task.to) for n, task in enumerate(self.tasks))
        yield from ((f"when.{n}.to", one.to) for n, one in enumerate(self.when))
        if self.experiment is not None:
            yield from ((f"experiment.shares.{n}.to", one.to) for n, one in enumerate(self.experiment.shares))
        yield from ((f"levels.{n}.to", level.to) for n, level in enumerate(self.levels))
        yield from ((f"fallback.{n}", name) for n, name in enumerate(self.fallback))

    def templates(self) -> Iterator[tuple[str, str]]:
        """Each field that names a template, and the name."""
        yield from ((f"rules.{n}.template", rule.template) for n, rule in enumerate(self.rules))
        if self.canned is not None:
            yield "canned", self.canned


class BreakerSettings(Strict):
    """When a model that fails or dawdles is passed over for the next one of a chain."""

    window_seconds: float = Field(default=30.0, gt=0, le=600, description="What is counted.")
    least_calls: int = Field(default=5, ge=1, le=10_000, description="Fewer calls in the window open no circuit.")
    failure_share: float = Field(default=0.5, gt=0, le=1, description="Share of failed calls that opens it.")
    slow_seconds: float = Field(
        default=20.0, gt=0, description="A stream that begins later is a slow call; unstreamed answers never are."
    )
    slow_share: float = Field(default=0.8, gt=0, le=1, description="Share of slow calls that opens it.")
    open_seconds: float = Field(
        default=10.0, gt=0, le=600, description="Until probes; twice as long for each opening in a row, up to 8 times."
    )
    probes: int = Field(default=2, ge=1, le=100, description="Calls that must succeed to close it, at once at most.")


class Routing(Strict):
    routes: tuple[Route, ...] = Field(default=(), max_length=200, description="Names with rules and chains.")
    templates: dict[Name, Annotated[str, Field(min_length=1, max_length=20_000)]] = Field(
        default={}, description="Texts by name. {model} and a rule's named groups are filled in."
    )
    knowledge_file: str | None = Field(default=None, description="JSON file of answers, see docs/routing.md.")
    breaker: BreakerSettings = BreakerSettings()

    @model_validator(mode="after")
    def names_fit(self) -> Self:
        names = [route.name for route in self.routes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"routes: the names {', '.join(twice)} are given more than once")
        for number, route in enumerate(self.routes):
            for field, name in route.templates():
                if name not in self.templates:
                    raise ValueError(f"routes.{number}.{field}: there is no template `{name}`{_among(self.templates)}")
            if route.knowledge and self.knowledge_file is None:
                raise ValueError(f"routes.{number}.knowledge: `knowledge_file` is not set")
        return self

    def unknown_models(self, models: Collection[str]) -> str:
        """The first reference to a model that is not in `models`, as a sentence; empty where there is none."""
        for number, route in enumerate(self.routes):
            for field, name in route.models():
                if name not in models:
                    return f"routing.routes.{number}.{field}: there is no model `{name}`{_among(models)}"
        return ""


def unknown_intents(routes: Sequence[Route], labels: Collection[str] | None) -> Iterator[tuple[str, str]]:
    """Path and sentence of each label that no request can get. `labels` None: there is no classifier."""
    for number, route in enumerate(routes):
        for place, one in enumerate(route.when):
            path = f"routing.routes.{number}.when.{place}.intent"
            if labels is None:
                yield path, "the gateway classifies no intents; allowed: `when` empty, or intents set"
                return
            for label in one.intent:
                if label not in labels:
                    yield path, f"there is no intent `{label}`{_among(labels)}"


def _among(names: Collection[str]) -> str:
    return f"; there are {', '.join(sorted(names)[:20])}" if names else "; there are none"
