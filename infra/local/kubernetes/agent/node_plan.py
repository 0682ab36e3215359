"""Which nodes the node groups of EKS ask for, and how one looks as a Node object. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.kubernetes.agent.api import Json
from infra.local.kubernetes.agent.aws import Hardware
from infra.local.kubernetes.agent.clock import stamp

OWNED_LABEL = "penstock.dev/node-agent"
"""On every Node that this agent made; it touches no other."""
POWER = "penstock.dev/power"
"""Annotation: `off` takes the node's power. A drill sets it; all processes of the node end and nobody is told."""
APPLIED = "penstock.dev/node-group"
"""Annotation: the labels and taints that came from the group, so that what leaves the group leaves the node."""

PODS_PER_NODE = 58
"""What EKS allows on most instance types with three network interfaces."""
DEFAULT_DISK_GIB = 80
"""Where the disk is set in a launch template, which is not read here."""
KUBELET_VERSION = "v1.36.3"
TAINT_EFFECTS = {
    "NO_SCHEDULE": "NoSchedule",
    "NO_EXECUTE": "NoExecute",
    "PREFER_NO_SCHEDULE": "PreferNoSchedule",
}

Taint = dict[str, str]


@dataclass(frozen=True)
class NodePlan:
    """One node to be."""

    name: str
    group: str
    cluster: str
    zone: str
    instance_type: str
    hardware: Hardware
    spot: bool
    disk_gib: int = DEFAULT_DISK_GIB
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


def zone_counts(desired: int, zones: Iterable[str]) -> dict[str, int]:
    """Nodes per zone: as even as can be, the first zones (by name) taking the rest."""
    ordered = sorted(set(zones))
    if not ordered:
        return {}
    share, rest = divmod(desired, len(ordered))
    return {zone: share + (position < rest) for position, zone in enumerate(ordered)}


def plan_nodes(
    groups: Iterable[Mapping[str, Any]], zones: Mapping[str, str], hardware: Mapping[str, Hardware]
) -> list[NodePlan]:
    """The nodes of EKS node group descriptions. Groups that are being deleted, or whose subnets or instance types are
    not known yet, have none. A group takes the first of its instance types, as on-demand groups in EKS do."""
    plans: list[NodePlan] = []
    for group in groups:
        instance_type = next(iter(group.get("instanceTypes") or ()), "t3.medium")  # EKS's default type
        known = [zones[subnet] for subnet in group.get("subnets") or () if subnet in zones]
        if group.get("status") == "DELETING" or instance_type not in hardware:
            continue
        counts = zone_counts(int(group["scalingConfig"]["desiredSize"]), known)
        plans += [
            NodePlan(
                name=f"{group['nodegroupName'].lower()}-{zone[-1]}-{number}",
                group=group["nodegroupName"],
                cluster=group["clusterName"],
                zone=zone,
                instance_type=instance_type,
                hardware=hardware[instance_type],
                spot=group.get("capacityType") == "SPOT",
                disk_gib=group.get("diskSize") or DEFAULT_DISK_GIB,
                labels=group.get("labels") or {},
                taints=tuple(_taint(taint) for taint in group.get("taints") or ()),
            )
            for zone, count in counts.items()
            for number in range(1, count + 1)
        ]
    return list({plan.name: plan for plan in reversed(plans)}.values())[::-1]  # of two equal names the first counts


def _taint(taint: Mapping[str, str]) -> Taint:
    effect = taint["effect"]
    plain = {"key": taint["key"], "effect": TAINT_EFFECTS.get(effect, effect)}
    return {**plain, "value": taint["value"]} if taint.get("value") else plain


def labels_of(plan: NodePlan) -> dict[str, str]:
    """What EKS, the kubelet and the cloud's controllers put on a node, and the group's own labels."""
    return {
        **plan.labels,
        OWNED_LABEL: "true",
        "topology.kubernetes.io/zone": plan.zone,
        "topology.kubernetes.io/region": plan.zone[:-1],
        "node.kubernetes.io/instance-type": plan.instance_type,
        "eks.amazonaws.com/nodegroup": plan.group,
        "eks.amazonaws.com/capacityType": "SPOT" if plan.spot else "ON_DEMAND",
        "karpenter.sh/capacity-type": "spot" if plan.spot else "on-demand",
        "kubernetes.io/hostname": plan.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }


def applied_of(plan: NodePlan) -> str:
    """The annotation's text: label keys, taint keys and effects that the group owns."""
    owned = {"labels": sorted(plan.labels), "taints": sorted(f"{t['key']}:{t['effect']}" for t in plan.taints)}
    return json.dumps(owned, separators=(",", ":"))


