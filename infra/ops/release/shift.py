"""A traffic shift: one number in the stack file, previewed, applied, and confirmed by the load balancer.

The stack file is the only thing this writes. Whatever interrupts a shift, the file holds the old weights or the new,
and `position` tells which of file, state and load balancer stand where.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shares import COLOURS
from infra.ops import deploy, traffic
from infra.ops.changes import Change, beyond_weights, summary
from infra.ops.errors import RefusedError
from infra.ops.progress import Progress
from infra.ops.release.machine import Release, Stand, advice
from infra.ops.stacks import StackAccess
from infra.ops.weights import Weights, edit, read, read_text, replace_file

PREVIEW_SECONDS, UPDATE_SECONDS = 7.0, 8.0
"""Measured on two cores for the stack `local`; most of it is the program's own run."""


@dataclass(frozen=True)
class Position:
    """Where a release stands. `deployed` is what the last update set, `live` what the load balancer does."""

    file: Weights
    deployed: Weights | None
    live: Weights
    health: dict[str, traffic.TargetHealth]

    @property
    def settled(self) -> bool:
        return Stand(self.file, self.deployed, self.live, {}).settled

    def advice(self, release: Release | None = None) -> str:
        """What to do next; `release` is the journal's latest one."""
        return advice(release, Stand(self.file, self.deployed, self.live, {}))


@dataclass(frozen=True)
class Shift:
    """A finished shift. `confirmed_seconds`: from the end of the update until the load balancer reported it."""

    before: Weights
    after: Weights
    changes: tuple[Change, ...]
    confirmed_seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "changes": [change.as_dict() for change in self.changes],
            "confirmed_seconds": round(self.confirmed_seconds, 3),
        }


def position(access: StackAccess) -> Position:
    """Reads all three. Raises PenstockError."""
    state = access.state()
    way = traffic.route(state)
    balancer = access.aws("elbv2")
    return Position(
        file=read(read_text(access.stack_file), access.stack_file.name),
        deployed=deployed_weights(state.outputs.get("weights")),
        live=traffic.live_weights(balancer, way),
        health=traffic.target_health(balancer, way),
    )


def deployed_weights(output: Any) -> Weights | None:
    """The stack's output `weights`, which older states hold as JSON text."""
    content = json.loads(output) if isinstance(output, str) else output
    return Weights(int(content["blue"]), int(content["green"])) if content else None


@dataclass(frozen=True)
class Shifter:
    """One shift. `confirm` gets the lines of the preview and says whether to go on."""

    access: StackAccess
    progress: Progress
    confirm: Callable[[Sequence[str]], bool]
    validate: Callable[[Path], None]
    allow_other_changes: bool = False
    allow_unhealthy: bool = False
    check_versions: Callable[[Sequence[str]], None] = lambda colours: None
    """Raises RefusedError for colours that may have no more traffic than they have."""

    def shift(self, weights: Weights) -> Shift:
        """Raises RefusedError where nothing was changed, PenstockError where the update failed."""
        file = self.access.stack_file
        old_text = read_text(file)
        new_text = edit(old_text, weights, file.name)
        with self.progress.step("Asking the load balancer", 2):
            way = traffic.route(self.access.state())
            balancer = self.access.aws("elbv2")
            before = traffic.live_weights(balancer, way)
            self._check_targets(weights, before, traffic.target_health(balancer, way))
            self.check_versions([c for c in COLOURS if weights.of(c) > before.of(c)])

        def live() -> Weights:
            return traffic.live_weights(balancer, way)

        if new_text != old_text:
            replace_file(file, new_text)
        try:
            self.validate(file)
            changes, confirmed = self._apply(weights, live)
        except BaseException as error:
            self._settle(error, weights, live, old_text, new_text)
            raise
        return Shift(before, weights, tuple(changes), confirmed)

    def _apply(self, weights: Weights, live: Callable[[], Weights]) -> tuple[list[Change], float]:
        with self.progress.step("Preview", PREVIEW_SECONDS):
            stack = self.access.automation()
            changes = deploy.preview(stack, self.progress)
        others = beyond_weights(changes)
        if others and not self.allow_other_changes:
            found = "\n".join(summary(others))
            raise RefusedError(
                f"The preview would change more than the weights:\n{found}\n",
                "Deploy that first with `penstock up`, or pass --allow-other-changes.",
            )
        if not changes and live() == weights:
            return [], 0.0
        if not self.confirm(summary(changes)):
            raise RefusedError("The shift was not confirmed.")
        with self.progress.step("Update", UPDATE_SECONDS):
            deploy.up(stack, self.progress)
        with self.progress.step("Waiting for the load balancer"):
            return changes, traffic.wait_for(live, weights)

    def _check_targets(self, wanted: Weights, before: Weights, health: dict[str, traffic.TargetHealth]) -> None:
        for colour in COLOURS:
            grows = wanted.of(colour) > before.of(colour)
            if grows and health[colour].healthy == 0 and not self.allow_unhealthy:
                raise RefusedError(
                    f"{colour} has no healthy target ({health[colour]} healthy), so traffic to it would fail.",
                    "See `penstock status`, or pass --allow-unhealthy.",
                )

    def _settle(
        self, error: BaseException, wanted: Weights, live: Callable[[], Weights], old_text: str, new_text: str
    ) -> None:
        """After a failure the file follows the truth: the new weights if they are live, else the old ones."""
        if not isinstance(error, RefusedError):
            try:
                if live() == wanted:
                    self.progress.say(f"The load balancer already has {wanted}; the stack file keeps it.")
                    return
            except Exception as unreachable:  # noqa: BLE001  the reason to settle matters more than this one
                self.progress.say(f"The load balancer could not be asked: {unreachable}")
        if read_text(self.access.stack_file) == new_text != old_text:  # nobody else has edited it since
            replace_file(self.access.stack_file, old_text)
            self.progress.say(f"{self.access.stack_file.name} is as it was.")


def validate_stack_file(file: Path) -> None:
    """The program's own check of the whole file. Raises RefusedError."""
    from infra.settings import Settings, SettingsError

    try:
        Settings.from_stack_file(file)
    except SettingsError as error:
        raise RefusedError(str(error)) from None
