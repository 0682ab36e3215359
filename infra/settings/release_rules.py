"""Rules on how a release goes."""

from __future__ import annotations

from collections.abc import Iterator

from components.engines import ENGINES
from infra.settings.errors import Problem
from infra.settings.model import Shape
from infra.settings.served import WEIGHTS_SCHEME


def steps_rise_to_a_hundred(shape: Shape) -> Iterator[Problem]:
    steps = shape.release.steps
    for index in range(1, len(steps)):
        if steps[index] <= steps[index - 1]:
            yield Problem(
                f"release.steps[{index}]",
                f"{steps[index]} does not rise; allowed: more than {steps[index - 1]}, the step before",
            )
    if steps[-1] != 100:
        yield Problem(f"release.steps[{len(steps) - 1}]", f"the last step is {steps[-1]}; allowed: 100")


def a_step_is_watched_before_it_is_held(shape: Shape) -> Iterator[Problem]:
    release = shape.release
    if release.gate.wait_seconds < release.soak_seconds:
        yield Problem(
            "release.gate.waitSeconds",
            f"{release.gate.wait_seconds} is too small; allowed: soakSeconds = {release.soak_seconds} or more, "
            "in seconds",
        )


def copies_that_are_waited_for_are_made(shape: Shape) -> Iterator[Problem]:
    shadow = shape.release.shadow
    if shadow.min_copies and not shadow.percent:
        yield Problem(
            "release.shadow.minCopies",
            f"{shadow.min_copies} copies are waited for, and release.shadow.percent is 0; allowed: 0, or a percent",
        )
    if shadow.min_texts and not shadow.text:
        yield Problem(
            "release.shadow.minTexts",
            f"{shadow.min_texts} texts are waited for, and release.shadow.text is false; allowed: 0, or text: true",
        )
    if shadow.min_texts and not shadow.min_copies:
        yield Problem(
            "release.shadow.minTexts",
            f"{shadow.min_texts} texts are waited for, and release.shadow.minCopies is 0, which waits for nothing; "
            "allowed: 0, or minCopies of 1 or more",
        )


def sources_name_what_is_served(shape: Shape) -> Iterator[Problem]:
    """A colour's own sources: of models and adapters that there are, and such as their engines can load."""
    models = {model.name: model for model in shape.models}
    adapters = {adapter.name for model in shape.models for adapter in model.lora_adapters}
    for colour, release in (("blue", shape.release.blue), ("green", shape.release.green)):
        for name, source in release.sources.items():
            path = f"release.{colour}.sources.{name}"
            if name not in models and name not in adapters:
                yield Problem(path, f"no such model; allowed here: {', '.join([*models, *sorted(adapters)])}")
            elif source == WEIGHTS_SCHEME:
                yield Problem(path, f"{source!r} names the whole bucket; allowed: {WEIGHTS_SCHEME}<prefix>")
            elif shape.network.nat_gateways == "none" and _outside(source):
                yield Problem(
                    path, f"{source!r} is outside, and network.natGateways is none; allowed: {WEIGHTS_SCHEME}<prefix>"
                )
            elif name in models and source.startswith(WEIGHTS_SCHEME):
                engine = ENGINES[models[name].engine]
                if not engine.takes("streamed"):
                    yield Problem(path, f"{engine.kind} cannot load it; allowed: a path or name that the image knows")


def suites_name_what_is_served(shape: Shape) -> Iterator[Problem]:
    served = [name for model in shape.models for name in (model.name, *(a.name for a in model.lora_adapters))]
    for name in shape.release.validation.suites.keys() - set(served):
        yield Problem(f"release.validation.suites.{name}", f"no such model; allowed here: {', '.join(served)}")


def _outside(source: str) -> bool:
    return "/" in source and not source.startswith((WEIGHTS_SCHEME, "/"))


RELEASE_RULES = (
    steps_rise_to_a_hundred,
    a_step_is_watched_before_it_is_held,
    copies_that_are_waited_for_are_made,
    sources_name_what_is_served,
    suites_name_what_is_served,
)
