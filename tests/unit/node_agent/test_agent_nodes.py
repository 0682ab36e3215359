"""Nodes kept equal to node groups, against an API server in memory and a cloud that is a list."""

import asyncio
import contextlib

import pytest

from infra.local.kubernetes.agent.aws import AwsError, Hardware
from infra.local.kubernetes.agent.events import Events
from infra.local.kubernetes.agent.kubelet import Kubelet
from infra.local.kubernetes.agent.node_plan import POWER
from infra.local.kubernetes.agent.nodes import Nodes, NodeServices
from infra.local.kubernetes.agent.pod import Services
from infra.local.kubernetes.agent.store import Store
from infra.ops.drill.place import in_folder

NODES, PODS, LEASES = "/api/v1/nodes", "/api/v1/pods", "/apis/coordination.k8s.io/v1/leases"


class Cloud:
    def __init__(self):
        self.groups = {"system": 3}
        self.away = False
        self.empty = False

    async def clusters(self):
        if self.away:
            raise AwsError("ClientConnectorError", "refused")
        return [] if self.empty else ["penstock"]

    async def node_groups(self, cluster):
        return [
            {
                "nodegroupName": name,
                "clusterName": cluster,
                "scalingConfig": {"desiredSize": size},
                "instanceTypes": ["m7i.large"],
                "subnets": ["a", "b", "c"],
            }
            for name, size in self.groups.items()
        ]

    async def subnet_zones(self, subnets):
        return {subnet: f"eu-central-1{subnet}" for subnet in subnets}

    async def hardware(self, types):
        return {name: Hardware(2, 8192, 0) for name in types}


@pytest.fixture
def cloud():
    return Cloud()


@pytest.fixture
async def nodes(server, api, layout, options, running, cloud):
    events = Events(api)
    stores = {kind: Store(api, f"/api/v1/{kind}") for kind in ("nodes", "pods", "configmaps", "secrets")}
    services = Services(api, events, layout, options)
    kubelet = Kubelet(services, stores["pods"], stores["configmaps"], stores["secrets"])
    reconciler = Nodes(NodeServices(api, cloud, events, layout, options), stores["nodes"], stores["pods"], kubelet)
    for loop in (*(store.run for store in stores.values()), events.run, reconciler.run, reconciler.heartbeat):
        running(loop())
    yield reconciler
    await kubelet.close()


def names(server, collection=NODES):
    return sorted(key.strip("/") for kind, key in server.objects if kind == collection)


def bound_pod(node):
    container = {"name": "main", "image": "x", "command": ["python", "-c", "import time; time.sleep(60)"]}
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 5}
    return {"metadata": {"name": "web", "namespace": "penstock"}, "spec": spec, "status": {}}


async def test_nodes_come_with_their_heartbeats(server, nodes, eventually):
    await eventually(lambda: names(server) == ["system-a-1", "system-b-1", "system-c-1"])
    await eventually(lambda: len(names(server, LEASES)) == 3)
    key = f"kube-node-lease/{'system-a-1'}"
    first = server.get(LEASES, key)["spec"]["renewTime"]
    await eventually(lambda: server.get(LEASES, key)["spec"]["renewTime"] > first)
    addresses = {node["status"]["addresses"][0]["address"] for (k, _), node in server.objects.items() if k == NODES}
    assert len(addresses) == 3


async def test_a_scaled_down_node_is_cordoned_evicted_and_removed(server, nodes, cloud, eventually):
    await eventually(lambda: len(names(server)) == 3)
    server.put(PODS, bound_pod("system-c-1"))
    await eventually(lambda: (server.get(PODS, "penstock/web")["status"].get("phase")) == "Running")
    cloud.groups["system"] = 2
    await eventually(lambda: names(server) == ["system-a-1", "system-b-1"])
    assert server.sent("POST", "/pods/web/eviction")
    assert server.get(PODS, "penstock/web") is None
    assert {"spec": {"unschedulable": True}} in server.sent("PATCH", "/nodes/system-c-1")
    await eventually(lambda: "kube-node-lease/system-c-1" not in names(server, LEASES))


async def test_the_nodes_of_a_deleted_group_do_not_wait_for_disruption_budgets(server, nodes, cloud, eventually):
    await eventually(lambda: len(names(server)) == 3)
    server.put(PODS, bound_pod("system-a-1"))
    await eventually(lambda: (server.get(PODS, "penstock/web")["status"].get("phase")) == "Running")
    cloud.groups.clear()
    await eventually(lambda: names(server) == [])
    assert not server.sent("POST", "/eviction")


async def test_a_cloud_that_is_away_or_has_lost_its_memory_ends_no_running_pod(
    server, nodes, cloud, eventually, options
):
    await eventually(lambda: len(names(server)) == 3)
    server.put(PODS, bound_pod("system-a-1"))
    await eventually(lambda: (server.get(PODS, "penstock/web")["status"].get("phase")) == "Running")
    cloud.away = True
    with contextlib.suppress(AssertionError):
        await eventually(lambda: len(names(server)) < 3, seconds=0.3)
    assert len(names(server)) == 3
    cloud.away, cloud.empty = False, True
    await eventually(lambda: names(server) == ["system-a-1"])
    assert server.get(PODS, "penstock/web")["status"]["phase"] == "Running"


async def test_a_node_that_somebody_deleted_comes_back(server, nodes, eventually):
    await eventually(lambda: len(names(server)) == 3)
    server.remove(NODES, "/system-b-1")
    assert len(names(server)) == 2
    await eventually(lambda: len(names(server)) == 3)


async def test_a_node_that_was_declared_dead_is_reported_ready_again(server, nodes, eventually):
    await eventually(lambda: len(names(server)) == 3)
    node = server.get(NODES, "/system-a-1")
    for condition in node["status"]["conditions"]:
        condition["status"] = "Unknown"
    server.put(NODES, node)
    await eventually(
        lambda: (
            {c["type"]: c["status"] for c in server.get(NODES, "/system-a-1")["status"]["conditions"]}["Ready"]
            == "True"
        )
    )


async def test_a_node_without_power_runs_nothing_and_says_nothing_until_it_has_power_again(
    server, nodes, layout, eventually
):
    def power(value):
        node = server.get(NODES, "/system-a-1")
        node["metadata"]["annotations"] = {**node["metadata"].get("annotations", {}), POWER: value}
        server.put(NODES, node)

    def lease():
        return server.get(LEASES, "kube-node-lease/system-a-1")["spec"]["renewTime"]

    await eventually(lambda: len(names(server, LEASES)) == 3)
    server.put(PODS, bound_pod("system-a-1"))
    await eventually(lambda: (server.get(PODS, "penstock/web")["status"].get("phase")) == "Running")
    first = await eventually(lambda: in_folder(layout.pods))
    await asyncio.sleep(0.2)
    told = len(server.sent("PATCH", "/pods/web/status"))

    power("off")
    await eventually(lambda: not in_folder(layout.pods), seconds=1.0)
    await asyncio.sleep(0.1)
    beat = lease()
    await asyncio.sleep(0.5)
    assert lease() == beat
    assert len(server.sent("PATCH", "/pods/web/status")) == told
    assert server.get(PODS, "penstock/web")["status"]["phase"] == "Running", "nobody told the API server"

    power("on")
    second = await eventually(lambda: in_folder(layout.pods))
    assert second != first
    await eventually(lambda: lease() > beat)
