"""What a stage writes into the stack file, and what it must not change. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from infra.ops.changes import Change
from infra.ops.release.machine import other
from infra.ops.release.stack_text import edit_colour
from infra.settings import Settings


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
