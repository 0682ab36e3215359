"""Previews and diffs through the servicer: what is unknown, what replaces, what is deleted first."""

from __future__ import annotations

import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.aws.provider.values import UNKNOWN, Secret, Values
from tests.unit.aws_provider.conftest import Made, Plugin

VPC, SUBNET, CLUSTER = "aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:eks/cluster:Cluster"
TEMPLATE, VERSION = "aws:ec2/launchTemplate:LaunchTemplate", "aws:secretsmanager/secretVersion:SecretVersion"
NODES = {
    "clusterName": "c",
    "nodeRoleArn": "arn",
    "subnetIds": ["s"],
    "scalingConfig": {"desiredSize": 1, "minSize": 1, "maxSize": 1},
    "launchTemplate": {"id": "lt-1", "version": "1"},
}


def kept(plugin: Plugin, kind: str, inputs: Values, state: Values | None = None) -> Made:
    """A resource that exists only in a state."""
    checked = plugin.checked(kind, "main", inputs)
    return Made(kind, "main", "id", checked, {**checked, "region": "eu-central-1", **(state or {})})


def test_a_preview_knows_inputs_and_defaults_and_nothing_that_aws_decides(plugin: Plugin) -> None:
    plan = plugin.preview(VPC, "main", {"cidrBlock": "10.0.0.0/16", "tags": {"a": "b"}})
    assert plan["cidrBlock"] == "10.0.0.0/16"
    assert plan["enableDnsSupport"] is True
    assert plan["region"] == "eu-central-1"
    assert plan["tagsAll"] == {"a": "b", "project": "penstock"}
    assert plan["arn"] is UNKNOWN
    assert plan["defaultSecurityGroupId"] is UNKNOWN


def test_computed_fields_inside_a_block_are_unknown(plugin: Plugin) -> None:
    plan = plugin.preview(CLUSTER, "main", {"roleArn": UNKNOWN, "vpcConfig": {"subnetIds": [UNKNOWN]}})
    assert plan["vpcConfig"]["clusterSecurityGroupId"] is UNKNOWN
    assert plan["vpcConfig"]["endpointPublicAccess"] is True
    assert plan["vpcConfig"]["subnetIds"] == [UNKNOWN]
    assert plan["certificateAuthority"] is UNKNOWN


def test_the_preview_of_an_update_keeps_what_does_not_change(plugin: Plugin) -> None:
    template = kept(plugin, TEMPLATE, {"imageId": "ami-1"}, {"arn": "arn", "latestVersion": 3, "defaultVersion": 3})
    plan = plugin.update(template, {"imageId": "ami-2"}, preview=True).state
    assert (plan["arn"], plan["imageId"]) == ("arn", "ami-2")
    assert plan["latestVersion"] is UNKNOWN, "who uses the version must be updated as well"
    plan = plugin.update(template, {"imageId": "ami-1", "tags": {"a": "b"}}, preview=True).state
    assert plan["latestVersion"] == 3, "tags make no new version"


def test_what_the_state_does_not_have_is_not_unknown_in_the_preview_of_an_update(plugin: Plugin) -> None:
    inputs = {"roleArn": "arn", "vpcConfig": {"subnetIds": ["s"]}}
    network = {"subnetIds": ["s"], "clusterSecurityGroupId": "sg-1"}  # private only: no publicAccessCidrs
    cluster = kept(plugin, CLUSTER, inputs, {"vpcConfig": network})
    plan = plugin.update(cluster, {**inputs, "deletionProtection": True}, preview=True).state
    assert plan["vpcConfig"]["clusterSecurityGroupId"] == "sg-1"
    assert UNKNOWN not in plan["vpcConfig"].values()


