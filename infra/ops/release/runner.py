"""Carries a release on, one action after the other, until it ends, is held or is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from infra.ops.errors import RefusedError
from infra.ops.release import journal
from infra.ops.release.attend import Wish
from infra.ops.release.journal import Journal
from infra.ops.release.machine import (
    Action,
    Deploy,
    End,
    Refuse,
    Release,
    SetLive,
    Stand,
    Watch,
    WriteFile,
    next_action,
    other,
)
from infra.ops.weights import Weights

MOST_ACTIONS = 200
"""A release has some dozens; beyond that something undoes what is done."""


@dataclass(frozen=True)
class Watched:
    """How a step's watch ended. `bad`: with what was seen; `short`: not enough to tell."""

    state: Literal["good", "bad", "short"]
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """For the report."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """For the journal, so that another process can go on with it."""
    wish: Wish | None = None
    """Of the console, where it ended the watch."""


class World(Protocol):
    """The stack that a release works on. Each call may fail before or after its effect."""

    def look(self) -> Stand: ...
    def set_live(self, weights: Weights) -> None: ...
    def write_file(self, weights: Weights) -> None: ...
    def deploy(self, weights: Weights) -> None: ...
    def watch(self, release: Release, step: int) -> Watched: ...
    def ready(self, colour: str) -> bool: ...


@dataclass(frozen=True)
class Runner:
    """`report` is called once the weight is back after a breach, and before file and state follow."""

    world: World
    journal: Journal
    report: Callable[[Release, Watched], None] = lambda release, watched: None
    say: Callable[[str], None] = lambda text: None

    def promote(self, colour: str, steps: tuple[int, ...], identifier: str) -> Release:
        """Begins a release, or goes on with the open one. Raises RefusedError, PenstockError."""
        release = self.journal.release()
        if release is not None and not release.ended and release.colour == colour:
            if release.direction == "back":
                self.journal.append(journal.AGAIN, id=release.identifier)  # the operator wants the other way after all
            return self._go_on()
        if release is not None and not release.ended:
            raise RefusedError(
                f"The release of {release.colour} is not ended.", "End it with `penstock release rollback` first."
            )
        stand = self.world.look()
        has = stand.live.of(colour)
        if has == 100 and stand.settled:
            raise RefusedError(f"{colour} has all the traffic already.")
        # A share that was given without a journal of it is watched, and never taken away.
        passed = next(index for index, step in enumerate(steps) if step >= has)
        self.journal.append(journal.BEGIN, id=identifier, colour=colour, steps=list(steps), passed=passed)
        return self._go_on()

    def rollback(self, reason: str) -> Release:
        """Everything to the other colour than the one being released, at once; also after its end.

        Raises RefusedError, PenstockError.
        """
        release = self.journal.release()
        if release is None or release.ended == "rolled back":
            raise RefusedError(
                "There is no release to take back.", "`penstock release shift COLOUR=100` moves the traffic by hand."
            )
        if not self.world.ready(other(release.colour)):
            raise RefusedError(f"{other(release.colour)} has no healthy target, so traffic to it would fail.")
        self.journal.append(journal.BACK, id=release.identifier, reason=reason)
        self.world.set_live(release.turned_back(reason).wanted)  # without a look at all else: each second counts
        return self._go_on()

    def _go_on(self) -> Release:
        for _ in range(MOST_ACTIONS):
            release = self.journal.release()
            if release is None:
                raise RefusedError("There is no release to go on with.", "Begin one with `penstock release stage`.")
            action = next_action(release, self.world.look())
            if self._perform(release, action):
                break
        found = self.journal.release()
        assert found is not None  # noqa: S101 - its begin was written above
        return found

    def _perform(self, release: Release, action: Action) -> bool:
        """True when there is nothing more to do now."""
        match action:
            case SetLive(weights):
                self.say(f"Load balancer: {weights}")
                self.world.set_live(weights)
            case WriteFile(weights):
                self.world.write_file(weights)
            case Deploy(weights):
                self.say(f"Update: {weights}")
                self.world.deploy(weights)
            case Watch(step):
                return self._watch(release, step)
            case End(outcome):
                self.journal.append(journal.ENDED, id=release.identifier, outcome=outcome)
                return True
            case Refuse(reason):
                raise RefusedError(f"{reason}.", "See `penstock status`.")
        return False

    def _watch(self, release: Release, step: int) -> bool:
        watched = self.world.watch(release, step)
        if watched.state == "good":
            self.journal.append(journal.PASSED, id=release.identifier, step=step, **watched.record)
            return False
        if watched.state == "short":
            self.journal.append(journal.HELD, id=release.identifier, step=step, reason=watched.reason)
            return True
        if not self.world.ready(other(release.colour)):
            reason = f"{watched.reason}; but {other(release.colour)} has no healthy target to go back to"
            self.journal.append(journal.HELD, id=release.identifier, step=step, reason=reason)
            return True
        self.journal.append(journal.BACK, id=release.identifier, step=step, reason=watched.reason)
        back = release.turned_back(watched.reason)
        self.world.set_live(back.wanted)  # without another look: each second is failed requests
        self.say(f"The traffic is back at {other(release.colour)}: {watched.reason}")
        self.report(back, watched)
        return False
