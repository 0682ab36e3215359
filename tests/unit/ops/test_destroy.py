"""`penstock destroy`: order, finalizers, interfaces, what is left. The whole of it runs in the rehearsals."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws

from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.destroy import cloud, finalizers, phases
from infra.ops.destroy.finalizers import Held, Kind, settle
from infra.ops.destroy.phases import PHASES, Item, plan
from infra.ops.destroy.watch import Watch
from infra.ops.errors import RefusedError
from infra.ops.stacks import StackAccess, State

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
CLAIM = Kind("karpenter.sh", "v1", "nodeclaims")
ORDER = [phase.name for phase in PHASES]


def item(path: str, name: str = "x", protected: bool = False) -> Item:
    return Item(f"urn:pulumi:prod::penstock::{path}::{name}", protected)


@pytest.mark.parametrize(
    ("path", "phase"),
    [
        ("penstock:index:Traffic$aws:lb/listenerRule:ListenerRule", "traffic"),
        ("aws:route53/record:Record", "traffic"),
        ("kubernetes:keda.sh/v1alpha1:ScaledObject", "scaling"),
        ("kubernetes:batch/v1:CronJob", "scaling"),
        ("penstock:index:Release$kubernetes:apps/v1:Deployment", "workloads"),
        ("kubernetes:batch/v1:Job", "workloads"),
        ("kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet", "workloads"),
        ("penstock:index:Karpenter$kubernetes:karpenter.sh/v1:NodePool", "node pools"),
        ("penstock:index:Karpenter$kubernetes:karpenter.k8s.aws/v1:EC2NodeClass", "node classes"),
        ("kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding", "bindings"),
        ("penstock:index:Karpenter$kubernetes:apps/v1:Deployment", "controllers"),
        ("penstock:index:LoadBalancerController$kubernetes:apps/v1:Deployment", "controllers"),
        ("kubernetes:core/v1:Namespace", "controllers"),
        ("penstock:index:NodeGroups$aws:eks/nodeGroup:NodeGroup", "nodes"),
        ("aws:eks/addon:Addon", "nodes"),
        ("aws:eks/cluster:Cluster", "cluster"),
        ("aws:eks/accessEntry:AccessEntry", "cluster"),
        ("aws:rds/instance:Instance", "data and services"),
        ("aws:lb/loadBalancer:LoadBalancer", "data and services"),
        ("aws:ec2/subnet:Subnet", "network"),
        ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "network"),
        ("pulumi:providers:kubernetes", "network"),
        ("penstock:index:Karpenter", "network"),
    ],
)
def test_each_resource_goes_in_its_phase(path: str, phase: str):
    assert [found.name for found, items in plan([item(path)]) if items] == [phase]


def test_a_plan_holds_everything_once_and_in_order():
    items = [item("aws:ec2/vpc:Vpc"), item("aws:eks/cluster:Cluster"), item("aws:lb/listenerRule:ListenerRule")]
    groups = plan(items)
    assert [phase.name for phase, _ in groups] == ORDER
    assert [each for _, group in groups for each in group] == items[::-1]


def test_what_pods_need_outlives_them():
    pods, controllers, nodes = ORDER.index("workloads"), ORDER.index("controllers"), ORDER.index("nodes")
    assert pods < ORDER.index("node pools") < ORDER.index("bindings") < controllers < nodes < ORDER.index("cluster")
    assert (ORDER[0], ORDER[-1]) == ("traffic", "network")


@dataclass
class World:
    gone: bool = False
    calls: list[str] = field(default_factory=list)

    def instance_gone(self, instance: str) -> bool:
        return self.gone

    def end_instance(self, instance: str) -> None:
        self.calls.append(f"end {instance}")

    def targets_gone(self, target_group: str) -> bool:
        return self.gone

    def take_targets_out(self, target_group: str) -> None:
        self.calls.append(f"out {target_group}")


def held(*names: str, seconds: float = 60.0, **more: str) -> Held:
    return Held(CLAIM, "one", "", names, NOW - dt.timedelta(seconds=seconds), **more)


def test_a_controller_has_its_time():
    assert settle(held("karpenter.sh/termination", seconds=9), NOW, 10, World(gone=True)) == ((), [])


def test_an_instance_is_ended_before_its_finalizer_is_taken_off():
    world = World()
    claim = held("karpenter.sh/termination", provider_id="aws:///eu-central-1a/i-0ab")
    assert settle(claim, NOW, 10, world) == ((), [])
    assert world.calls == ["end i-0ab"]
    world.gone = True
    off, freed = settle(claim, NOW, 10, world)
    assert off == ("karpenter.sh/termination",)
    assert freed[0].why == "i-0ab is terminated"


def test_targets_are_taken_out_before_their_binding_goes():
    world = World()
    binding = held("elbv2.k8s.aws/resources", target_group="arn:group")
    assert settle(binding, NOW, 10, world) == ((), [])
    assert world.calls == ["out arn:group"]
    world.gone = True
    assert settle(binding, NOW, 10, world)[0] == ("elbv2.k8s.aws/resources",)


def test_a_finalizer_that_nobody_knows_stays_and_is_named():
    claim = held("example.com/precious", "finalizer.keda.sh", "foregroundDeletion")
    off, _ = settle(claim, NOW, 0, World(gone=True))
    assert off == ("finalizer.keda.sh",)
    (said,) = finalizers.unknown([claim])
    assert "nodeclaims/one" in said
    assert "example.com/precious" in said


def test_only_what_is_being_deleted_counts_as_held():
    alive = {"metadata": {"name": "a", "finalizers": ["f"]}}
    going = {
        "metadata": {"name": "a", "finalizers": ["f"], "deletionTimestamp": "2026-11-21T11:59:00Z"},
        "status": {"providerID": "aws:///z/i-1"},
    }
    assert Held.parse(CLAIM, alive) is None
    found = Held.parse(CLAIM, going)
    assert found is not None
    assert (found.instance, found.since) == ("i-1", NOW - dt.timedelta(minutes=1))


@dataclass
class Api:
    """An API server with one kind."""

    objects: list[dict[str, Any]]
    sent: list[tuple[str, str, Any]] = field(default_factory=list)

    def items(self, path: str) -> list[dict[str, Any]]:
        return self.objects if path.endswith("/nodeclaims") else []

    def send(self, method: str, path: str, body: Any) -> None:
        self.sent.append((method, path, body))


def test_a_watch_takes_off_what_it_may_and_leaves_the_rest():
    metadata = {"name": "a", "finalizers": ["karpenter.sh/termination", "kubernetes"]}
    api: Any = Api([{"metadata": metadata | {"deletionTimestamp": "2026-11-21T11:00:00Z"}}])
    watch = Watch(api, World(), 10, clock=lambda: NOW)
    watch.look()
    path = "/apis/karpenter.sh/v1/nodeclaims/a"
    assert api.sent == [("PATCH", path, {"metadata": {"finalizers": ["kubernetes"]}})]
    assert [each.finalizer for each in watch.freed] == ["karpenter.sh/termination"]


def test_interfaces_of_gateways_and_endpoints_are_left_to_pulumi():
    found = [
        {"NetworkInterfaceId": "eni-1", "InterfaceType": "nat_gateway", "Status": "in-use"},
        {"NetworkInterfaceId": "eni-2", "Description": "VPC Endpoint Interface vpce-1", "Status": "in-use"},
        {"NetworkInterfaceId": "eni-3", "Description": "aws-K8S-i-1", "Status": "available"},
        {"NetworkInterfaceId": "eni-4", "Description": "somebody's", "Status": "available"},
        {
            "NetworkInterfaceId": "eni-5",
            "TagSet": [{"Key": "node.k8s.amazonaws.com/instance_id", "Value": "i-1"}],
            "Status": "in-use",
        },
    ]
    read = {each.id: (each.free, each.ours) for each in cloud.holding(found)}
    assert read == {"eni-3": (True, True), "eni-4": (True, False), "eni-5": (False, True)}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="eu-central-1")


def test_free_interfaces_of_the_cluster_are_deleted_and_others_never(account):
    ec2 = account("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    for text in ("aws-K8S-i-1", "somebody's"):
        ec2.create_network_interface(SubnetId=subnet, Description=text)
    gone = cloud.delete_free(ec2, cloud.interfaces(ec2, vpc))
    assert [each.description for each in gone] == ["aws-K8S-i-1"]
    assert [each.description for each in cloud.interfaces(ec2, vpc)] == ["somebody's"]


def test_an_instance_that_is_unknown_or_terminated_is_gone(account):
    world = cloud.AwsWorld(account("ec2"), account("elbv2"))
    image = world.ec2.describe_images()["Images"][0]["ImageId"]
    made = world.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    assert not world.instance_gone(made)
    world.end_instance(made)
    assert world.instance_gone(made)
    assert world.instance_gone("i-0123456789abcdef0")


def row(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:prod::penstock::{kind}::{name}", "type": kind, "id": name, **more}


def access(tmp_path, *rows: dict[str, Any]) -> StackAccess:
    state = State.parse({"deployment": {"resources": list(rows)}})
    found = StackAccess("prod", tmp_path, tmp_path, {})
    object.__setattr__(found, "state", lambda: state)
    return found


@pytest.fixture
def command(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "Pulumi.yaml").write_text("name: penstock\n")

    def run(*arguments: str, protected: bool = True):
        rows = [row("aws:s3/bucket:Bucket", "weights", protect=protected), row("aws:ec2/vpc:Vpc", "network")]
        monkeypatch.setattr(Context, "open", lambda *_: access(tmp_path, *rows))
        return CliRunner().invoke(cli, ["destroy", "-s", "prod", *arguments], obj=Context(checkout=tmp_path))

    return run


def test_what_is_protected_refuses_the_whole_and_is_named(command):
    done = command("--yes")
    assert isinstance(done.exception, RefusedError)
    assert "aws:s3/bucket:Bucket weights" in str(done.exception)
    assert "penstock:protected: false" in str(done.exception)


def test_a_dry_run_tells_phases_protection_and_data(command):
    found = json.loads(command("--dry-run", "--json").stdout)
    assert found["protected"] == found["data"] == ["aws:s3/bucket:Bucket weights"]
    assert {phase["name"]: phase["resources"] for phase in found["phases"] if phase["resources"]} == {
        "data and services": ["aws:s3/bucket:Bucket weights"],
        "network": ["aws:ec2/vpc:Vpc network"],
    }
    assert "Protected, so refused: 1" in command("--dry-run").output


def test_nobody_at_the_prompt_is_a_refusal(command):
    done = command(protected=False)
    assert isinstance(done.exception, RefusedError)
    assert "--yes" in str(done.exception)


def test_a_plan_says_in_one_line_each_what_goes_and_why():
    lines = phases.described(plan([item("aws:ec2/vpc:Vpc"), item("aws:ec2/subnet:Subnet")]))
    assert lines == ["   2 network: and whatever is left"]
