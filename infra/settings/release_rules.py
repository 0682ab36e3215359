"""Rules on how a release goes."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings.errors import Problem
from infra.settings.model import Shape


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


RELEASE_RULES = (steps_rise_to_a_hundred, a_step_is_watched_before_it_is_held, copies_that_are_waited_for_are_made)
