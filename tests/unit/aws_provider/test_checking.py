"""What Check refuses and what it adds: unknown types and properties, kinds, physical names, default tags."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.aws.provider.check import Request, check
from infra.local.aws.provider.row import Row
from infra.local.aws.provider.table import UnknownTypeError, all_rows, find_row
from infra.local.aws.provider.values import UNKNOWN, Secret, Values
from tests.unit.aws_provider.conftest import AbortedError, Plugin

VPC, GROUP, ROLE = "aws:ec2/vpc:Vpc", "aws:lb/targetGroup:TargetGroup", "aws:iam/role:Role"
ENFORCE, DISABLE = 1, 2


def asked(kind: str, news: Values, **more: Any) -> Request:
    return Request(find_row(kind), "engine", f"urn:pulumi:test::penstock::{kind}::engine", {}, news, b"seed", **more)


def refusals(kind: str, news: Values, **more: Any) -> list[str]:
    return [failure.reason for failure in check(asked(kind, news, **more))[1]]


def accepted(kind: str, news: Values, **more: Any) -> Values:
    inputs, failures = check(asked(kind, news, **more))
    assert not failures
    return inputs


def test_an_unknown_type_is_named_with_what_its_service_offers(plugin: Plugin) -> None:
    with pytest.raises(AbortedError, match=r"aws:ec2/instance:Instance is not supported .* aws:ec2/vpc:Vpc"):
        plugin.check("aws:ec2/instance:Instance", "one", {})
    with pytest.raises(UnknownTypeError, match=r"aws:lambda/function:Function .* supported modules: .*budgets"):
        find_row("aws:lambda/function:Function")


def test_an_unknown_property_is_named_with_what_its_type_supports(plugin: Plugin) -> None:
    response = plugin.check(VPC, "main", {"cidrBlock": "10.0.0.0/16", "foo": 1})
    (failure,) = response.failures
    assert failure.property == "foo"
    assert failure.reason.startswith(
        'aws:ec2/vpc:Vpc: property "foo" is not supported by the local provider; supported: assignGenerated'
    )


def test_an_unknown_property_inside_a_block_is_named_by_its_path() -> None:
    health = {"healthCheck": {"path": "/", "grace": 3}}
    (reason,) = refusals(GROUP, health)
    assert 'property "healthCheck.grace" is not supported' in reason
    cluster = {"roleArn": "r", "vpcConfig": {"subnetIds": [], "clusterSecurityGroupId": "sg-1"}}
    (reason,) = refusals("aws:eks/cluster:Cluster", cluster)
    assert 'property "vpcConfig.clusterSecurityGroupId" is not supported' in reason, "an output is no input"


def test_what_is_required_is_asked_for_at_every_depth() -> None:
    (reason,) = refusals(VPC, {})
    assert reason == 'aws:ec2/vpc:Vpc: property "cidrBlock" is required'
    (reason,) = refusals("aws:eks/cluster:Cluster", {"roleArn": "r", "vpcConfig": {}})
    assert 'property "vpcConfig.subnetIds" is required' in reason


@pytest.mark.parametrize(
    ("news", "problem"),
    [
        ({"port": "http"}, 'property "port" must be of type integer, not "http"'),
        ({"port": True}, 'property "port" must be of type integer, not true'),
        ({"healthCheck": "/readyz"}, 'property "healthCheck" must be of type object, not "/readyz"'),
        (
            {"healthCheck": {"enabled": "perhaps"}},
            'property "healthCheck.enabled" must be of type boolean, not "perhaps"',
        ),
        ({"tags": ["a"]}, 'property "tags" must be of type map of strings, not ["a"]'),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(news: Values, problem: str) -> None:
    (reason,) = refusals(GROUP, news)
    assert problem in reason


def test_harmless_kinds_are_converted() -> None:
    inputs = accepted(GROUP, {"port": "8080", "healthCheck": {"port": 8080, "enabled": "true"}})
    assert (inputs["port"], inputs["healthCheck"]) == (8080, {"port": "8080", "enabled": True})
    policy = accepted(ROLE, {"assumeRolePolicy": {"Version": "2012-10-17", "Statement": []}})["assumeRolePolicy"]
    assert policy == '{"Version": "2012-10-17", "Statement": []}'


def test_values_that_are_not_known_yet_pass() -> None:
    inputs = accepted(GROUP, {"port": UNKNOWN, "vpcId": UNKNOWN, "healthCheck": {"path": UNKNOWN}, "tags": UNKNOWN})
    assert (inputs["port"], inputs["healthCheck"], inputs["tagsAll"]) == (UNKNOWN, {"path": UNKNOWN}, UNKNOWN)
    inputs = accepted(ROLE, {"assumeRolePolicy": {"Statement": [{"Resource": UNKNOWN}]}})
    assert inputs["assumeRolePolicy"] is UNKNOWN


def test_a_secret_stays_one() -> None:
    kind = "aws:rds/instance:Instance"
    inputs = accepted(kind, {"instanceClass": "db.t4g.micro", "password": Secret("long"), "port": Secret("5432")})
    assert (inputs["password"], inputs["port"]) == (Secret("long"), Secret(5432))


def test_default_tags_give_way_to_the_resources_own() -> None:
    inputs = accepted(GROUP, {"tags": {"b": "mine"}}, default_tags={"a": "default", "b": "default"})
    assert inputs["tags"] == {"b": "mine"}
    assert inputs["tagsAll"] == {"a": "default", "b": "mine"}


def test_a_name_is_made_of_the_logical_one_and_seven_hex_digits() -> None:
    inputs = accepted(ROLE, {"assumeRolePolicy": "{}"})
    head, _, digits = inputs["name"].rpartition("-")
    assert head == "engine"
    assert len(digits) == 7
    int(digits, 16)
    assert inputs["__defaults"] == ["name"]
    assert accepted(ROLE, {"assumeRolePolicy": "{}"})["name"] == inputs["name"], "the same seed gives the same name"


@pytest.mark.parametrize(
    ("kind", "field", "start"),
    [
        ("aws:kms/alias:Alias", "name", "alias/engine-"),
        ("aws:s3/bucket:Bucket", "bucket", "engine-"),
        ("aws:elasticache/replicationGroup:ReplicationGroup", "replicationGroupId", "engine-"),
        ("aws:rds/instance:Instance", "identifier", "engine-"),
        ("aws:eks/nodeGroup:NodeGroup", "nodeGroupName", "engine-"),
    ],
)
def test_each_service_has_its_own_kind_of_name(kind: str, field: str, start: str) -> None:
    inputs, _ = check(asked(kind, {}))
    assert inputs[field].startswith(start)


def test_a_name_is_kept_until_it_is_given() -> None:
    olds = accepted(ROLE, {"assumeRolePolicy": "{}"})
    row = find_row(ROLE)
    later, _ = check(Request(row, "engine", "urn", olds, {"assumeRolePolicy": "{}"}, b"another seed"))
    assert later["name"] == olds["name"]
    given, _ = check(Request(row, "engine", "urn", olds, {"assumeRolePolicy": "{}", "name": "mine"}))
    assert given["name"] == "mine"
    assert "__defaults" not in given
    again, _ = check(Request(row, "engine", "urn", given, {"assumeRolePolicy": "{}"}, b"seed"))
    assert again["name"] != "mine", "a name that was given is not kept when it is taken away"


def test_a_prefix_starts_the_name() -> None:
    assert accepted(ROLE, {"assumeRolePolicy": "{}", "namePrefix": "gpu-"})["name"].startswith("gpu-")
    assert "name" not in accepted(ROLE, {"assumeRolePolicy": "{}", "namePrefix": UNKNOWN})


@pytest.mark.parametrize("kind", [GROUP, "aws:lb/loadBalancer:LoadBalancer"])
def test_a_name_longer_than_aws_allows_is_refused(kind: str) -> None:
    row, long = find_row(kind), "a" * 25
    _, (failure,) = check(Request(row, long, "urn", {}, {}))
    assert failure.property == "name"
    assert "longer than the 32 characters that AWS allows: set name" in failure.reason


def test_the_stacks_autonaming_is_followed(plugin: Plugin) -> None:
    options = provider_pb2.CheckRequest.AutonamingOptions(proposed_name="penstock-engine", mode=ENFORCE)
    response = plugin.check(ROLE, "engine", {"assumeRolePolicy": "{}"}, autonaming=options)
    assert response.inputs["name"] == "penstock-engine"
    (reason,) = refusals(ROLE, {"assumeRolePolicy": "{}"}, mode=DISABLE)
    assert 'property "name" is required: autonaming is disabled' in reason
    (reason,) = refusals(GROUP, {}, mode=ENFORCE, proposed="a" * 33)
    assert "is longer than 32 characters" in reason


MERELY_LABELLED = ("aws:costexplorer/anomalyMonitor:AnomalyMonitor",)
"""Types whose name identifies nothing: AWS knows them by an ARN without it."""


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.kind)
def test_a_row_is_coherent(row: Row) -> None:
    prefix, _, name = row.kind.partition("/")
    assert prefix.startswith("aws:")
    assert name.split(":")[0].lower() == name.split(":")[1].lower()
    fields = row.fields.items()
    assert not [name for name, prop in fields if prop.required and (prop.computed or prop.output)], "contradiction"
    if row.naming is not None and row.kind not in MERELY_LABELLED:
        assert row.fields[row.naming.field].replace, "a physical name does not change in place"
    assert set(row.renewed) <= set(row.fields)
    assert row.update or all(p.replace or p.output or p.write_only or n in ("tags", "tagsAll") for n, p in fields)
