"""What is wrong with pipelines, and in which order their steps go. Pure: stacks are checked with it at preview too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from app.jobs.config import WebhookRules
from app.pipelines import shape, template
from app.pipelines.config import (
    END,
    Branch,
    CallOut,
    Classify,
    Fixed,
    MayFail,
    Model,
    Pipeline,
    PipelinesConfig,
    Prompt,
    PromptVersion,
    Retrieve,
    Step,
    Validate,
)

MOST_DEPTH = 3
"""Of pipelines in pipelines."""
MOST_CALLS = 64
"""Models that one run may ask in the worst case, retries and inner pipelines included."""
RESERVED = (END, *template.OWN)

Found = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Around:
    """What there is for steps to name."""

    models: Collection[str]
    """All names but those of pipelines."""
    _: KW_ONLY
    retrieval: bool
    """Whether documents can be searched."""
    intents: bool
    """Whether the gateway classifies them."""
    hosts: Collection[str] = ()
    """That may be called out to."""
    networks: Sequence[IPv4Network | IPv6Network] = ()
    """Of such hosts, beside public ones."""
    prompts: Mapping[tuple[str, int], PromptVersion] = field(default_factory=dict)
    """By name and version."""


def pipeline_problems(config: PipelinesConfig, models: Collection[str], *, retrieval: bool, intents: bool) -> Found:
    """As `problems`, of a gateway's own configuration."""
    around = Around(
        models, retrieval=retrieval, intents=intents, hosts=config.call_out_hosts, networks=config.call_out_networks
    )
    return problems(config.pipelines, config.prompts, around)


def names_are(found: Collection[str]) -> str:
    return f"allowed: {', '.join(sorted(found)[:20])}" if found else "there are none"


def problems(pipelines: Sequence[Pipeline], prompts: Sequence[PromptVersion], around: Around) -> Found:
    """Path (`pipelines.0.steps.1.model`) and sentence of each fault."""
    known: dict[tuple[str, int], PromptVersion] = {}
    for at, prompt in enumerate(prompts):
        if (prompt.name, prompt.version) in known:
            yield f"prompts.{at}.version", f"version {prompt.version} of {prompt.name!r} is given twice"
        known[prompt.name, prompt.version] = prompt
    own = [pipeline.name for pipeline in pipelines]
    within = replace(around, models={*around.models, *own}, prompts=known)
    for at, pipeline in enumerate(pipelines):
        path = f"pipelines.{at}"
        if pipeline.name in around.models or own.index(pipeline.name) != at:
            yield f"{path}.name", f"{pipeline.name!r} is taken; each name may stand once"
        yield from _steps(pipeline, path, within)
    yield from _circles(pipelines)


def following(pipeline: Pipeline, at: int) -> str:
    """Name of the step that comes after one where nothing branches off, or END."""
    steps = pipeline.steps
    return steps[at].then or (steps[at + 1].name if at + 1 < len(steps) else END)


def _steps(pipeline: Pipeline, path: str, around: Around) -> Found:
    names = [step.name for step in pipeline.steps]
    answers = False
    for at, step in enumerate(pipeline.steps):
        here = f"{path}.steps.{at}"
        if step.name in RESERVED or names.index(step.name) != at:
            yield f"{here}.name", f"{step.name!r} is taken; each name may stand once, and {', '.join(RESERVED)} none"
        for key, to in _jumps(step):
            if to != END and to not in names[at + 1 :]:
                yield f"{here}.{key}", f"{to!r} is no later step; {names_are([*names[at + 1 :], END])}"
        answers = answers or isinstance(step, Model | Fixed | CallOut)
        before = pipeline.steps[:at]
        yield from _texts(step, here, [*template.OWN, *names[:at]], around.prompts)
        yield from _references(step, here, before, around)
    if not answers:
        yield f"{path}.steps", "nothing answers; allowed: at least one step of the kind model, text or callOut"


def _jumps(step: Step) -> Iterator[tuple[str, str]]:
    if step.then is not None:
        yield "then", step.then
    if isinstance(step, MayFail) and step.otherwise is not None:
        yield "otherwise", step.otherwise
    if isinstance(step, Branch):
        yield from ((f"cases.{number}.to", case.to) for number, case in enumerate(step.cases))


