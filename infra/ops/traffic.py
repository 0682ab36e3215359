"""The load balancer's side of a release: which rule, which weights, which targets are healthy. Reads only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from components.shares import COLOURS, breach
from infra.ops.errors import NotRunningError, PenstockError
from infra.ops.stacks import State
from infra.ops.weights import Weights

CONFIRM_SECONDS = 60.0
"""A changed rule is live in an Application Load Balancer within seconds; a minute without it is a fault."""


@dataclass(frozen=True)
class Route:
    """The weighted rule and the target group of each colour, as ARNs."""

    rule: str
    groups: Mapping[str, str]


STANDING_RULES = ("edge-in-use", "edge-admin")
"""The edge's rules that keep target groups in use and let admins in; they carry no traffic."""
PROBE_RULE = "-probe-"
"""In the names of the rules that give one request to a colour of its choice."""


@dataclass(frozen=True)
class TargetHealth:
    healthy: int
    total: int

    def __str__(self) -> str:
        return f"{self.healthy}/{self.total}"


def route(state: State) -> Route:
    """Finds the rule in a stack's state. Raises NotRunningError where the stack has none."""
    rules = [
        rule
        for rule in state.of_type(":ListenerRule")
        if rule.name not in STANDING_RULES and PROBE_RULE not in rule.name
    ]
    groups = {
        colour: group.id
        for group in state.of_type(":TargetGroup")
        for colour in COLOURS
        if group.name == colour or group.name.endswith(f"-{colour}")
    }
    if len(rules) != 1 or set(groups) != set(COLOURS):
        raise NotRunningError("The stack has no weighted listener rule: it is not deployed.", "Run `penstock up`.")
    return Route(rules[0].id, groups)


def live_weights(client: Any, way: Route) -> Weights:
    """The weights that the load balancer uses now. Raises PenstockError where the rule is not a weighted forward."""
    found = client.describe_rules(RuleArns=[way.rule])["Rules"]
    actions = [action for rule in found for action in rule["Actions"] if action["Type"] == "forward"]
    weights: dict[str, int] = {}
    for action in actions:
        for group in action.get("ForwardConfig", {}).get("TargetGroups", []):
            weights |= {
                c: int(group.get("Weight", 1)) for c, arn in way.groups.items() if arn == group["TargetGroupArn"]
            }
    if breach(weights):
        raise PenstockError(
            f"The load balancer's rule has other weights than Penstock sets: {weights}.", "Run `penstock up`."
        )
    return Weights(**weights)


def target_health(client: Any, way: Route) -> dict[str, TargetHealth]:
    """For each colour. `healthy` includes targets without a check (state `unused` is not healthy)."""
    result = {}
    for colour, arn in way.groups.items():
        states = [
            entry["TargetHealth"]["State"]
            for entry in client.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        ]
        present = [state for state in states if state != "draining"]
        result[colour] = TargetHealth(present.count("healthy"), len(present))
    return result


def wait_for(
    read: Callable[[], Weights],
    wanted: Weights,
    *,
    seconds: float = CONFIRM_SECONDS,
    pause: float = 0.3,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Waits until the load balancer reports `wanted` and returns the seconds it took. Raises PenstockError."""
    started = clock()
    while (seen := read()) != wanted:
        if clock() - started > seconds:
            raise PenstockError(
                f"The load balancer still reports {seen} after {seconds:.0f} s, not {wanted}.",
                "See `penstock release status`.",
            )
        sleep(pause)
    return clock() - started
