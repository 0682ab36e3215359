"""The stores as Penstock asks for them, and a message's way from the topic into the gateways' queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from pulumi.runtime.proto import provider_pb2

from components import policies
from components.events import redrive_to
from infra.local.aws.provider.values import Secret
from tests.unit.aws_provider.conftest import REGION, Plugin
from tests.unit.aws_provider.world import World

NONE = provider_pb2.DiffResponse.DIFF_NONE
QUEUE, CACHE = "aws:sqs/queue:Queue", "aws:elasticache/replicationGroup:ReplicationGroup"
TOKEN = "t" * 64


@pytest.fixture(scope="module")
def world(plugin: Plugin) -> World:
    return World(plugin)


@pytest.fixture(scope="module")
def cache_subnets(world: World) -> str:
    """Of a name of its own: the shared one's is taken by other modules' worlds."""
    return world.make("aws:elasticache/subnetGroup:SubnetGroup", "stores", subnetIds=world.subnets).id


@pytest.fixture(scope="module")
def database_subnets(world: World) -> str:
    return world.make("aws:rds/subnetGroup:SubnetGroup", "stores", subnetIds=world.subnets).id


@pytest.fixture(scope="module")
def client(endpoint: str) -> Callable[[str], Any]:
    session = boto3.Session("someone", "else", region_name=REGION)
    return lambda service: session.client(service, endpoint_url=endpoint)


def test_what_the_topic_says_arrives_raw_and_is_set_aside_when_nobody_can_read_it(
    world: World, client: Callable[[str], Any]
) -> None:
    dead = world.make(QUEUE, "flow-dead")
    queue = world.make(QUEUE, "flow", redrivePolicy=redrive_to(dead["arn"]), visibilityTimeoutSeconds=0)
    topic = world.make("aws:sns/topic:Topic", "flow")
    policy = policies.dumps(policies.queue_fed_by_topic(queue["arn"], topic["arn"]))
    world.make("aws:sqs/queuePolicy:QueuePolicy", "flow", queueUrl=queue["url"], policy=policy)
    subscription = {"topic": topic["arn"], "protocol": "sqs", "endpoint": queue["arn"], "rawMessageDelivery": True}
    world.make("aws:sns/topicSubscription:TopicSubscription", "flow", **subscription)

    said = json.dumps({"budget": "gpu", "percent": 80})
    client("sns").publish(TopicArn=topic["arn"], Message=said)
    received = [
        client("sqs").receive_message(QueueUrl=queue["url"], WaitTimeSeconds=0).get("Messages", []) for _ in range(6)
    ]
    assert [it["Body"] for batch in received for it in batch] == [said] * 5
    aside = client("sqs").receive_message(QueueUrl=dead["url"], WaitTimeSeconds=0)["Messages"]
    assert [it["Body"] for it in aside] == [said]


def cache_inputs(cache_subnets: str, **more: Any) -> dict[str, Any]:
    return {
        "description": "quotas",
        "engine": "valkey",
        "engineVersion": "8.0",
        "nodeType": "cache.t4g.small",
        "numCacheClusters": 1,
        "subnetGroupName": cache_subnets,
        "atRestEncryptionEnabled": True,
        "transitEncryptionEnabled": True,
        "authToken": Secret(TOKEN),
        "authTokenUpdateStrategy": "ROTATE",
        **more,
    }


def test_a_cache_with_a_token_lives_without_drift_and_takes_a_new_one_in_place(
    plugin: Plugin, cache_subnets: str
) -> None:
    made = plugin.create(CACHE, "guarded", cache_inputs(cache_subnets))
    seen = plugin.read(made)
    assert seen is not None
    assert (seen.state, seen.inputs) == (made.state, made.inputs)
    assert made["authToken"] == Secret(TOKEN), "the state must keep it as a secret"
    changed = cache_inputs(cache_subnets, authToken=Secret("u" * 64))
    diff = plugin.diff(made, changed)
    assert (diff.changes != NONE, list(diff.replaces)) == (True, [])
    made = plugin.update(made, changed)
    assert plugin.diff(made, changed).changes == NONE
    plugin.delete(made)
    assert plugin.read(made) is None


def test_a_token_without_tls_is_refused_as_aws_does(plugin: Plugin, cache_subnets: str) -> None:
    with pytest.raises(Exception, match="AuthToken is only supported when encryption-in-transit is enabled"):
        plugin.create(CACHE, "plain", cache_inputs(cache_subnets, transitEncryptionEnabled=False))


def test_a_named_database_with_keys_for_everything_lives_without_drift(
    plugin: Plugin, world: World, database_subnets: str
) -> None:
    inputs = {
        "identifier": "penstock-ledger",
        "engine": "postgres",
        "engineVersion": "18",
        "instanceClass": "db.t4g.small",
        "allocatedStorage": 20,
        "maxAllocatedStorage": 40,
        "storageType": "gp3",
        "storageEncrypted": True,
        "kmsKeyId": world.key["arn"],
        "dbName": "penstock",
        "username": "penstock",
        "manageMasterUserPassword": True,
        "masterUserSecretKmsKeyId": world.key["arn"],
        "dbSubnetGroupName": database_subnets,
        "iamDatabaseAuthenticationEnabled": True,
        "performanceInsightsEnabled": True,
        "performanceInsightsKmsKeyId": world.key["arn"],
        "performanceInsightsRetentionPeriod": 7,
        "enabledCloudwatchLogsExports": ["postgresql", "upgrade"],
        "deleteAutomatedBackups": False,
        "skipFinalSnapshot": True,
    }
    made = plugin.create("aws:rds/instance:Instance", "ledger", inputs)
    seen = plugin.read(made)
    assert seen is not None
    assert (seen.state, seen.inputs) == (made.state, made.inputs)
    assert plugin.diff(made, inputs).changes == NONE
    fewer = {**inputs, "enabledCloudwatchLogsExports": ["postgresql"]}
    assert not list(plugin.diff(made, fewer).replaces)
    made = plugin.update(made, fewer)
    assert plugin.diff(made, fewer).changes == NONE
    plugin.delete(made)
    assert plugin.read(made) is None
