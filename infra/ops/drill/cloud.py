"""A drill on AWS: finds the stack's experiment template, starts it, watches it, and stops it where its time is up."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.ops.errors import PenstockError, RefusedError
from infra.ops.progress import Progress

DRILL_TAG, ZONE_TAG, BUDGET_TAG = "penstock-drill", "penstock-zone", "penstock-drill-seconds"
"""As in components/fault_injection.py."""
ENDED = frozenset({"completed", "stopped", "failed", "cancelled"})
LOOK_SECONDS = 5.0
STOP_SECONDS = 120.0


@dataclass(frozen=True)
class Template:
    """`budget_seconds`: after so long the experiment is stopped."""

    identity: str
    drill: str
    zone: str
    budget_seconds: float
    description: str

    @classmethod
    def parse(cls, item: dict[str, Any]) -> Template:
        tags = item.get("tags") or {}
        return cls(
            item["id"],
            tags.get(DRILL_TAG, ""),
            tags.get(ZONE_TAG, ""),
            float(tags.get(BUDGET_TAG, 0)),
            item.get("description", ""),
        )


def templates(client: Any, stack: str) -> list[Template]:
    """The templates of one stack, by the tag `stack` that all its resources have."""
    found: list[Template] = []
    more: dict[str, str] = {}
    while True:
        page = client.list_experiment_templates(**more)
        found += [Template.parse(it) for it in page["experimentTemplates"] if it.get("tags", {}).get("stack") == stack]
        if not page.get("nextToken"):
            return [template for template in found if template.drill]
        more = {"nextToken": page["nextToken"]}


def choose(found: list[Template], drill: str, zone: str | None) -> Template:
    """Raises RefusedError where the stack has no such template, or several and no zone was named."""
    fitting = [template for template in found if template.drill == drill]
    if not fitting:
        offered = ", ".join(sorted({template.drill for template in found})) or "none"
        raise RefusedError(
            f"The stack has no template for {drill}; it has: {offered}.",
            "Templates come with penstock:drills.enabled; failovers need a standby.",
        )
    zones = sorted(template.zone for template in fitting)
    chosen = [template for template in fitting if zone is None or template.zone == zone]
    if len(chosen) != 1:
        raise RefusedError(f"{drill} needs --zone; allowed: {', '.join(zones)}.")
    return chosen[0]


@dataclass(frozen=True)
class Watched:
    experiment: str
    status: str
    reason: str
    seconds: float
    stopped_by_us: bool

    def as_dict(self) -> dict[str, Any]:
        return vars(self) | {"seconds": round(self.seconds, 1)}


@dataclass
class Experiment:
    """One start of a template. Whatever ends `watch` early stops the experiment."""

    client: Any
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, template: Template) -> Watched:
        """Raises PenstockError where the experiment cannot be stopped."""
        token = str(uuid.uuid4())
        started = self.client.start_experiment(clientToken=token, experimentTemplateId=template.identity)
        experiment, began = started["experiment"]["id"], self.clock()
        try:
            status, reason = self._until_ended(experiment, began, template.budget_seconds)
        except BaseException:
            self._stop(experiment)
            raise
        stopped = status not in ENDED
        if stopped:
            status, reason = self._stop(experiment)
        return Watched(experiment, status, reason, self.clock() - began, stopped)

    def _until_ended(self, experiment: str, began: float, budget_seconds: float) -> tuple[str, str]:
        while True:
            status, reason = self._state(experiment)
            passed = self.clock() - began
            if status in ENDED or passed > budget_seconds:
                return status, reason
            self.progress.detail(f"{passed:.0f} of at most {budget_seconds:.0f} s: {status}")
            self.sleep(LOOK_SECONDS)

    def _state(self, experiment: str) -> tuple[str, str]:
        state = self.client.get_experiment(id=experiment)["experiment"]["state"]
        return state["status"], state.get("reason", "")

    def _stop(self, experiment: str) -> tuple[str, str]:
        self.client.stop_experiment(id=experiment)
        deadline = self.clock() + STOP_SECONDS
        while (found := self._state(experiment))[0] not in ENDED:
            if self.clock() > deadline:
                raise PenstockError(
                    f"The experiment {experiment} is still {found[0]} after {STOP_SECONDS:.0f} s.",
                    "Look at it in the console of AWS Fault Injection Service.",
                )
            self.sleep(LOOK_SECONDS)
        return found


def confirm(stack: str, typed: str | None) -> None:
    """Raises RefusedError where the stack's name was not typed."""
    if typed != stack:
        raise RefusedError(f"The drill was not confirmed: {stack!r} has to be typed.", f"Or pass --confirm {stack}.")
