"""Whether an object is ready, from the object alone. Pure. What waits and for what follows pulumi-kubernetes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.values import at


@dataclass(frozen=True)
class Readiness:
    """`message` says how far it is; `failure` is set when waiting longer is of no use."""

    done: bool
    message: str = ""
    failure: str = ""
    owns_pods: bool = False
    """Whether the object's pods can say more about what keeps it."""


READY = Readiness(done=True)


def readiness(kind: Kind, live: Mapping[str, Any]) -> Readiness:
    """Kinds that nothing is known of are ready as soon as they exist."""
    judge = JUDGES.get((kind.group, kind.kind))
    return judge(live) if judge else READY


def waits(kind: Kind) -> bool:
    """Whether objects of the kind can be anything but ready."""
    return (kind.group, kind.kind) in JUDGES


def condition(live: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The condition `name` of an object's status, {} where it has none."""
    return next((found for found in at(live, "status", "conditions") or () if found.get("type") == name), {})


def _observed(live: Mapping[str, Any]) -> bool:
    return (at(live, "status", "observedGeneration") or 0) >= (at(live, "metadata", "generation") or 0)


def _count(live: Mapping[str, Any], *path: str, default: int = 0) -> int:
    value = at(live, *path)
    return default if value is None else int(value)


def _deployment(live: Mapping[str, Any]) -> Readiness:
    """The rules of `kubectl rollout status`."""
    wanted = _count(live, "spec", "replicas", default=1)
    if at(live, "spec", "paused"):
        return Readiness(done=True, message="paused")
    if not _observed(live):
        return Readiness(done=False, message="waiting for the controller")
    progressing = condition(live, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Readiness(done=False, failure=str(progressing.get("message") or "no progress"), owns_pods=True)
    status = {name: _count(live, "status", name) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    if status["updatedReplicas"] < wanted:
        message = f"{status['updatedReplicas']} of {wanted} replicas updated, {status['availableReplicas']} available"
        return Readiness(done=False, message=message, owns_pods=True)
    if status["availableReplicas"] < wanted:
        message = f"{status['availableReplicas']} of {wanted} replicas available"
        return Readiness(done=False, message=message, owns_pods=True)
    if status["replicas"] > status["updatedReplicas"]:
        old = status["replicas"] - status["updatedReplicas"]
        return Readiness(done=False, message=f"{wanted} of {wanted} replicas available, {old} old ones are ending")
    return Readiness(done=True, message=f"{wanted} of {wanted} replicas available")


def _stateful_set(live: Mapping[str, Any]) -> Readiness:
    wanted = _count(live, "spec", "replicas", default=1)
    if not _observed(live):
        return Readiness(done=False, message="waiting for the controller")
    ready, updated = _count(live, "status", "readyReplicas"), _count(live, "status", "updatedReplicas")
    rolling = at(live, "spec", "updateStrategy", "type") != "OnDelete"
    if ready < wanted or (rolling and updated < wanted):
        return Readiness(done=False, message=f"{ready} of {wanted} replicas ready, {updated} updated", owns_pods=True)
    return Readiness(done=True, message=f"{wanted} of {wanted} replicas ready")


def _daemon_set(live: Mapping[str, Any]) -> Readiness:
    if not _observed(live):
        return Readiness(done=False, message="waiting for the controller")
    wanted = _count(live, "status", "desiredNumberScheduled")
    ready, updated = _count(live, "status", "numberAvailable"), _count(live, "status", "updatedNumberScheduled")
    rolling = at(live, "spec", "updateStrategy", "type") != "OnDelete"
    if ready < wanted or (rolling and updated < wanted):
        return Readiness(done=False, message=f"{ready} of {wanted} pods available, {updated} updated", owns_pods=True)
    return Readiness(done=True, message=f"{wanted} of {wanted} pods available")


def _pod(live: Mapping[str, Any]) -> Readiness:
    phase = at(live, "status", "phase") or "Pending"
    if phase == "Succeeded":
        return READY
    if phase == "Failed":
        why = at(live, "status", "message") or at(live, "status", "reason") or "its containers ended with an error"
        return Readiness(done=False, failure=f"the pod failed: {why}")
    if condition(live, "Ready").get("status") == "True":
        return READY
    return Readiness(done=False, message=f"{phase}, not ready", owns_pods=True)


def _job(live: Mapping[str, Any]) -> Readiness:
    failed = condition(live, "Failed")
    if failed.get("status") == "True":
        return Readiness(done=False, failure=f"{failed.get('reason')}: {failed.get('message')}", owns_pods=True)
    if condition(live, "Complete").get("status") == "True" or at(live, "spec", "suspend"):
        return READY
    wanted = _count(live, "spec", "completions", default=1)
    done = _count(live, "status", "succeeded")
    return Readiness(done=False, message=f"{done} of {wanted} completions", owns_pods=True)


def _service(live: Mapping[str, Any]) -> Readiness:
    """Only a load balancer's address is waited for: endpoints belong to whoever deploys the pods."""
    if at(live, "spec", "type") != "LoadBalancer" or at(live, "status", "loadBalancer", "ingress"):
        return READY
    return Readiness(done=False, message="waiting for the load balancer's address")


def _definition(live: Mapping[str, Any]) -> Readiness:
    names = condition(live, "NamesAccepted")
    if names.get("status") == "False":
        return Readiness(done=False, failure=f"its names are not accepted: {names.get('message')}")
    if condition(live, "Established").get("status") == "True":
        return READY
    return Readiness(done=False, message="waiting until the API server serves it")


JUDGES: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Readiness]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("", "Pod"): _pod,
    ("batch", "Job"): _job,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
}