def capacity(hardware: Hardware, disk_gib: int) -> dict[str, str]:
    """As the catalogue says, though this machine is smaller: the scheduler then places as it would on AWS."""
    resources = {
        "cpu": str(hardware.vcpus),
        "memory": f"{hardware.memory_mib * 1024}Ki",
        "ephemeral-storage": f"{disk_gib}Gi",
        "pods": str(PODS_PER_NODE),
    }
    return {**resources, "nvidia.com/gpu": str(hardware.gpus)} if hardware.gpus else resources


def allocatable(hardware: Hardware, disk_gib: int) -> dict[str, str]:
    """Capacity less what EKS's node image reserves: CPU 6 % of the first core, 1 % of the second, 0.5 % of the next
    two, 0.25 % of the rest; memory 255 MiB + 11 MiB per pod, and 100 MiB for eviction (amazon-eks-ami)."""
    cores = hardware.vcpus
    reserved = 60 + 10 * (cores >= 2) + 5 * max(0, min(cores, 4) - 2) + 2.5 * max(0, cores - 4)
    memory_mib = hardware.memory_mib - 255 - 11 * PODS_PER_NODE - 100
    return {
        **capacity(hardware, disk_gib),
        "cpu": f"{cores * 1000 - int(reserved)}m",
        "memory": f"{max(memory_mib, 256) * 1024}Ki",
        "ephemeral-storage": f"{disk_gib * 9 // 10}Gi",
    }


def node_object(plan: NodePlan, address: str) -> Json:
    """The Node to create. `address` is the node's own, the first of its pods' range."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": plan.name,
            "labels": labels_of(plan),
            "annotations": {APPLIED: applied_of(plan)},
        },
        "spec": {"providerID": f"aws:///{plan.zone}/{plan.name}", "taints": list(plan.taints)},
        "status": {
            "capacity": capacity(plan.hardware, plan.disk_gib),
            "allocatable": allocatable(plan.hardware, plan.disk_gib),
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": plan.name}],
            "conditions": conditions(),
            "nodeInfo": {
                "architecture": "amd64",
                "operatingSystem": "linux",
                "osImage": "Penstock local node (processes)",
                "containerRuntimeVersion": "process://1",
                "kubeletVersion": KUBELET_VERSION,
                "kubeProxyVersion": "",
                "kernelVersion": "",
                "bootID": "",
                "machineID": plan.name,
                "systemUUID": plan.name,
            },
        },
    }


def conditions() -> list[Json]:
    now = stamp()
    stamps = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    good = [
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ]
    pressures = [{"type": t, "status": "False", "reason": r, "message": m, **stamps} for t, r, m in good]
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    return [*pressures, {**ready, **stamps}]


def node_patch(node: Json, plan: NodePlan) -> Json | None:
    """The merge patch that brings an existing node's labels and taints up to its group's, or None where they are.
    Labels and taints that others put there (a cordon, a drill, the node controller) stay."""
    metadata = node["metadata"]
    before = json.loads((metadata.get("annotations") or {}).get(APPLIED) or '{"labels":[],"taints":[]}')
    wanted = labels_of(plan)
    have = metadata.get("labels") or {}
    labels: dict[str, str | None] = {key: value for key, value in wanted.items() if have.get(key) != value}
    labels |= {key: None for key in before["labels"] if key in have and key not in wanted}
    present = (node.get("spec") or {}).get("taints") or []
    owned = {*before["taints"], *(f"{t['key']}:{t['effect']}" for t in plan.taints)}
    others = [taint for taint in present if f"{taint['key']}:{taint['effect']}" not in owned]
    ours = [taint for taint in present if taint not in others]
    taints_differ = sorted(map(json.dumps, map(_sorted, ours))) != sorted(map(json.dumps, map(_sorted, plan.taints)))
    applied = applied_of(plan)
    if not labels and not taints_differ and (metadata.get("annotations") or {}).get(APPLIED) == applied:
        return None
    patch: Json = {"metadata": {"labels": labels, "annotations": {APPLIED: applied}}}
    if taints_differ:
        patch["spec"] = {"taints": [*others, *plan.taints]}
        patch["metadata"]["resourceVersion"] = metadata["resourceVersion"]  # the list is replaced as a whole
    return patch


def _sorted(taint: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in sorted(taint.items()) if value and key != "timeAdded"}


def powered(node: Json) -> bool:
    return (node["metadata"].get("annotations") or {}).get(POWER) != "off"


def not_ready(node: Json) -> bool:
    """Whether others see the node as dead, as they do after the agent was away."""
    states = {c["type"]: c["status"] for c in (node.get("status") or {}).get("conditions") or ()}
    return states.get("Ready") != "True"


def index_of(node: Json) -> int | None:
    """The node's number, read back from its address 127.S.(16 + index).1; None where it has none."""
    for address in (node.get("status") or {}).get("addresses") or ():
        octets = address["address"].split(".")
        if address["type"] == "InternalIP" and len(octets) == 4:
            return int(octets[2]) - 16
    return None
