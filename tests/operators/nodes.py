"""Karpenter's core as a process, with its own pretended cloud (kwok) in place of EC2."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from components import karpenter_manifests as karpenter
from components.definitions import open_definition
from components.karpenter_manifests import AWS_GROUP, NAME, NAMESPACE, NODE_CLASS, PoolShape
from components.manifests import ZONE_LABEL
from components.pods import POOL_LABEL
from tests.gateway.simulators import free_port
from tests.operators.plane import Json, Plane, eventually, variables
from tests.unit.karpenter_cases import POOL

GROUP, KIND = "karpenter.kwok.sh", "KWOKNodeClass"
ENGINES = "engines"
"""The namespace of engines here."""
ZONES = ("eu-central-1a", "eu-central-1b", "eu-central-1c")
SPOT_USD, ON_DEMAND_USD = 0.9, 2.0


@dataclass(frozen=True)
class Type:
    """An instance type of the pretended cloud."""

    name: str
    gpus: int
    capacities: Sequence[str] = ("spot", "on-demand")
    """Without spot here, spot is dry: the pretended cloud cannot refuse what it lists."""

    def listed(self) -> Json:
        prices = {"spot": SPOT_USD * self.gpus, "on-demand": ON_DEMAND_USD * self.gpus}
        return {
            "name": self.name,
            "architecture": "amd64",
            "operatingSystems": ["linux"],
            "resources": {
                "cpu": "16",
                "memory": "128Gi",
                "ephemeral-storage": "200Gi",
                "nvidia.com/gpu": str(self.gpus),
            },
            "offerings": [
                {
                    "Price": prices[capacity],
                    "Available": True,
                    "Requirements": [
                        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [capacity]},
                        {"key": ZONE_LABEL, "operator": "In", "values": [zone]},
                    ],
                }
                for capacity in self.capacities
                for zone in ZONES
            ],
        }


POOLS: PoolShape = {**POOL, "zones": ZONES}
NORMAL = (Type("g6e.2xlarge", 1),)
DRY = (Type("g6e.2xlarge", 1, ("on-demand",)),)


def adapted(pool: Json, *, budgets: Sequence[Json] | None = None) -> Json:
    """A NodePool of the program's for the pretended cloud: another class of nodes, and no half hour of patience."""
    template = pool["template"]
    spec = {**template["spec"], "nodeClassRef": {"group": GROUP, "kind": KIND, "name": NODE_CLASS}}
    disruption = {**pool["disruption"], "consolidateAfter": "5s"}
    if budgets is not None:
        disruption["budgets"] = list(budgets)
    return {**pool, "template": {**template, "spec": spec}, "disruption": disruption}


def rules() -> list[Json]:
    """The program's, with the class of nodes changed. Here Karpenter makes the Node itself, as no kubelet does."""
    found = [
        {
            **each,
            "apiGroups": [GROUP if group == AWS_GROUP else group for group in each["apiGroups"]],
            "resources": [name.replace("ec2nodeclasses", "kwoknodeclasses") for name in each["resources"]],
        }
        for each in karpenter.cluster_rules()
    ]
    return [*found, {"apiGroups": [""], "resources": ["nodes"], "verbs": ["create"]}]