@pytest.mark.parametrize(
    ("kind", "inputs", "change", "replaces"),
    [
        (VPC, {"cidrBlock": "10.0.0.0/16"}, {"cidrBlock": "10.1.0.0/16"}, ["cidrBlock"]),
        (VPC, {"cidrBlock": "10.0.0.0/16"}, {"enableDnsHostnames": True}, []),
        ("aws:s3/bucket:Bucket", {"bucket": "b"}, {"forceDestroy": True}, []),
        ("aws:eks/nodeGroup:NodeGroup", NODES, {"launchTemplate": {"id": "lt-1", "version": "2"}}, []),
        (
            "aws:eks/nodeGroup:NodeGroup",
            NODES,
            {"launchTemplate": {"id": "lt-2", "version": "1"}},
            ["launchTemplate.id"],
        ),
        ("aws:eks/nodeGroup:NodeGroup", NODES, {"instanceTypes": ["g6.xlarge"]}, ["instanceTypes"]),
        (VERSION, {"secretId": "s", "secretString": "a"}, {"secretString": "b"}, ["secretString"]),
        (VPC, {"cidrBlock": "10.0.0.0/16"}, {"region": "eu-west-1"}, ["region"]),
    ],
)
def test_a_change_replaces_where_aws_would_not_change(
    kind: str, inputs: Values, change: Values, replaces: list[str], plugin: Plugin
) -> None:
    diff = plugin.diff(kept(plugin, kind, inputs), {**inputs, **change})
    assert diff.changes == provider_pb2.DiffResponse.DIFF_SOME
    assert list(diff.replaces) == replaces


def test_a_replacement_deletes_first_only_where_names_collide(plugin: Plugin) -> None:
    role = "aws:iam/role:Role"
    named, unnamed = {"assumeRolePolicy": "{}", "name": "mine"}, {"assumeRolePolicy": "{}"}
    assert plugin.diff(kept(plugin, role, named), {**named, "path": "/p/"}).deleteBeforeReplace
    assert not plugin.diff(kept(plugin, role, unnamed), {**unnamed, "path": "/p/"}).deleteBeforeReplace
    subnet = {"vpcId": "v", "cidrBlock": "10.0.0.0/24"}
    assert plugin.diff(kept(plugin, SUBNET, subnet), {**subnet, "availabilityZone": "z"}).deleteBeforeReplace


def test_a_diff_tells_each_kind_of_change_at_its_path(plugin: Plugin) -> None:
    group = "aws:lb/targetGroup:TargetGroup"
    made = kept(plugin, group, {"port": 80, "slowStart": 30, "healthCheck": {"path": "/a"}})
    diff = plugin.diff(made, {"port": 81, "deregistrationDelay": 10, "healthCheck": {"path": "/b"}})
    kinds = {path: provider_pb2.PropertyDiff.Kind.Name(it.kind) for path, it in diff.detailedDiff.items()}
    assert kinds == {
        "port": "UPDATE_REPLACE",
        "slowStart": "DELETE",
        "deregistrationDelay": "ADD",
        "healthCheck.path": "UPDATE",
    }
    assert "arn" in diff.stables


def test_new_default_tags_show_as_an_update(plugin: Plugin) -> None:
    made = kept(plugin, VPC, {"cidrBlock": "10.0.0.0/16"})
    made.inputs["tagsAll"] = {"project": "older"}
    diff = plugin.diff(made, {"cidrBlock": "10.0.0.0/16"})
    assert list(diff.detailedDiff) == ["tagsAll.project"]
    assert not list(diff.replaces)


def test_sensitive_outputs_are_secrets_whether_or_not_the_input_was(plugin: Plugin) -> None:
    plain = plugin.preview(VERSION, "key", {"secretId": "s", "secretString": "sk-1"})
    assert plain["secretString"] == Secret("sk-1")
    marked = plugin.preview(VPC, "main", {"cidrBlock": Secret("10.0.0.0/16")})
    assert marked["cidrBlock"] == Secret("10.0.0.0/16")


def test_the_same_secret_is_no_change(plugin: Plugin) -> None:
    made = kept(plugin, VERSION, {"secretId": "s", "secretString": Secret("sk-1")})
    diff = plugin.diff(made, {"secretId": "s", "secretString": Secret("sk-1")})
    assert diff.changes == provider_pb2.DiffResponse.DIFF_NONE
