"""Parts of a pod's manifest: where it may run, how it is asked and stopped, what it may do. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

PART_OF = "penstock"
POOL_LABEL = "penstock.dev/pool"
DEVICE_PLUGIN_LABEL = "penstock.dev/device-plugin"
"""`needed` on GPU nodes whose image does not carry NVIDIA's device plugin."""
NODE_COLOUR_LABEL = "penstock.dev/node-colour"
"""On nodes that belong to one colour alone."""
UNPRIVILEGED_USER = 10001
INTERACTIVE_PRIORITY_CLASS = "penstock-interactive"
BATCH_PRIORITY_CLASS = "penstock-batch"

Manifest = dict[str, Any]


class DrainShape(TypedDict):
    pre_stop_seconds: int
    """Sleep before SIGTERM, in which the pod leaves the endpoints: no shorter than the probes take to notice."""
    engine_shutdown_seconds: int
    """How long an engine lets requests end after SIGTERM; of the engines vLLM alone takes it."""
    grace_seconds: int
    """From the start of the sleep to SIGKILL: longer than the sleep and the end of requests together."""


class ProbesShape(TypedDict):
    period_seconds: int
    """How often each pod is asked."""
    timeout_seconds: int
    """An answer that takes longer is a failed one."""
    failure_threshold: int
    """Failures in a row until a pod is not ready; three times as many restart it."""
    gateway_startup_seconds: int
    """A gateway is restarted when it does not answer by then."""


def device_plugin_label(ami_type: str) -> dict[str, str]:
    """Amazon Linux's NVIDIA images have the driver and the runtime, and not the plugin (EKS best practices)."""
    needed = "NVIDIA" in ami_type and not ami_type.startswith("BOTTLEROCKET")
    return {DEVICE_PLUGIN_LABEL: "needed"} if needed else {}


def from_field(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def from_secret(name: str, secret: Any, key: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def size(cpu_millicores: int, memory_mib: int) -> Manifest:
    return {"cpu": f"{cpu_millicores}m", "memory": f"{memory_mib}Mi"}


def pre_stop(drain: DrainShape) -> Manifest:
    return {"preStop": {"sleep": {"seconds": drain["pre_stop_seconds"]}}}


def http_probes(startup: str, ready: str, live: str, probes: ProbesShape, startup_seconds: int) -> Manifest:
    period = probes["period_seconds"]

    def probe(path: str, failures: int) -> Manifest:
        return {
            "httpGet": {"path": path, "port": "http"},
            "periodSeconds": period,
            "timeoutSeconds": probes["timeout_seconds"],
            "failureThreshold": failures,
        }

    return {
        "startupProbe": probe(startup, -(-startup_seconds // period)),
        "readinessProbe": probe(ready, probes["failure_threshold"]),
        # A busy engine must not be killed for being slow to answer.
        "livenessProbe": probe(live, probes["failure_threshold"] * 3),
    }


def only_pools(pools: Sequence[str]) -> Manifest:
    wanted = {"key": POOL_LABEL, "operator": "In", "values": list(pools)}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
        }
    }


def spread(key: str, mine: Mapping[str, str], *, at_least: int = 0) -> Manifest:
    """Even over the zones that have usable nodes; pods wait until `at_least` zones have some.

    A lost zone's nodes carry taints, and honouring these lets its pods go to the zones that are left. So `at_least` is
    one less than the zones: all of them would hold those pods back.
    """
    spread = {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule" if at_least else "ScheduleAnyway",
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": dict(mine)},
        "matchLabelKeys": ["pod-template-hash"],
    }
    return {**spread, "minDomains": at_least} if at_least else spread


def zones_to_wait_for(replicas: int, zones: int) -> int:
    """All but one, where there are replicas for all; else placing is best effort."""
    return max(1, zones - 1) if replicas >= zones else 0


def pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": UNPRIVILEGED_USER,
        "runAsGroup": UNPRIVILEGED_USER,
        "fsGroup": UNPRIVILEGED_USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, read_only: bool) -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
    }