def _texts(step: Step, here: str, known: Sequence[str], prompts: Mapping[tuple[str, int], PromptVersion]) -> Found:
    """Holes that name something which is there by then."""
    texts: list[tuple[str, str]] = []
    if isinstance(step, Classify | Branch):
        texts = [("of", step.of)]
    elif isinstance(step, Retrieve):
        texts = [("query", step.query)]
    elif isinstance(step, CallOut):
        texts = [("send", step.send)]
    elif isinstance(step, Fixed):
        texts = [("text", step.text)]
    elif isinstance(step, Prompt):
        found = prompts.get((step.prompt, step.version))
        texts = [("prompt", found.system), ("prompt", found.user)] if found is not None else []
    for key, text in texts:
        try:
            for name in template.names(text):
                if name not in known:
                    yield f"{here}.{key}", f"{{{{{name}}}}} is not known there; {names_are(known)}"
        except ValueError as error:
            yield f"{here}.{key}", str(error)


def _references(step: Step, here: str, before: Sequence[Step], around: Around) -> Found:
    if isinstance(step, Classify) and not step.classes and not around.intents:
        yield f"{here}.classes", "is empty, and the gateway classifies no intents; allowed: classes, or intents set"
    elif isinstance(step, Retrieve) and not around.retrieval:
        yield here, "needs retrieval, which is off; allowed: retrieval on, or no such step"
    elif isinstance(step, Prompt) and (step.prompt, step.version) not in around.prompts:
        shown = [f"{name} {version}" for name, version in around.prompts]
        yield f"{here}.prompt", f"there is no version {step.version} of a prompt {step.prompt!r}; {names_are(shown)}"
    elif isinstance(step, Model):
        if step.model not in around.models:
            yield f"{here}.model", f"there is no model {step.model!r}; {names_are(around.models)}"
        given = [one.name for one in before if isinstance(one, Prompt)]
        if step.prompt is not None and step.prompt not in given:
            yield f"{here}.prompt", f"{step.prompt!r} is no earlier step of the kind prompt; {names_are(given)}"
    elif isinstance(step, Validate):
        yield from _validation(step, here, before)
    elif isinstance(step, CallOut):
        yield from _call_out(step, here, around)


def _validation(step: Validate, here: str, before: Sequence[Step]) -> Found:
    named = {one.name: one for one in before}
    if step.of not in named:
        yield f"{here}.of", f"{step.of!r} is no earlier step; {names_are(named)}"
    elif step.retries and not isinstance(named[step.of], Model):
        yield (
            f"{here}.retries",
            f"{step.retries} is not allowed, as {step.of!r} is no step of the kind model; allowed: 0",
        )
    if step.min_characters > step.max_characters:
        yield f"{here}.minCharacters", f"{step.min_characters} is too large; allowed: maxCharacters or less"
    if step.json_schema is not None:
        for where, why in shape.faults(step.json_schema):
            yield f"{here}.jsonSchema{'.' if where else ''}{where}", why
    if step.pattern is not None:
        from app.gateway.routing.rules import compiled  # RE2 takes 5 MB

        try:
            compiled(step.pattern)
        except ValueError as error:
            yield f"{here}.pattern", str(error)


def _call_out(step: CallOut, here: str, around: Around) -> Found:
    from app.jobs.webhooks import problem_of  # aiohttp takes 8 MB

    told = problem_of(step.url, WebhookRules(networks=tuple(around.networks)))
    if told:
        yield f"{here}.url", told
    elif (host := urlsplit(step.url).hostname) not in around.hosts:
        yield f"{here}.url", f"the host {host!r} is not among callOutHosts; {names_are(around.hosts)}"


def _circles(pipelines: Sequence[Pipeline]) -> Found:
    """Pipelines that ask each other for ever, too deep, or too many models."""
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    calls: dict[str, tuple[int, int]] = {}

    def measure(name: str, trail: tuple[str, ...]) -> tuple[int, int]:
        """Depth, and models asked at the most. Raises RecursionError for a circle, with its names."""
        if name in trail:
            raise RecursionError(" -> ".join((*trail[trail.index(name) :], name)))
        if name not in calls:
            depth, total = 1, 0
            steps = by_name[name].steps
            for step in steps:
                if isinstance(step, Model):
                    again = sum(one.retries for one in steps if isinstance(one, Validate) and one.of == step.name)
                    inner = measure(step.model, (*trail, name)) if step.model in by_name else (0, 1)
                    depth, total = max(depth, inner[0] + 1), total + inner[1] * (1 + again)
            calls[name] = depth, total
        return calls[name]

    for at, pipeline in enumerate(pipelines):
        try:
            depth, total = measure(pipeline.name, ())
        except RecursionError as circle:
            yield f"pipelines.{at}.steps", f"pipelines ask each other in a circle: {circle}"
            continue
        if depth > MOST_DEPTH:
            yield f"pipelines.{at}.steps", f"pipelines nest {depth} deep; allowed: {MOST_DEPTH}"
        if total > MOST_CALLS:
            yield f"pipelines.{at}.steps", f"a run may ask {total} models; allowed: {MOST_CALLS}, retries included"
