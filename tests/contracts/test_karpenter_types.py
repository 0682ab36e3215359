"""A real API server takes pools and node classes as the program writes them, and refuses what Karpenter does not know.

Objects are applied by the server (SSA), as Pulumi's provider does: there an unknown field is an error, and not dropped.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from components.karpenter_manifests import AWS_GROUP, CORE_GROUP, definitions, node_class, node_pools
from infra.local.control_plane import api_server_ready, start_storage
from infra.local.layout import Layout
from infra.local.processes import Processes
from tests.contracts.control_planes import a_free_slot, toolchain
from tests.contracts.test_kubernetes_provider import CHECKOUT, READY_SECONDS, Cluster
from tests.unit.settings_cases import put
from tests.unit.test_reservations import POOLS

pytestmark = [pytest.mark.toolchain, pytest.mark.timeout(600)]

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    layout = Layout(CHECKOUT, tmp_path_factory.mktemp("cluster"), a_free_slot())
    layout.save()
    processes, tools = Processes(layout.logs), toolchain()
    try:
        start_storage(layout, tools, processes).wait_until(api_server_ready(layout), READY_SECONDS)
        made = Cluster(layout, tools)
        names = {name: f"{spec['names']['plural']}.{spec['group']}" for name, spec in definitions().items()}
        for name, spec in definitions().items():
            head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
            status, said = applied(made, {**head, "metadata": {"name": names[name]}, "spec": spec}, "--server-side")
            assert status == 0, said
        made.kubectl(
            "wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in names.values())
        )
        yield made
    finally:
        processes.stop_all()


def applied(cluster: Cluster, manifest: Manifest, *options: str) -> tuple[int, str]:
    command = [
        str(cluster.toolchain.path("kubectl")), "--kubeconfig", str(cluster.layout.admin_kubeconfig),
        "apply", "--validate=strict", *options, "-f", "-",
    ]  # fmt: skip
    done = subprocess.run(command, input=json.dumps(manifest), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def pool(name: str = "gpu") -> Manifest:
    spec = copy.deepcopy(node_pools(POOLS)[name][1])
    return {"apiVersion": f"{CORE_GROUP}/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec}


def nodes() -> Manifest:
    spec = node_class(
        ami_alias="bottlerocket@v1.50.0", instance_profile="penstock", subnet_ids=["subnet-0a"],
        security_group_ids=["sg-0a"], volumes_key_arn="arn:aws:kms:eu-central-1:123456789012:key/a", volume_gib=300,
        tags={"project": "penstock"}, reservation_ids=["cr-0123456789abcdef0"],
    )  # fmt: skip
    return {"apiVersion": f"{AWS_GROUP}/v1", "kind": "EC2NodeClass", "metadata": {"name": "gpu"}, "spec": spec}


@pytest.mark.parametrize("made", [nodes, *(lambda name=name: pool(name) for name in node_pools(POOLS))])
def test_what_the_program_writes_is_taken_and_kept_whole(cluster: Cluster, made: Callable[[], Manifest]):
    manifest = made()
    status, said = applied(cluster, manifest, "--server-side")
    assert status == 0, said
    kind, name = manifest["kind"].lower(), manifest["metadata"]["name"]
    assert json.loads(cluster.kubectl("get", kind, name, "-o", "json"))["spec"] == manifest["spec"]


REQUIREMENTS = "spec.template.spec.requirements"


@pytest.mark.parametrize(
    ("made", "path", "value", "said"),
    [
        (pool, "spec.wieght", 10, ".spec.wieght: field not declared in schema"),
        (pool, "spec.template.spec.expireafter", "1h", "expireafter: field not declared in schema"),
        (pool, "spec.weight", 101, "less than or equal to 100"),
        (pool, "spec.weight", "heavy", "expected numeric"),
        (pool, "spec.disruption.consolidationPolicy", "WhenUnderutilized", "Unsupported value"),
        (pool, "spec.disruption.budgets.0.schedule", "0 6 * * *", "schedule and duration stand together"),
        (pool, "spec.template.spec.terminationGracePeriod", "24", "should match"),
        (pool, "spec.template.spec.nodeClassRef", {"kind": "EC2NodeClass", "name": "gpu"}, "Required value"),
        (pool, f"{REQUIREMENTS}.0.operator", "Is", "Unsupported value"),
        (pool, f"{REQUIREMENTS}.0.values", [], "In needs values"),
        (pool, "spec.template.spec.taints.0.effect", "NO_SCHEDULE", "Unsupported value"),
        (nodes, "spec.amiSelectorTerm", [], "amiSelectorTerm: field not declared in schema"),
        (nodes, "spec.metadataOptions.httpPutResponseHopLimit", 0, "greater than or equal to 1"),
        (nodes, "spec.metadataOptions.httpTokens", "requierd", "Unsupported value"),
        (nodes, "spec.capacityReservationSelectorTerms.0.id", "r-1", "should match"),
        (nodes, "spec.blockDeviceMappings.0.ebs.volumeSize", "300GiB", "should match"),
        (nodes, "spec.blockDeviceMappings.0.ebs.kmsKeyId", "arn", "kmsKeyId: field not declared in schema"),
        (nodes, "spec.subnetSelectorTerms", [], "should have at least 1 items"),
        (nodes, "spec.role", "node", "either role or instanceProfile"),
    ],
)
def test_what_karpenter_would_not_know_is_refused_by_the_api_server(
    cluster: Cluster, made: Callable[[], Manifest], path: str, value: Any, said: str
):
    manifest = made()
    manifest["metadata"]["name"] = "refused"
    put(path, value)(manifest)
    status, answer = applied(cluster, manifest, "--server-side", "--dry-run=server")
    assert status != 0
    assert said in answer
