"""Which of a stack's resources go when. Pure.

Pulumi knows what depends on what; it does not know that Karpenter makes nodes, that a controller must live until its
finalizers are gone, or that a release's traffic should end before its pods. So a destroy goes through phases, each of
which Pulumi carries out in its own order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CONTROLLERS = ("Collector", "DevicePlugin", "Karpenter", "Keda", "LoadBalancerController", "Telemetry")
"""Components whose pods other objects need until they are gone."""
_CONTROLLER = re.compile(rf"penstock:index:(?:{'|'.join(CONTROLLERS)})\$")


@dataclass(frozen=True)
class Item:
    """A resource of the state. `urn` as Pulumi writes it: its third part is the parents' types and its own."""

    urn: str
    protected: bool = False

    @property
    def path(self) -> str:
        """The types from the outermost component to the resource's own, joined by `$`."""
        return self.urn.split("::")[2]

    @property
    def type(self) -> str:
        return self.path.rpartition("$")[2]

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[-1]

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


@dataclass(frozen=True)
class Phase:
    name: str
    why: str
    """For people: why it comes here."""
    types: str
    """What it takes, as a pattern of the type; the phases before have had their choice."""
    controllers_stay: bool = False

    def takes(self, item: Item) -> bool:
        if self.controllers_stay and _CONTROLLER.search(item.path):
            return False
        return re.match(self.types, item.type) is not None


PHASES = (
    Phase("traffic", "no new request comes in", r"aws:(lb/listenerRule|route53/record):"),
    Phase("scaling", "nothing is started anew", r"kubernetes:(keda\.sh|autoscaling)/|kubernetes:batch/v1:CronJob"),
    Phase(
        "workloads",
        "streams end in their grace period",
        r"kubernetes:(apps|batch|leaderworkerset\.x-k8s\.io)/",
        controllers_stay=True,
    ),
    Phase("node pools", "Karpenter makes no node any more, and ends its own", r"kubernetes:karpenter\.sh/"),
    Phase("node classes", "Karpenter gives its profiles back", r"kubernetes:karpenter\.k8s\.aws/"),
    Phase("bindings", "the controller takes its targets out", r"kubernetes:elbv2\.k8s\.aws/"),
    Phase("controllers", "nobody needs them any more", r"kubernetes:"),
    Phase("nodes", "before the cluster that they belong to", r"aws:eks/(nodeGroup|addon|fargateProfile):"),
    Phase("cluster", "it holds interfaces in the network", r"aws:eks/"),
    Phase("data and services", "they hold interfaces in the network", r"aws:(?!ec2/|vpc/)"),
    Phase("network", "and whatever is left", r"[^:]+:"),
)
"""In this order. The last takes everything, providers and components included."""
NODE_CLAIMS_AFTER = "node pools"
"""NodeClaims are Karpenter's, not the state's: they are ended once no pool makes new ones."""


def plan(items: Iterable[Item]) -> list[tuple[Phase, list[Item]]]:
    """Each resource in the first phase that takes it. Components and providers go in the last."""
    groups: dict[str, list[Item]] = {phase.name: [] for phase in PHASES}
    for item in items:
        outer = item.type.startswith(("penstock:", "pulumi:"))
        phase = PHASES[-1] if outer else next(phase for phase in PHASES if phase.takes(item))
        groups[phase.name].append(item)
    return [(phase, groups[phase.name]) for phase in PHASES]


def protected(items: Iterable[Item]) -> list[Item]:
    return [item for item in items if item.protected]


DATA = r"aws:(rds/instance|s3/bucket|elasticache/replicationGroup|ecr/repository|cloudwatch/logGroup|kms/key):"


def lost(items: Iterable[Item]) -> list[Item]:
    """What holds data that goes with it."""
    return [item for item in items if re.match(DATA, item.type)]


def described(groups: Sequence[tuple[Phase, Sequence[Item]]]) -> list[str]:
    """One line for each phase that has something."""
    return [f"{len(items):4} {phase.name}: {phase.why}" for phase, items in groups if items]
