"""What still bears a stack's tags after `penstock destroy`, and what it costs a month."""

from __future__ import annotations

import json
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

from infra.ops.cost import prices
from infra.ops.cost.prices import Price, Table
from infra.ops.destroy import orphans


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="eu-central-1")


PRICES = {"ebs:gp3-gib-month": 0.1, "kms:key-month": 1.0, "vpc:address-hour": 0.005, "ec2:m7i.large": 0.12}
TABLE = Table("eu-central-1", {key: Price(usd, "test", "2026-11-21") for key, usd in PRICES.items()})
TAGS = [{"Key": "project", "Value": "penstock"}, {"Key": "stack", "Value": "prod"}]


def test_what_bears_the_tags_is_named_with_its_price_the_dearest_first(account):
    ec2, kms = account("ec2"), account("kms")
    volume = ec2.create_volume(
        AvailabilityZone="eu-central-1a",
        Size=50,
        TagSpecifications=[{"ResourceType": "volume", "Tags": TAGS}],
    )["VolumeId"]
    other = [{"Key": "project", "Value": "penstock"}, {"Key": "stack", "Value": "dev"}]
    ec2.create_volume(
        AvailabilityZone="eu-central-1a", Size=50, TagSpecifications=[{"ResourceType": "volume", "Tags": other}]
    )
    tags = [{"TagKey": each["Key"], "TagValue": each["Value"]} for each in TAGS]
    kept = kms.create_key(Tags=tags)["KeyMetadata"]["Arn"]
    gone = kms.create_key(Tags=tags)["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=gone)
    left = orphans.left(account, orphans.tagged(account, "prod", None), TABLE)
    assert [(each.arn, each.kind, each.usd) for each in left] == [
        (left[0].arn, "ec2 volume", 5.0),
        (kept, "kms key", 1.0),
    ]
    assert left[0].arn.endswith(volume)


def test_what_the_clusters_own_controllers_made_is_found(account):
    ec2 = account("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    tag = {"Key": "kubernetes.io/cluster/penstock-prod", "Value": "owned"}
    ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        InstanceType="m7i.large",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [tag]}],
    )
    (found,) = orphans.left(account, orphans.tagged(account, "prod", "penstock-prod"), TABLE)
    assert (found.kind, found.usd) == ("ec2 instance", round(0.12 * 730, 2))


def test_a_volume_that_is_being_deleted_is_not_left():
    api = SimpleNamespace(
        describe_volumes=lambda **_: {"Volumes": [{"State": "deleting", "Size": 1}]},
        exceptions=SimpleNamespace(ClientError=KeyError),
    )
    assert orphans.LOOKS["ec2 volume"](lambda _: api, "vol-1") is None


def arn(rest: str, service: str = "ec2") -> str:
    return f"arn:aws:{service}:eu-central-1:123456789012:{rest}"


PACKAGED = Table("eu-central-1", prices.parse(json.loads(prices.PACKAGED.read_text()), "eu-central-1", "test"))


@pytest.mark.parametrize(
    ("left", "key", "amount"),
    [
        (arn("elastic-ip/eipalloc-1"), "vpc:address-hour", 730),
        (arn("loadbalancer/net/a/b", "elasticloadbalancing"), "elb:balancer-hour", 730),
        (arn("cluster/penstock-prod", "eks"), "eks:cluster-hour", 730),
        (arn("secret:database-Ab1", "secretsmanager"), "secret:month", 1),
    ],
)
def test_what_is_paid_for_by_the_hour_or_the_month_has_the_tables_price(left: str, key: str, amount: float):
    (found,) = orphans.left(lambda _: pytest.fail("its price needs no call"), [left], PACKAGED)
    price = PACKAGED.get(key)
    assert price is not None
    assert found.usd == round(price.usd * amount, 2)


def test_a_network_without_gateways_costs_nothing_and_an_unknown_kind_has_no_price():
    kinds = [arn("vpc/vpc-1"), arn("network-interface/eni-1"), arn("table/t", "dynamodb")]
    found = orphans.left(lambda _: pytest.fail("no call"), kinds, PACKAGED)
    assert {each.arn: each.usd for each in found} == dict(zip(kinds, (0.0, 0.0, None), strict=True))


def test_a_database_its_standby_its_storage_and_its_last_snapshot_have_their_price(account):
    rds = account("rds")
    made = rds.create_db_instance(
        DBInstanceIdentifier="penstock-prod",
        DBInstanceClass="db.m7g.large",
        Engine="postgres",
        AllocatedStorage=100,
        MultiAZ=True,
        MasterUsername="penstock",
        MasterUserPassword="of-a-test",
    )["DBInstance"]["DBInstanceArn"]
    snapshot = rds.create_db_snapshot(DBSnapshotIdentifier="last", DBInstanceIdentifier="penstock-prod")
    last = snapshot["DBSnapshot"]["DBSnapshotArn"]
    found = {each.arn: each.usd for each in orphans.left(account, [made, last], PACKAGED)}
    keys = ("rds:db.m7g.large", "rds:gp3-gib-month", "rds:backup-gib-month")
    hour, gib, kept = (PACKAGED.prices[key].usd for key in keys)
    assert found[made] == pytest.approx(2 * (730 * hour + 100 * gib), abs=0.02)
    assert found[last] == pytest.approx(100 * kept, abs=0.01)
    rds.delete_db_instance(DBInstanceIdentifier="penstock-prod", SkipFinalSnapshot=True)
    assert [each.arn for each in orphans.left(account, [made, last], PACKAGED)] == [last], "listed for a while yet"


def test_a_cache_costs_its_nodes(account):
    cache = account("elasticache")
    made = cache.create_replication_group(
        ReplicationGroupId="penstock",
        ReplicationGroupDescription="a",
        CacheNodeType="cache.m7g.large",
        NumNodeGroups=1,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
    )["ReplicationGroup"]["ARN"]
    (found,) = orphans.left(account, [made], PACKAGED)
    assert found.usd == pytest.approx(2 * 730 * PACKAGED.prices["cache:cache.m7g.large"].usd, abs=0.02)


def test_half_a_price_is_no_price(account):
    rds = account("rds")
    made = rds.create_db_instance(
        DBInstanceIdentifier="a", DBInstanceClass="db.r99.large", Engine="postgres", AllocatedStorage=100
    )["DBInstance"]["DBInstanceArn"]
    (found,) = orphans.left(account, [made], PACKAGED)
    assert found.usd is None
