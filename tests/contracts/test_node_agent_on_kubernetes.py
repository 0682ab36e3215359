"""The node agent under a real control plane: the real scheduler places, the real controllers roll, the agent runs."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.local.control_plane import api_server_ready, start_controllers, start_storage
from infra.local.layout import STATE_VARIABLE, Layout
from infra.local.processes import Processes
from infra.local.toolchain.find import Toolchain
from tests.contracts.control_planes import a_free_slot, toolchain

pytestmark = [pytest.mark.toolchain, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).resolve().parents[2]
REGION = "eu-central-1"
PORT = 8080
ZONES = {f"{REGION}{letter}" for letter in "abc"}
GATE = "target-health.elbv2.k8s.aws/web"


def eventually(predicate: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.1)
    return value


@dataclass
class Platform:
    layout: Layout
    toolchain: Toolchain
    processes: Processes

    def kubectl(self, *arguments: str, text: str = "") -> str:
        command = [str(self.toolchain.path("kubectl")), "--kubeconfig", str(self.layout.admin_kubeconfig), *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def items(self, kind: str) -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", kind, "-o", "json"))["items"]

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def client(self, service: str) -> Any:
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.layout.aws_url, aws_access_key_id="penstock-local",
            aws_secret_access_key="penstock-local",
        )  # fmt: skip

    def start_agent(self) -> int:
        environment = {STATE_VARIABLE: str(self.layout.state), "PATH": os.environ["PATH"], "AWS_REGION": REGION}
        child = self.processes.start(
            "agent",
            [sys.executable, "-m", "infra.local.kubernetes.agent"],
            environment=environment,
            cwd=CHECKOUT,
        )
        return child.process.pid

    def ready_pods(self) -> list[dict[str, Any]]:
        """Ready and not on their way out."""
        return [p for p in self.items("pods") if ready(p) and "deletionTimestamp" not in p["metadata"]]


def ready(pod: dict[str, Any]) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in pod["status"].get("conditions", ()) if c["type"] == kind), {})


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    tools = toolchain()
    layout = Layout(CHECKOUT, tmp_path_factory.mktemp("platform"), a_free_slot())
    layout.save()
    processes = Processes(layout.logs)
    made = Platform(layout, tools, processes)
    environment = {STATE_VARIABLE: str(layout.state), "PATH": os.environ["PATH"]}
    try:
        api_server = start_storage(layout, tools, processes)
        aws = [sys.executable, "-m", "infra.local.aws.server"]
        cloud = processes.start("aws", aws, environment=environment, cwd=CHECKOUT)
        api_server.wait_until(api_server_ready(layout), 180)
        start_controllers(layout, tools, processes)
        cloud.wait_until(lambda: answers(f"{layout.aws_url}/_penstock/health"), 180)
        make_cluster(made)
        made.start_agent()
        eventually(lambda: len(made.items("nodes")) == 3)
        yield made
    finally:
        processes.stop_all()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - http to our own server
            return reply.status == 200
    except OSError:
        return False


def make_cluster(platform: Platform) -> None:
    ec2, eks, iam = platform.client("ec2"), platform.client("eks"), platform.client("iam")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for n, zone in enumerate(sorted(ZONES))
    ]
    services = {"Service": ["eks.amazonaws.com", "ec2.amazonaws.com"]}
    allow = {"Effect": "Allow", "Principal": services, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    role = iam.create_role(RoleName="nodes", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    eks.create_cluster(name="penstock", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    eks.create_nodegroup(
        clusterName="penstock", nodegroupName="gpu", nodeRole=role, subnets=subnets, instanceTypes=["g6.xlarge"],
        scalingConfig={"minSize": 0, "maxSize": 6, "desiredSize": 3}, amiType="AL2023_x86_64_NVIDIA",
    )  # fmt: skip


def deployment(version: str = "1", gate: bool = False) -> dict[str, Any]:
    """Three web servers, one per zone, each on its own address, each with a GPU."""
    command = ["python", "-m", "http.server", str(PORT), "--bind", "$(POD_IP)", "--directory", "/etc/web"]
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    probe = {"httpGet": {"path": "/index.html", "port": "http"}, "periodSeconds": 2}
    container = {
        "name": "web",
        "image": "registry.example/web",
        "command": command,
        "env": [address, {"name": "VERSION", "value": version}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": probe,
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "volumeMounts": [{"name": "page", "mountPath": "/etc/web"}],
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    spec = {
        "containers": [container],
        "topologySpreadConstraints": [spread],
        "terminationGracePeriodSeconds": 10,
        "readinessGates": [{"conditionType": GATE}] if gate else [],
        "volumes": [{"name": "page", "configMap": {"name": "page"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 3,
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec},
        },
    }


PAGE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "page", "namespace": "default"},
    "data": {"index.html": "hello"},
}


@pytest.fixture
def web(platform: Platform) -> Iterator[Platform]:
    platform.apply(PAGE, deployment())
    eventually(lambda: len(platform.ready_pods()) == 3)
    yield platform
    platform.kubectl("delete", "deployment", "web", "--wait=false")
    eventually(lambda: not platform.items("pods"))
    assert not list(platform.layout.pods.iterdir()), "a pod that is gone leaves no files"


def test_a_deployment_is_spread_over_the_zones_and_serves_at_its_pods_addresses(web: Platform) -> None:
    pods = web.ready_pods()
    assert {pod["metadata"]["labels"]["topology.kubernetes.io/zone"] for pod in pods} == ZONES
    for pod in pods:
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:{PORT}/index.html", timeout=10) as reply:
            assert reply.read() == b"hello"
    log = (web.layout.logs / "agent.log").read_text()
    delays = [started_after(pod, log) for pod in pods]
    print(f"from the agent's first sight of a pod to its process: {max(delays) * 1000:.0f} ms at most (aim: 1 s)")


def started_after(pod: dict[str, Any], log: str) -> float:
    """Seconds between two lines of the agent's log: the pod is seen, its container is started."""
    lines = [line for line in log.splitlines() if pod["metadata"]["name"] in line]
    taken = next(line for line in lines if "pod.taken" in line)
    started = next(line for line in lines if "reason=Started" in line)
    first, last = (dt.datetime.strptime(line[:23] + "000Z", "%Y-%m-%d %H:%M:%S,%f%z") for line in (taken, started))
    return (last - first).total_seconds()


