"""What pods say about why a workload is not ready. Pure.

Some troubles pass by themselves (a ConfigMap that is about to come, a node that is about to join), so each has a
time after which waiting longer is taken to be of no use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.kubernetes.provider.readiness import condition
from infra.local.kubernetes.provider.values import at


@dataclass(frozen=True)
class Endurance:
    """Seconds that a pod may stay in a trouble before the wait is given up."""

    image: float = 15.0
    configuration: float = 45.0
    crashes: float = 60.0
    scheduling: float = 300.0
    """Long: an old pod may hold the only free GPU until it has drained."""


SECONDS_OF = {
    "InvalidImageName": "image",
    "ErrImagePull": "image",
    "ImagePullBackOff": "image",
    "ErrImageNeverPull": "image",
    "CreateContainerConfigError": "configuration",
    "CreateContainerError": "configuration",
    "RunContainerError": "configuration",
    "CrashLoopBackOff": "crashes",
    "Unschedulable": "scheduling",
    "ReplicaFailure": "configuration",
}
"""Waiting reasons of the kubelet, and the scheduler's, with the field of Endurance that bounds them."""


@dataclass(frozen=True)
class Trouble:
    """`reason` is the kubelet's or scheduler's word, `message` the whole sentence, with the pod's name."""

    pod: str
    reason: str
    message: str


def troubles(pods: Iterable[Mapping[str, Any]]) -> list[Trouble]:
    """At most one trouble a pod, for pods that are not being deleted."""
    found = []
    for pod in pods:
        if at(pod, "metadata", "deletionTimestamp"):
            continue
        name = str(at(pod, "metadata", "name"))
        trouble = _scheduling(name, pod) or _containers(name, pod)
        if trouble:
            found.append(trouble)
    return found


def refusals(workload: Mapping[str, Any]) -> list[Trouble]:
    """Pods that could not even be created: a quota, an admission rule, a missing service account."""
    refused = condition(workload, "ReplicaFailure")
    if refused.get("status") != "True":
        return []
    return [
        Trouble(str(at(workload, "metadata", "name")), "ReplicaFailure", f"no pod created: {refused.get('message')}")
    ]


def _scheduling(name: str, pod: Mapping[str, Any]) -> Trouble | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Trouble(name, "Unschedulable", f"pod {name} cannot be scheduled: {scheduled.get('message')}")
    return None


def _containers(name: str, pod: Mapping[str, Any]) -> Trouble | None:
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = at(container, "state", "waiting") or {}
        reason = waiting.get("reason")
        if reason in SECONDS_OF:
            message = f"pod {name}, container {container.get('name')}: {reason}"
            if waiting.get("message"):
                message += f": {waiting['message']}"
            return Trouble(name, reason, message + _last_end(container))
    return None


def _last_end(container: Mapping[str, Any]) -> str:
    ended = at(container, "lastState", "terminated")
    if not ended:
        return ""
    words = f" ({ended['message'].strip()})" if ended.get("message") else ""
    return f"; it last ended with status {ended.get('exitCode')}, {ended.get('reason')}{words}"


@dataclass
class Watchlist:
    """Remembers since when each pod has been in trouble. Times are seconds of any monotonic clock."""

    endurance: Endurance = field(default_factory=Endurance)
    _since: dict[tuple[str, str], float] = field(default_factory=dict)

    def hopeless(self, seen: Iterable[Trouble], now: float) -> list[Trouble]:
        """The troubles that have lasted too long. Call it with all present troubles each time."""
        present = {(trouble.pod, SECONDS_OF[trouble.reason]): trouble for trouble in seen}
        self._since = {key: self._since.get(key, now) for key in present}
        return [trouble for key, trouble in present.items() if now - self._since[key] >= self._seconds(trouble)]

    def _seconds(self, trouble: Trouble) -> float:
        if trouble.reason == "InvalidImageName":
            return 0.0
        return getattr(self.endurance, SECONDS_OF[trouble.reason])
