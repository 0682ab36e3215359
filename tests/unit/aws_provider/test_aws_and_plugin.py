"""What others change in AWS, imports, failures half way, functions, and the plug-in's own configuration."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import boto3
import grpc
import pytest
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from infra.local.aws.provider.engine import explain
from infra.local.aws.provider.servicer import VERSION
from infra.local.aws.provider.values import Secret, from_struct, to_struct
from tests.unit.aws_provider.conftest import CHECKOUT, REGION, AbortedError, Context, Made, Plugin, configured

VPC, TOPIC, SECRET = "aws:ec2/vpc:Vpc", "aws:sns/topic:Topic", "aws:secretsmanager/secret:Secret"
VERSION_OF_SECRET = "aws:secretsmanager/secretVersion:SecretVersion"
NONE = provider_pb2.DiffResponse.DIFF_NONE


@pytest.fixture(scope="module")
def hand(endpoint: str) -> Any:
    """Another person's hand in the account: `hand(service)` is a client."""
    session = boto3.Session("someone", "else", region_name=REGION)
    return lambda service: session.client(service, endpoint_url=endpoint)


def test_drift_shows_in_inputs_and_state_and_the_next_update_repairs_it(plugin: Plugin, hand: Any) -> None:
    inputs = {"displayName": "alarms", "tags": {"a": "b"}}
    made = plugin.create(TOPIC, "drifting", inputs)
    hand("sns").set_topic_attributes(TopicArn=made.id, AttributeName="DisplayName", AttributeValue="other")
    hand("sns").tag_resource(ResourceArn=made.id, Tags=[{"Key": "a", "Value": "c"}, {"Key": "x", "Value": "y"}])
    seen = plugin.read(made)
    assert seen is not None
    assert (seen.inputs["displayName"], seen.state["displayName"]) == ("other", "other")
    assert seen.inputs["tags"] == seen.state["tags"] == {"a": "c", "x": "y"}
    assert sorted(plugin.diff(seen, inputs).diffs) == ["displayName", "tags", "tagsAll"]
    repaired = plugin.update(seen, inputs)
    assert repaired.state["displayName"] == "alarms"
    assert repaired.state["tagsAll"] == {"a": "b", "project": "penstock"}
    plugin.delete(repaired)


def test_what_others_deleted_is_gone_at_a_refresh(plugin: Plugin, hand: Any) -> None:
    made = plugin.create(TOPIC, "vanishing", {})
    hand("sns").delete_topic(TopicArn=made.id)
    assert plugin.read(made) is None
    plugin.delete(made)  # what is gone is done
    with pytest.raises(AbortedError, match="no longer exists in AWS: run `pulumi refresh`"):
        plugin.update(made, {"displayName": "x"})


def test_a_resource_can_be_imported_by_its_id(plugin: Plugin, hand: Any) -> None:
    made = hand("ec2").create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    seen = plugin.read(Made(VPC, "imported", made, {}, {}))
    assert seen is not None
    assert seen.inputs == {"cidrBlock": "10.77.0.0/16"}
    assert seen.state["id" if "id" in seen.state else "arn"].endswith(made)
    assert plugin.diff(seen, {"cidrBlock": "10.77.0.0/16"}).diffs == ["tagsAll"], "only the default tags are missing"
    hand("ec2").delete_vpc(VpcId=made)


def test_default_tags_are_on_the_resource_and_change_in_place(endpoint: str, plugin: Plugin, hand: Any) -> None:
    made = plugin.create(TOPIC, "tagged", {"tags": {"a": "b"}})
    assert made.state["tags"] == {"a": "b"}
    later = configured(endpoint, {"defaultTags": '{"tags": {"team": "platform"}}'})
    updated = later.update(made, {"tags": {"a": "b"}})
    listed = hand("sns").list_tags_for_resource(ResourceArn=made.id)["Tags"]
    assert {it["Key"]: it["Value"] for it in listed} == {"a": "b", "team": "platform"} == updated.state["tagsAll"]
    assert later.diff(updated, {"tags": {"a": "b"}}).changes == NONE
    plugin.delete(updated)


def test_a_secret_value_reaches_aws_plain_and_the_state_wrapped(plugin: Plugin, hand: Any) -> None:
    secret = plugin.create(SECRET, "wrapped", {"recoveryWindowInDays": 0})
    version = plugin.create(VERSION_OF_SECRET, "wrapped", {"secretId": secret.id, "secretString": Secret("sk-1")})
    assert version.state["secretString"] == Secret("sk-1")
    assert hand("secretsmanager").get_secret_value(SecretId=secret.id)["SecretString"] == "sk-1"
    seen = plugin.read(version)
    assert seen is not None
    assert seen.inputs["secretString"] == seen.state["secretString"] == Secret("sk-1")
    plugin.delete(secret)


