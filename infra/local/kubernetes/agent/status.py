"""A pod's status from what is known of its containers. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from infra.local.kubernetes.agent.api import Json
from infra.local.kubernetes.agent.clock import stamp


@dataclass(frozen=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Running:
    since: str


@dataclass(frozen=True)
class Terminated:
    """`code` as containers give it: 128 + signal for a process that a signal ended."""

    code: int
    reason: str
    started: str
    finished: str
    message: str = ""


State = Waiting | Running | Terminated


@dataclass
class Record:
    """What is known of one container. `final`: it has ended and will not be started again."""

    name: str
    image: str
    role: Literal["main", "init"] = "main"
    state: State = field(default_factory=lambda: Waiting("ContainerCreating"))
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    final: bool = False

    @property
    def succeeded(self) -> bool:
        return self.final and isinstance(self.state, Terminated) and self.state.code == 0


def resumed(record: Record, status: Json) -> Record:
    """The record of a container whose process died with an earlier agent: it counts as ended, and will start anew."""
    previous = status.get("state") or {}
    record.restarts = status.get("restartCount") or 0
    if "running" in previous:
        since = previous["running"].get("startedAt") or stamp()
        lost = "the node agent was restarted and the process ended with it"
        record.last = Terminated(137, "ContainerStatusUnknown", since, stamp(), lost)
        record.restarts += 1
    elif ended := previous.get("terminated") or (status.get("lastState") or {}).get("terminated"):
        times = (ended.get("startedAt") or stamp(), ended.get("finishedAt") or stamp())
        record.last = Terminated(ended["exitCode"], ended.get("reason") or "Error", *times)
        record.restarts += "terminated" in previous
    return record


def phase_of(init: Sequence[Record], main: Sequence[Record]) -> str:
    """Kubernetes' phase: Pending until every container was started once, then Running, then how they ended."""
    if any(r.final and not r.succeeded for r in init):
        return "Failed"
    if not all(r.succeeded for r in init):
        return "Pending"
    if all(r.final for r in main):
        return "Succeeded" if all(r.succeeded for r in main) else "Failed"
    if any(isinstance(r.state, Waiting) and r.last is None for r in main):
        return "Pending"
    return "Running"


def overruled(sent: Json, pod: Json) -> bool:
    """Whether the pod says otherwise of its readiness than what was sent. The node controller marks pods of a silent
    node unready, and may do so after the node has come back; a kubelet then says again what it knows."""
    told = {condition["type"]: condition["status"] for condition in sent.get("conditions") or ()}
    given = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    return given.get("Ready") not in (None, told.get("Ready"))


def pod_status(
    pod: Json,
    init: Sequence[Record],
    main: Sequence[Record],
    *,
    address: str,
    node_address: str,
    previous: Json,
    now: dt.datetime,
) -> Json:
    """The status to patch. `previous` is the last one, whose transition times are kept where nothing changed.
    Conditions of others (PodScheduled, readiness gates) are read from `pod` and left alone."""
    generation = pod["metadata"].get("generation")
    given = (pod.get("status") or {}).get("phase")
    phase = given if given in ("Succeeded", "Failed") else phase_of(init, main)  # a final phase is never left
    ended = phase in ("Succeeded", "Failed")
    unready = [r.name for r in main if not r.ready]
    foreign = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    closed = [gate for gate in gates if foreign.get(gate) != "True"]
    initialized = all(r.succeeded for r in init) or (ended and phase == "Succeeded")

    unready_text = f"containers with unready status: [{' '.join(unready)}]"
    why_unready = ("PodCompleted", "") if phase == "Succeeded" else ("ContainersNotReady", unready_text)
    containers_ready = _condition(not ended and not unready, *why_unready)
    if containers_ready["status"] == "True" and closed:
        ready = _condition(False, "ReadinessGatesNotReady", f"readiness gates not met: {', '.join(closed)}")
    else:
        ready = dict(containers_ready)
    pending = [r.name for r in init if not r.succeeded]
    conditions = {
        "PodReadyToStartContainers": _condition(not ended, "PodCompleted", ""),
        "Initialized": _condition(
            initialized, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(pending)}]"
        ),
        "Ready": ready,
        "ContainersReady": containers_ready,
    }
    before = {c["type"]: c for c in previous.get("conditions") or ()}
    return {
        "phase": phase,
        "observedGeneration": generation,
        "hostIP": node_address,
        "hostIPs": [{"ip": node_address}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": previous.get("startTime") or stamp(now),
        "conditions": [_dated(kind, value, before.get(kind), generation, now) for kind, value in conditions.items()],
        "initContainerStatuses": [container_status(r) for r in init],
        "containerStatuses": [container_status(r) for r in main],
    }


def _condition(true: bool, reason: str, message: str) -> Json:
    if true:
        return {"status": "True"}
    return {"status": "False", "reason": reason, "message": message}


def _dated(kind: str, value: Json, before: Json | None, generation: int | None, now: dt.datetime) -> Json:
    unchanged = before is not None and before.get("status") == value["status"]
    since = before["lastTransitionTime"] if unchanged and before else stamp(now)
    plain = {"type": kind, "reason": None, "message": None, **value, "lastTransitionTime": since}
    return {**plain, "observedGeneration": generation}


def container_status(record: Record) -> Json:
    return {
        "name": record.name,
        "image": record.image,
        "imageID": record.image,
        "containerID": f"process://{record.name}-{record.restarts}",
        "state": _state(record.state),
        "lastState": _state(record.last) if record.last else {},
        "restartCount": record.restarts,
        "started": record.started,
        "ready": record.ready,
    }


def _state(state: State) -> Json:
    if isinstance(state, Waiting):
        return {"waiting": {"reason": state.reason, "message": state.message}}
    if isinstance(state, Running):
        return {"running": {"startedAt": state.since}}
    return {
        "terminated": {
            "exitCode": state.code,
            "reason": state.reason,
            "message": state.message,
            "startedAt": state.started,
            "finishedAt": state.finished,
        }
    }
