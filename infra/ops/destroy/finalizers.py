"""Objects that do not go: whose finalizer holds them, and when it may be taken off.

A finalizer is a promise of a controller: something outside the cluster will be put in order first. Where the controller
is gone or stuck, the promise is kept here instead, and only then is the finalizer removed. Pure, but for `World`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

KUBERNETES_OWN = frozenset({"kubernetes", "foregroundDeletion", "orphan", "kubernetes.io/pvc-protection"})
"""Kept by the API server and its controllers, which still live. Never taken off."""
INSTANCE = frozenset({"karpenter.sh/termination", "karpenter.k8s.aws/termination"})
"""Karpenter's (karpenter.sh, "Disruption", section on the termination controller): the instance must be gone."""
TARGETS = frozenset({"elbv2.k8s.aws/resources"})
"""The load balancer controller's: no target may be left in the group."""
FREE = frozenset({"finalizer.keda.sh"})
"""KEDA's own bookkeeping: nothing outside the cluster depends on it."""


@dataclass(frozen=True)
class Kind:
    """Where objects of a kind are listed. `group` is empty for the core."""

    group: str
    version: str
    plural: str

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


NODE_CLAIM = Kind("karpenter.sh", "v1", "nodeclaims")
WATCHED = (
    NODE_CLAIM,
    Kind("karpenter.sh", "v1", "nodepools"),
    Kind("karpenter.k8s.aws", "v1", "ec2nodeclasses"),
    Kind("elbv2.k8s.aws", "v1beta1", "targetgroupbindings"),
    Kind("keda.sh", "v1alpha1", "scaledobjects"),
    Kind("", "v1", "nodes"),
)
"""Kinds whose finalizers reach outside the cluster, or belong to a controller of ours."""


@dataclass(frozen=True)
class Held:
    """An object that is to go and does not."""

    kind: Kind
    name: str
    namespace: str
    finalizers: tuple[str, ...]
    since: dt.datetime
    provider_id: str = ""
    """Of a node or node claim: `aws:///zone/i-...`."""
    target_group: str = ""
    """Of a binding: the group's ARN."""

    @classmethod
    def parse(cls, kind: Kind, item: Mapping[str, Any]) -> Held | None:
        """None for an object that is not being deleted, or that nothing holds."""
        metadata = item["metadata"]
        if not metadata.get("deletionTimestamp") or not metadata.get("finalizers"):
            return None
        spec, status = item.get("spec") or {}, item.get("status") or {}
        return cls(
            kind,
            metadata["name"],
            metadata.get("namespace", ""),
            tuple(metadata["finalizers"]),
            dt.datetime.fromisoformat(metadata["deletionTimestamp"]),
            str(status.get("providerID") or spec.get("providerID") or ""),
            str(spec.get("targetGroupARN") or ""),
        )

    @property
    def instance(self) -> str:
        """The id of its instance, or nothing."""
        last = self.provider_id.rpartition("/")[2]
        return last if last.startswith("i-") else ""

    @property
    def path(self) -> str:
        place = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.kind.path}{place}/{self.kind.plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind.plural}/{self.name}"


class World(Protocol):
    """What finalizers promise to put in order."""

    def instance_gone(self, instance: str) -> bool: ...

    def end_instance(self, instance: str) -> None: ...

    def targets_gone(self, target_group: str) -> bool: ...

    def take_targets_out(self, target_group: str) -> None: ...


@dataclass(frozen=True)
class Freed:
    """A finalizer that was taken off, for the report."""

    object: str
    finalizer: str
    why: str


def settle(held: Held, now: dt.datetime, patience_seconds: float, world: World) -> tuple[tuple[str, ...], list[Freed]]:
    """The finalizers to take off now, each once what it promised holds; what still has to happen is set going.

    Nothing is done before the controller had `patience_seconds`. A finalizer that is not known here is never taken off.
    """
    if (now - held.since).total_seconds() < patience_seconds:
        return (), []
    freed: list[Freed] = []
    for finalizer in held.finalizers:
        if finalizer in FREE:
            freed.append(Freed(str(held), finalizer, "it guards nothing outside the cluster"))
        elif finalizer in INSTANCE:
            if not held.instance:
                freed.append(Freed(str(held), finalizer, "it never had an instance"))
            elif world.instance_gone(held.instance):
                freed.append(Freed(str(held), finalizer, f"{held.instance} is terminated"))
            else:
                world.end_instance(held.instance)
        elif finalizer in TARGETS:
            if not held.target_group or world.targets_gone(held.target_group):
                freed.append(Freed(str(held), finalizer, "no target is left"))
            else:
                world.take_targets_out(held.target_group)
    return tuple(each.finalizer for each in freed), freed


def unknown(held: Sequence[Held]) -> list[str]:
    """Sentences about finalizers that a person must judge."""
    known = KUBERNETES_OWN | INSTANCE | TARGETS | FREE
    return [
        f"{each} is held by the finalizer {finalizer}, which Penstock does not know"
        for each in held
        for finalizer in each.finalizers
        if finalizer not in known
    ]
