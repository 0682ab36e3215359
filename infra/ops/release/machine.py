"""What a release does next, from what the journal says and what can be seen. Pure, and with no memory of its own.

Whatever was cut off, the same question is asked anew: the journal has the intention, the stack file, the last update
and the load balancer have the facts. So either direction goes on from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from components.shares import COLOURS
from infra.ops.weights import Weights

Direction = Literal["forward", "back"]


def other(colour: str) -> str:
    return {"blue": "green", "green": "blue"}[colour]


def share(colour: str, percent: int) -> Weights:
    """`percent` for a colour, the rest for the other one."""
    return Weights(percent, 100 - percent) if colour == "blue" else Weights(100 - percent, percent)


@dataclass(frozen=True)
class Release:
    """One release as its journal tells it."""

    identifier: str
    colour: str
    """The one that is to take the traffic over."""
    steps: tuple[int, ...]
    """Rising shares in per cent; the last one is 100."""
    passed: int = 0
    """How many steps have passed their gate."""
    direction: Direction = "forward"
    ended: str = ""
    """`promoted` or `rolled back`; empty while it is open."""
    reason: str = ""
    """Why it went back, or was held."""

    @property
    def step(self) -> int | None:
        """The share whose gate comes next; None when all have passed."""
        return self.steps[self.passed] if self.passed < len(self.steps) else None

    @property
    def wanted(self) -> Weights:
        if self.direction == "back":
            return share(other(self.colour), 100)
        return share(self.colour, self.steps[-1] if self.step is None else self.step)

    def turned_back(self, reason: str) -> Release:
        return replace(self, direction="back", reason=reason, ended="")


@dataclass(frozen=True)
class Stand:
    """What can be seen. `deployed` is None where the last update's weights are not known."""

    file: Weights
    deployed: Weights | None
    live: Weights
    ready: Mapping[str, bool]
    """Whether a colour has a healthy gateway for each of its models' engines."""

    @property
    def settled(self) -> bool:
        return self.file == self.live and self.deployed in (None, self.live)


@dataclass(frozen=True)
class SetLive:
    """Change the load balancer directly; file and state follow."""

    weights: Weights


@dataclass(frozen=True)
class WriteFile:
    weights: Weights


@dataclass(frozen=True)
class Deploy:
    weights: Weights


@dataclass(frozen=True)
class Watch:
    step: int


@dataclass(frozen=True)
class End:
    outcome: str


@dataclass(frozen=True)
class Refuse:
    """Nothing more can be done by itself."""

    reason: str


Action = SetLive | WriteFile | Deploy | Watch | End | Refuse


def next_action(release: Release, stand: Stand) -> Action:
    """The one thing to do now; `End` when nothing is left."""
    wanted = release.wanted
    for colour in COLOURS:
        if wanted.of(colour) > stand.live.of(colour) and not stand.ready[colour]:
            return Refuse(f"{colour} has no healthy target, so traffic to it would fail")
    if release.direction == "back" and stand.live != wanted:
        return SetLive(wanted)  # first the traffic, then its record
    if stand.file != wanted:
        return WriteFile(wanted)
    if stand.deployed != wanted:
        return Deploy(wanted)
    if stand.live != wanted:
        return SetLive(wanted)  # an update would find nothing to do, for its state says so already
    if release.direction == "forward" and release.step is not None:
        return Watch(release.step)
    return End("rolled back" if release.direction == "back" else "promoted")


def advice(release: Release | None, stand: Stand) -> str:
    """A sentence for people: where it stands and what can be done."""
    if release is None or release.ended:
        if stand.settled:
            return "No release is under way; the stack file and the load balancer agree."
        if stand.file == stand.live:
            return (
                f"The last update set {stand.deployed}, but the load balancer says {stand.live}: run `pulumi refresh`."
            )
        return (
            f"The stack file says {stand.file}, the load balancer says {stand.live}. A shift was interrupted, or "
            f"somebody changed one of them. `penstock release shift green={stand.file.green}` goes on; "
            f"`penstock release shift green={stand.live.green}` goes back."
        )
    if release.direction == "back":
        return f"A rollback to {other(release.colour)} is not finished: `penstock release rollback` ends it."
    at = f"{release.colour} has passed {release.passed} of {len(release.steps)} steps"
    held = f", held: {release.reason}" if release.reason else ""
    return f"{at}{held}. `penstock release promote` goes on; `penstock release rollback` goes back."
