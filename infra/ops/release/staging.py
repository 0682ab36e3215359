"""What a stage writes into the stack file, what it must not change, and how one that was cut off is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.changes import Change
from infra.ops.release.journal import BEGIN
from infra.ops.release.machine import other
from infra.ops.release.stack_text import edit_colour
from infra.settings import Settings

STAGING, STAGED, UNSTAGED = "staging", "staged", "unstaged"
"""Lines of the journal: before the file is written, once the colour has answered, once all is as it was."""


def staged(
    text: str, settings: Settings, colour: str, gateway_image: str | None, engine_image: str | None, name: str
) -> str:
    """The stack file's text with the idle colour's images, and as many replicas as the other colour has.

    An image that is not given is the live colour's; where none is given both stay as the file has them.
    """
    live = settings.release.green if other(colour) == "green" else settings.release.blue
    values: dict[tuple[str, ...], str | int] = {("gatewayReplicas",): live.gateway_replicas}
    if gateway_image or engine_image:
        values[("gatewayImage",)] = gateway_image or live.gateway_image
        values[("engineImage",)] = engine_image or live.engine_image
    values |= {("engineReplicas", model): count for model, count in live.engine_replicas.items()}
    return edit_colour(text, colour, values, name)


def beyond_colour(changes: Sequence[Change], colour: str) -> list[Change]:
    """What staging a colour must not change: all but this colour's objects in the cluster."""
    return [
        change
        for change in changes
        if not (change.type.startswith("kubernetes:") and change.name.endswith(f"-{colour}"))
    ]


Values = list[tuple[list[str], str | int]]
"""Paths below a colour and what stands there, as JSON has them."""


def given(settings: Settings, colour: str) -> Values:
    """What the stack file says now where a stage may write."""
    shape = settings.release.green if colour == "green" else settings.release.blue
    return [
        (["gatewayReplicas"], shape.gateway_replicas),
        (["gatewayImage"], shape.gateway_image),
        (["engineImage"], shape.engine_image),
        *((["engineReplicas", model], count) for model, count in shape.engine_replicas.items()),
    ]


@dataclass(frozen=True)
class Staging:
    """A stage that has not ended. `before`: what stood in the stack file before its first attempt."""

    colour: str
    before: Values

    def taken_back(self, text: str, name: str) -> str:
        """The stack file's text as it was."""
        return edit_colour(text, self.colour, {tuple(path): value for path, value in self.before}, name)

    @property
    def advice(self) -> str:
        return (
            f"The stage of {self.colour} is not finished. `penstock release stage` goes on; "
            "`penstock release rollback` brings stack file and cluster back to what they were before it."
        )


def under_way(entries: Iterable[Mapping[str, Any]]) -> Staging | None:
    """The stage that was begun and has not ended. A promotion that was begun after it ends it, too."""
    found: Staging | None = None
    for entry in entries:
        if entry["event"] == STAGING:
            found = Staging(entry["colour"], [(list(path), value) for path, value in entry["before"]])
        elif entry["event"] in (STAGED, UNSTAGED, BEGIN):
            found = None
    return found
