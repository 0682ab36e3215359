"""The run of `penstock destroy` from phase to phase, with a stand-in for Pulumi and moto for AWS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.ops import deploy
from infra.ops.cost.prices import Price, Table
from infra.ops.destroy import run
from infra.ops.destroy.run import Destroy
from infra.ops.errors import NotRunningError, PenstockError, RefusedError
from infra.ops.progress import Progress
from infra.ops.stacks import StackAccess, State

TABLE = Table("eu-central-1", {"ebs:gp3-gib-month": Price(0.1, "test", "2026-11-21")})
VPC, RULE, BUCKET = "aws:ec2/vpc:Vpc", "aws:lb/listenerRule:ListenerRule", "aws:s3/bucket:Bucket"


class Stack:
    """What is in the state, and what Pulumi was told to delete of it."""

    def __init__(self, tmp_path, client: Callable[[str], Any], rows: list[dict[str, Any]]) -> None:
        self.rows, self.told = rows, list[list[str]]()
        self.access = StackAccess("prod", tmp_path, tmp_path, {})
        for name, value in {"state": self.state, "aws": client, "automation": lambda: self}.items():
            object.__setattr__(self.access, name, value)

    def state(self) -> State:
        return State.parse({"deployment": {"resources": self.rows}})

    def delete(self, stack: object, progress: object, *, urns: Sequence[str] = ()) -> list[Any]:
        gone = [row for row in self.rows if row["urn"] in urns or not urns]
        self.told.append([row["urn"].rsplit("::", 1)[-1] for row in gone])
        self.rows = [row for row in self.rows if row not in gone]
        return []


def row(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:prod::penstock::{kind}::{name}", "type": kind, "id": name, **more}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setattr(run, "LOOK_SECONDS", 0.01)
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="eu-central-1")


@pytest.fixture
def deployed(tmp_path, client, monkeypatch: pytest.MonkeyPatch):
    """A stack with a network of its own in moto, and the id of a subnet there."""

    def made(*rows: dict[str, Any]) -> tuple[Stack, str]:
        ec2 = client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        stack = Stack(tmp_path, client, [row(VPC, "network") | {"id": vpc}, *rows])
        monkeypatch.setattr(deploy, "destroy", stack.delete)
        return stack, subnet

    return made


def destroy(stack: Stack, **more: Any) -> Destroy:
    return Destroy(stack.access, Progress(quiet=True), **more)


def test_phases_go_one_by_one_and_the_network_last(deployed):
    stack, _ = deployed(row(BUCKET, "weights"), row(RULE, "traffic"))
    report = destroy(stack).run(TABLE)
    assert stack.told == [["traffic"], ["weights"], ["network"]]
    assert [each.phase for each in report.done] == ["traffic", "data and services", "network"]
    assert report.left == []


def test_a_protected_stack_loses_nothing_even_where_nobody_has_checked_before(deployed):
    stack, _ = deployed(row(BUCKET, "weights", protect=True), row(RULE, "traffic"))
    with pytest.raises(RefusedError, match="aws:s3/bucket:Bucket weights"):
        destroy(stack).run(TABLE)
    assert stack.told == []


def test_a_phase_that_fails_is_gone_on_with_by_the_next_run(deployed, monkeypatch: pytest.MonkeyPatch):
    stack, _ = deployed(row(BUCKET, "weights"), row(RULE, "traffic"))

    def failing(given: object, progress: object, *, urns: Sequence[str] = ()) -> list[Any]:
        if any("weights" in urn for urn in urns):
            raise PenstockError("The destroy failed: the bucket is not empty")
        return stack.delete(given, progress, urns=urns)

    monkeypatch.setattr(deploy, "destroy", failing)
    first = destroy(stack)
    with pytest.raises(PenstockError, match="not empty"):
        first.run(TABLE)
    assert [each.phase for each in first.report.done] == ["traffic"]
    monkeypatch.setattr(deploy, "destroy", stack.delete)
    destroy(stack).run(TABLE)
    assert stack.told == [["traffic"], ["weights"], ["network"]]


def test_a_forgotten_interface_goes_before_the_network(deployed, client):
    stack, subnet = deployed()
    client("ec2").create_network_interface(SubnetId=subnet, Description="aws-K8S-i-1")
    report = destroy(stack).run(TABLE)
    assert [each.description for each in report.interfaces] == ["aws-K8S-i-1"]
    assert stack.told == [["network"]]


def test_an_interface_of_somebody_else_is_named_and_the_network_stays(deployed, client):
    stack, subnet = deployed()
    client("ec2").create_network_interface(SubnetId=subnet, Description="somebody's")
    with pytest.raises(PenstockError, match=r"still holds interfaces .*somebody's.*run this again"):
        destroy(stack, interfaces_seconds=0.05).run(TABLE)
    assert stack.told == []


def test_what_is_left_is_found_by_tag_with_its_price(deployed, client):
    stack, _ = deployed()
    tags = [{"Key": "project", "Value": "penstock"}, {"Key": "stack", "Value": "prod"}]
    client("ec2").create_volume(
        AvailabilityZone="eu-central-1a", Size=50, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    (left,) = destroy(stack).run(TABLE).left
    assert (left.kind, left.usd) == ("ec2 volume", 5.0)


def test_a_stack_without_resources_is_not_deployed(tmp_path, client):
    with pytest.raises(NotRunningError, match="not deployed"):
        destroy(Stack(tmp_path, client, []))


class Claims:
    """A watch on a cluster with one NodeClaim, which goes some looks after it was told to."""

    def __init__(self, looks: float) -> None:
        self.looks, self.sent = looks, list[str]()
        self.cluster = self

    def items(self, path: str) -> list[dict[str, Any]]:
        self.looks -= 1
        told = {"deletionTimestamp": "2026-11-21T11:00:00Z"} if self.sent else {}
        return [{"metadata": {"name": "claim-1", **told}}] if self.looks > 0 else []

    def send(self, method: str, path: str, body: object) -> None:
        self.sent.append(f"{method} {path}")


def test_node_claims_are_ended_once_and_waited_for(deployed):
    stack, _ = deployed()
    watch: Any = Claims(4)
    destroy(stack)._end_node_claims(watch)
    assert watch.sent == ["DELETE /apis/karpenter.sh/v1/nodeclaims/claim-1"]


def test_node_claims_that_do_not_go_are_named(deployed):
    stack, _ = deployed()
    watch: Any = Claims(float("inf"))
    with pytest.raises(PenstockError, match="did not go in 0 s: claim-1"):
        destroy(stack, claims_seconds=0.03)._end_node_claims(watch)