def test_a_rollout_replaces_every_pod_and_reuses_no_address(web: Platform) -> None:
    before = {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in web.ready_pods()}
    web.apply(deployment(version="2"))
    web.kubectl("rollout", "status", "deployment/web", "--timeout=200s")
    after = {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in web.ready_pods()}
    assert len(after) == 3
    assert not before.keys() & after.keys()
    assert not set(before.values()) & set(after.values())


def test_pods_of_a_killed_agent_end_with_it_and_are_started_by_the_next(web: Platform) -> None:
    before = {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in web.ready_pods()}
    agent = web.processes.children["agent"].process
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait(10)
    eventually(lambda: not any(open_port(address) for address in before.values()))
    web.start_agent()
    restarted = eventually(
        lambda: (
            [p for p in web.ready_pods() if p["status"]["containerStatuses"][0]["restartCount"] == 1]
            if len(web.ready_pods()) == 3
            else None
        )
    )
    assert {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in restarted} == before


def open_port(address: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, PORT)) == 0


def test_a_scaled_down_node_group_loses_a_node_and_its_pod(web: Platform) -> None:
    size = {"minSize": 0, "maxSize": 6}
    try:
        web.client("eks").update_nodegroup_config(
            clusterName="penstock", nodegroupName="gpu", scalingConfig={**size, "desiredSize": 2}
        )
        eventually(lambda: len(web.items("nodes")) == 2)
        zones = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in web.items("nodes")}
        assert zones == {f"{REGION}a", f"{REGION}b"}
        assert len(web.ready_pods()) == 2
    finally:
        web.client("eks").update_nodegroup_config(
            clusterName="penstock", nodegroupName="gpu", scalingConfig={**size, "desiredSize": 3}
        )
        eventually(lambda: len(web.ready_pods()) == 3)


def test_a_target_group_follows_the_ready_pods_and_opens_their_gate(web: Platform) -> None:
    balancer, ec2 = web.client("elbv2"), web.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.0.0.0/16"]}])["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    group = balancer.create_target_group(
        Name="web", Protocol="HTTP", Port=PORT, VpcId=vpc, TargetType="ip", HealthCheckPath="/index.html",
        HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2,
    )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
    made = balancer.create_load_balancer(Name="web", Subnets=[subnet["SubnetId"] for subnet in subnets])
    balancer.create_listener(
        LoadBalancerArn=made["LoadBalancers"][0]["LoadBalancerArn"], Protocol="HTTP", Port=PORT,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )  # fmt: skip

    def targets() -> set[str]:
        health = balancer.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"] for entry in health if entry["TargetHealth"]["State"] != "draining"}

    service = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    web.apply(
        crd(),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": service},
    )
    web.kubectl("wait", "--for=condition=Established", "crd/targetgroupbindings.elbv2.k8s.aws", "--timeout=120s")
    web.apply(
        {
            "apiVersion": "elbv2.k8s.aws/v1beta1",
            "kind": "TargetGroupBinding",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"targetGroupARN": group, "targetType": "ip", "serviceRef": {"name": "web", "port": 80}},
        }
    )
    eventually(lambda: targets() == {pod["status"]["podIP"] for pod in web.ready_pods()})
    gated = deployment(version="3", gate=True)
    gated["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = 3  # each new target takes two health checks
    web.apply(gated)
    web.kubectl("rollout", "status", "deployment/web", "--timeout=220s")
    eventually(lambda: len(targets()) == 3 and targets() == {pod["status"]["podIP"] for pod in web.ready_pods()})
    assert all(condition(pod, GATE)["status"] == "True" for pod in web.ready_pods())

    web.kubectl("delete", "targetgroupbinding", "web", "--timeout=120s")
    assert targets() == set(), "a binding lets go of its targets before it is gone"


def crd() -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    kind = "TargetGroupBinding"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "targetgroupbindings.elbv2.k8s.aws"},
        "spec": {
            "group": "elbv2.k8s.aws",
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "plural": "targetgroupbindings",
                "singular": kind.lower(),
                "listKind": f"{kind}List",
            },
            "versions": [version],
        },
    }