@dataclass
class Provisioner:
    plane: Plane
    environment: dict[str, str]

    def offer(self, types: Sequence[Type]) -> None:
        """What the cloud has from now on. Karpenter reads that when it starts."""
        (self.plane.layout.state / "types.json").write_text(json.dumps([each.listed() for each in types]))
        known = self.plane.processes.children.get("karpenter")
        if known is not None:
            known.stop()
        words = [str(self.plane.toolchain.path("karpenter-kwok"))]
        child = self.plane.processes.start("karpenter", words, environment=self.environment)
        child.wait_until(lambda: True, 1)

    def pools(self, *, budgets: Sequence[Json] | None = None, **changes: Any) -> None:
        shape: Any = {**POOLS, **changes}
        for name, (_, pool) in karpenter.node_pools(shape).items():
            self.plane.apply(
                {
                    "apiVersion": f"{karpenter.CORE_GROUP}/v1",
                    "kind": "NodePool",
                    "metadata": {"name": name},
                    "spec": adapted(pool, budgets=budgets),
                }
            )

    def nodes(self) -> list[Json]:
        """Of Karpenter's, and not on their way out."""
        found = self.plane.call("GET", f"/api/v1/nodes?labelSelector={POOL_LABEL}")["items"]
        return [node for node in found if "deletionTimestamp" not in node["metadata"]]

    def capacities(self) -> list[str]:
        return sorted(node["metadata"]["labels"]["karpenter.sh/capacity-type"] for node in self.nodes())

    def placed(self) -> dict[str, str]:
        """Pods that run, and the kind of capacity that each is on."""
        kinds = {
            node["metadata"]["name"]: node["metadata"]["labels"]["karpenter.sh/capacity-type"] for node in self.nodes()
        }
        found = self.plane.call("GET", f"/api/v1/namespaces/{ENGINES}/pods")["items"]
        return {
            pod["metadata"]["name"]: kinds[pod["spec"]["nodeName"]]
            for pod in found
            if pod["status"]["phase"] == "Running"
            and pod["spec"].get("nodeName") in kinds
            and "deletionTimestamp" not in pod["metadata"]
        }

    def until(self, what: str, condition: Any, seconds: float = 150.0) -> None:
        child = self.plane.processes.children["karpenter"]

        def looked() -> Any:
            assert child.running, f"Karpenter ended: {child.last_words(20)}"
            return condition()

        eventually(looked, what, seconds)

    def clear(self) -> None:
        """Nothing is left of what a test made."""
        self.plane.kubectl("delete", "deployments", "--all", "-n", ENGINES, "--wait=false")
        self.plane.kubectl("delete", "nodepools.karpenter.sh", "--all", "--wait=false")
        self.until(
            "no node is left", lambda: not self.plane.call("GET", f"/api/v1/nodes?labelSelector={POOL_LABEL}")["items"]
        )


@contextmanager
def start_karpenter(plane: Plane) -> Generator[Provisioner]:
    plane.define({"class": open_definition(GROUP, "v1alpha1", KIND, "kwoknodeclasses", "kwoknodeclass")})
    plane.apply(
        {"apiVersion": f"{GROUP}/v1alpha1", "kind": KIND, "metadata": {"name": NODE_CLASS}, "spec": {}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ENGINES}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "engine", "namespace": ENGINES}},
        *(
            {
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": {"name": name}, "value": value, "globalDefault": False,
            }
            for name, value in (("penstock-interactive", 1000), ("penstock-batch", 100))
        ),
    )  # fmt: skip
    ready = {
        "type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2024-01-01T01:01:01Z",
    }  # fmt: skip
    plane.merge(f"/apis/{GROUP}/v1alpha1/kwoknodeclasses/{NODE_CLASS}/status", {"status": {"conditions": [ready]}})
    known = plane.identity(
        NAME,
        NAMESPACE,
        rules(),
        [(NAMESPACE, karpenter.own_rules()), ("kube-node-lease", karpenter.lease_rules())],
    )
    described = karpenter.deployment(
        image="", replicas=1, cluster="test", region="eu-central-1", queue="", isolated=False
    )
    (container,) = described["spec"]["template"]["spec"]["containers"]
    own = {
        "KUBECONFIG": str(known),
        "SYSTEM_NAMESPACE": NAMESPACE,
        "LEADER_ELECTION_NAMESPACE": NAMESPACE,  # in a cluster it is read from the account's folder
        "METRICS_PORT": str(free_port()),
        "HEALTH_PROBE_PORT": str(free_port()),
        "INSTANCE_TYPES_FILE_PATH": str(plane.layout.state / "types.json"),
        "HOME": str(plane.layout.state),
        "GOGC": "50",
    }
    yield Provisioner(plane, variables(container) | own)
