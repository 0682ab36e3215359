"""Which targets a TargetGroupBinding wants, and what to change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.local.kubernetes.agent.api import Json
from infra.local.kubernetes.agent.aws import Target

GATE_PREFIX = "target-health.elbv2.k8s.aws"
FINALIZER = "elbv2.k8s.aws/resources"


def gate_of(binding: Json) -> str:
    """The readiness gate that a pod may declare to wait for its target's health."""
    return f"{GATE_PREFIX}/{binding['metadata']['name']}"


def declares(pod: Json, gate: str) -> bool:
    return any(g["conditionType"] == gate for g in pod["spec"].get("readinessGates") or ())


def condition(pod: Json, kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in (pod.get("status") or {}).get("conditions") or ())


def wanted_targets(binding: Json, service: Json | None, pods: Iterable[Json]) -> dict[Target, Json]:
    """Address and port -> pod, for each pod that the binding's service selects, that is ready and not terminating. A
    pod that declares the binding's gate needs ready containers only: the gate waits for this very registration. A
    service without a selector, or an unknown port, gives nothing."""
    selector = ((service or {}).get("spec") or {}).get("selector")
    if not service or not selector:
        return {}
    port = _service_port(service, binding["spec"]["serviceRef"]["port"])
    if port is None:
        return {}
    found: dict[Target, Json] = {}
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status") or {}
        chosen = metadata["namespace"] == binding["metadata"]["namespace"] and _selected(selector, metadata)
        needed = "ContainersReady" if declares(pod, gate_of(binding)) else "Ready"
        if not chosen or metadata.get("deletionTimestamp") or not status.get("podIP") or not condition(pod, needed):
            continue
        number = _pod_port(pod, port)
        if number is not None:
            found[status["podIP"], number] = pod
    return found


def _selected(selector: Mapping[str, str], metadata: Json) -> bool:
    labels = metadata.get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def _service_port(service: Json, wanted: int | str) -> Json | None:
    ports = service["spec"].get("ports") or ()
    return next((p for p in ports if wanted in (p["port"], p.get("name")) or str(p["port"]) == str(wanted)), None)


def _pod_port(pod: Json, port: Json) -> int | None:
    """The service port's target: a number, or the container port of that name."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for entry in container.get("ports") or ():
            if entry.get("name") == target:
                return entry["containerPort"]
    return int(target) if target.isdigit() else None


@dataclass(frozen=True)
class TargetChanges:
    """What to send: sorted, so that equal changes are equal requests."""

    register: tuple[Target, ...]
    deregister: tuple[Target, ...]

    def __bool__(self) -> bool:
        return bool(self.register or self.deregister)


def changes(wanted: Iterable[Target], registered: Iterable[Target]) -> TargetChanges:
    wanted, registered = set(wanted), set(registered)
    return TargetChanges(tuple(sorted(wanted - registered)), tuple(sorted(registered - wanted)))


def gates_to_open(binding: Json, wanted: Mapping[Target, Json], health: Mapping[Target, str]) -> list[Json]:
    """The pods that wait for the gate and whose target is healthy."""
    gate = gate_of(binding)
    waiting = {t: pod for t, pod in wanted.items() if declares(pod, gate) and not condition(pod, gate)}
    return [pod for target, pod in waiting.items() if health.get(target) == "healthy"]
