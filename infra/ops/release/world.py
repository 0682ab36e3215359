"""The stack that a release works on: stack file, Pulumi's state, load balancer and pods."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from components.shares import COLOURS
from infra.ops import deploy, kube, traffic
from infra.ops.changes import beyond_weights, summary
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.progress import Progress
from infra.ops.release.machine import Release, Stand
from infra.ops.release.runner import Watched
from infra.ops.release.shift import PREVIEW_SECONDS, UPDATE_SECONDS, deployed_weights, validate_stack_file
from infra.ops.release.watching import ClusterSource, Watcher
from infra.ops.stacks import StackAccess, State
from infra.ops.weights import Weights, edit, read, read_text, replace_file
from infra.settings import Settings
from infra.settings.served import Model


@dataclass
class StackWorld:
    """Implements `runner.World`. `confirm` gets the lines of a preview and says whether to go on."""

    access: StackAccess
    progress: Progress
    confirm: Callable[[Sequence[str]], bool]
    make_watcher: Callable[[StackWorld], Watcher]
    allow_other_changes: bool = False
    _watcher: Watcher | None = field(default=None, init=False)

    @cached_property
    def balancer(self) -> Any:
        return self.access.aws("elbv2")

    @cached_property
    def first_state(self) -> State:
        """The state as this command found it: names and ARNs do not change in a release."""
        return self.access.state()

    @cached_property
    def way(self) -> traffic.Route:
        return traffic.route(self.first_state)

    @cached_property
    def cluster(self) -> kube.Cluster:
        state = self.first_state
        return kube.connect(self.access, str(state.output("clusterName")), str(state.outputs.get("region", "")))

    @property
    def namespace(self) -> str:
        return str(self.first_state.outputs.get("namespace", "penstock"))

    @property
    def watcher(self) -> Watcher:
        if self._watcher is None:
            self._watcher = self.make_watcher(self)
        return self._watcher

    def health(self) -> Mapping[str, traffic.TargetHealth]:
        return traffic.target_health(self.balancer, self.way)

    def source(self) -> ClusterSource:
        return ClusterSource(self.cluster, self.namespace, self.health)

    def look(self) -> Stand:
        """Raises PenstockError."""
        state = self.access.state()
        return Stand(
            file=read(read_text(self.access.stack_file), self.access.stack_file.name),
            deployed=deployed_by(state, self.way),
            live=self.live(),
            ready={colour: self.ready(colour) for colour in COLOURS},
        )

    def live(self) -> Weights:
        return traffic.live_weights(self.balancer, self.way)

    def ready(self, colour: str) -> bool:
        """A healthy gateway, and a ready engine for each model that does not go to zero without requests."""
        if not self.health()[colour].healthy:
            return False
        models = set(self.first_state.outputs.get("models") or [])
        serving = {
            pod.model
            for pod in self.cluster.pods(self.namespace)
            if pod.app == "engine" and pod.colour == colour and pod.ready
        }
        return models - self.sleepers - self.outsiders <= serving

    @cached_property
    def sleepers(self) -> set[str]:
        """Models that wait for their first request without an engine, as the stack file has them."""
        return {model.name for model in self._models if model.may_sleep}

    @cached_property
    def outsiders(self) -> set[str]:
        """Models without engines of ours."""
        return {model.name for model in self._settings.outside_models}

    @cached_property
    def embedders(self) -> set[str]:
        """Models that answer embeddings and no chat."""
        return {model.name for model in (*self._models, *self._settings.outside_models) if model.makes_embeddings}

    @property
    def _models(self) -> Sequence[Model]:
        return self._settings.models

    @cached_property
    def _settings(self) -> Settings:
        return Settings.from_stack_file(self.access.stack_file)

    def set_live(self, weights: Weights) -> None:
        """One call to the load balancer, and one that confirms it. Raises PenstockError."""
        set_weights(self.balancer, self.way, weights)
        traffic.wait_for(self.live, weights, pause=0.1)

    def write_file(self, weights: Weights) -> None:
        file = self.access.stack_file
        old = read_text(file)
        replace_file(file, edit(old, weights, file.name))
        try:
            validate_stack_file(file)
        except RefusedError:
            replace_file(file, old)
            raise

    def deploy(self, weights: Weights) -> None:
        """A preview that may show weights alone, and a normal update. Raises RefusedError, PenstockError."""
        moving = self.live() != weights  # after a rollback the traffic is there already: the state alone follows
        if moving:
            self.watcher.open()
        with self.progress.step("Preview", PREVIEW_SECONDS):
            stack = self.access.automation()
            changes = deploy.preview(stack, self.progress)
        others = beyond_weights(changes)
        if others and not self.allow_other_changes:
            self._put_back(moving)
            found = "\n".join(summary(others))
            raise RefusedError(
                f"The preview would change more than the weights:\n{found}\n",
                "Deploy that first with `penstock up`, or pass --allow-other-changes.",
            )
        if moving and not self.confirm(summary(changes)):
            self._put_back(moving)
            raise RefusedError("The step was not confirmed.")
        with self.progress.step("Update", UPDATE_SECONDS):
            deploy.up(stack, self.progress)
        traffic.wait_for(self.live, weights)

    def _put_back(self, moving: bool) -> None:
        """A refused step leaves the file as the traffic is."""
        if moving:
            self.write_file(self.live())
            self.progress.say(f"{self.access.stack_file.name} is as it was.")

    def watch(self, release: Release, step: int) -> Watched:
        with self.progress.step(f"Watching {release.colour} at {step} %", self.watcher.soak_seconds):
            return self.watcher.watch(release.colour, step)

    def wait_until_ready(self, colour: str, gateways: int, seconds: float) -> float:
        """Waits for the load balancer to find all gateways of a colour healthy, and for its engines."""
        started = time.monotonic()
        while True:
            healthy = self.health()[colour].healthy
            if healthy >= gateways and self.ready(colour):
                return time.monotonic() - started
            if time.monotonic() - started > seconds:
                raise PenstockError(
                    f"{colour} is not ready after {seconds:.0f} s: {healthy} of {gateways} gateways are healthy.",
                    "See `penstock status`; `penstock release stage` goes on.",
                )
            time.sleep(0.5)


def deployed_by(state: State, way: traffic.Route) -> Weights | None:
    """The weights of the last update, where its end and its rule tell the same: a killed one may be in between."""
    told = deployed_weights(state.outputs.get("weights"))
    rule = next((resource for resource in state.resources if resource.id == way.rule), None)
    colours = {arn: colour for colour, arn in way.groups.items()}
    found = {
        colours.get(group.get("arn")): group.get("weight")
        for action in (rule.outputs.get("actions") or [] if rule else [])
        for group in (action.get("forward") or {}).get("targetGroups") or []
    }
    if told is not None and found and found != told.as_dict():
        return None
    return told


def set_weights(client: Any, way: traffic.Route, weights: Weights) -> None:
    """Changes the weights of the rule and nothing else of it. Raises PenstockError where it is no weighted forward."""
    actions = copy.deepcopy(client.describe_rules(RuleArns=[way.rule])["Rules"][0]["Actions"])
    groups = [group for action in actions for group in action.get("ForwardConfig", {}).get("TargetGroups", [])]
    colours = {arn: colour for colour, arn in way.groups.items()}
    if {group["TargetGroupArn"] for group in groups} != set(colours):
        raise PenstockError("The load balancer's rule does not forward to both colours.", "Run `penstock up`.")
    for group in groups:
        group["Weight"] = weights.of(colours[group["TargetGroupArn"]])
    client.modify_rule(RuleArn=way.rule, Actions=actions)


def journal_folder(access: StackAccess) -> Path:
    """Where a stack's journal and reports are: with the local platform, else in the checkout's ignored folder."""
    if access.layout is not None:
        return access.layout.state / "releases"
    return access.checkout / ".penstock" / "releases" / access.name


def settings_of(access: StackAccess) -> Settings:
    """Raises RefusedError."""
    validate_stack_file(access.stack_file)
    return Settings.from_stack_file(access.stack_file)