def test_a_resource_that_stopped_half_way_is_kept_and_finished(plugin: Plugin, hand: Any) -> None:
    group, vpc = "aws:ec2/securityGroup:SecurityGroup", plugin.create(VPC, "half", {"cidrBlock": "10.55.0.0/16"})
    rule = {"protocol": "tcp", "fromPort": 80, "toPort": 80}
    with pytest.raises(AbortedError) as failed:
        plugin.create(group, "half", {"vpcId": vpc.id, "ingress": [{**rule, "cidrBlocks": ["10.0.0.0/99"]}]})
    status = status_pb2.Status.FromString(failed.value.metadata["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    assert "AuthorizeSecurityGroupIngress" in detail.reasons[0]
    assert hand("ec2").describe_security_groups(GroupIds=[detail.id])["SecurityGroups"]
    half = Made(group, "half", detail.id, from_struct(detail.inputs), from_struct(detail.properties))
    ingress = [{**rule, "cidrBlocks": ["10.0.0.0/8"]}]
    finished = plugin.update(half, {"vpcId": vpc.id, "ingress": ingress})
    assert finished.state["ingress"] == ingress
    plugin.delete(finished)
    plugin.delete(vpc)


def test_a_deletion_waits_for_what_still_uses_the_resource(plugin: Plugin, hand: Any) -> None:
    vpc = plugin.create(VPC, "busy", {"cidrBlock": "10.66.0.0/16"})
    subnet = plugin.create("aws:ec2/subnet:Subnet", "busy", {"vpcId": vpc.id, "cidrBlock": "10.66.1.0/24"})
    deletion = threading.Thread(target=plugin.delete, args=(vpc,))
    deletion.start()
    plugin.delete(subnet)
    deletion.join(10)
    assert not deletion.is_alive()
    assert plugin.read(vpc) is None


def test_functions_answer_from_aws(plugin: Plugin) -> None:
    assert plugin.invoke("aws:index/getCallerIdentity:getCallerIdentity")["accountId"] == "123456789012"
    assert plugin.invoke("aws:index/getPartition:getPartition")["dnsSuffix"] == "amazonaws.com"
    assert plugin.invoke("aws:index/getRegion:getRegion")["region"] == REGION
    zones = plugin.invoke("aws:index/getAvailabilityZones:getAvailabilityZones", {"state": "available"})
    assert zones["names"] == [f"{REGION}{letter}" for letter in "abc"]
    asked = {"locationType": "availability-zone", "filters": [{"name": "instance-type", "values": ["g6.xlarge"]}]}
    offered = plugin.invoke("aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings", asked)
    assert set(zip(offered["instanceTypes"], offered["locations"], strict=True)) == {
        ("g6.xlarge", f"{REGION}{letter}") for letter in "abc"
    }
    with pytest.raises(AbortedError, match=r"aws:ec2/getAmi:getAmi is not supported .*/getRegion:getRegion"):
        plugin.invoke("aws:ec2/getAmi:getAmi")
    with pytest.raises(AbortedError, match='argument "flavour" is not supported'):
        plugin.invoke("aws:index/getRegion:getRegion", {"flavour": "x"})


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("", "AWS_ENDPOINT_URL is not set"),
        ("https://sts.eu-central-1.amazonaws.com", "its host is not a loopback address"),
        ("http://192.168.1.4:4566", "its host is not a loopback address"),
    ],
)
def test_the_real_aws_is_never_called(endpoint: str, reason: str) -> None:
    with pytest.raises(AbortedError, match=reason):
        configured(endpoint)


def test_an_account_that_is_not_allowed_is_left_alone(endpoint: str) -> None:
    with pytest.raises(AbortedError, match="account 123456789012 is not one of allowedAccountIds: 111111111111"):
        configured(endpoint, {"allowedAccountIds": '["111111111111"]'})
    with pytest.raises(AbortedError, match="account 123456789012 is one of forbiddenAccountIds"):
        configured(endpoint, {"forbiddenAccountIds": '["123456789012"]'})


def test_an_unknown_setting_of_the_provider_is_named(plugin: Plugin) -> None:
    request = provider_pb2.CheckRequest(news=to_struct({"region": REGION, "assumeRoles": "[]", "version": "7.51.1"}))
    (failure,) = plugin.servicer.CheckConfig(request, plugin.context).failures
    assert 'provider setting "assumeRoles" is not supported by the local provider' in failure.reason


def test_an_embedded_aws_that_is_down_is_said_in_one_sentence() -> None:
    with pytest.raises(AbortedError, match=r"the embedded AWS does not answer .* is the platform up"):
        configured("http://127.0.0.1:9")
    assert explain(RuntimeError()) == "RuntimeError"


def test_the_process_prints_its_port_alone_and_leaves_at_once() -> None:
    command = [sys.executable, "-m", "infra.local.aws.provider", "127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            assert stub.GetPluginInfo(Empty(), timeout=10).version == VERSION
        before = time.monotonic()
        process.send_signal(2)
        assert process.wait(5) == 0
        assert time.monotonic() - before < 1
        assert process.stdout.read() == ""


def test_a_provider_that_is_not_configured_says_so() -> None:
    from infra.local.aws.provider.servicer import Servicer

    plugin = Plugin(Servicer({}), Context())
    with pytest.raises(AbortedError, match="not configured"):
        plugin.check(VPC, "main", {})
