"""The foundation: network, keys, data stores, buckets, registries. What must survive the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.databases import Cache, Database
from components.keys import DataKeys
from components.network import Network
from components.security_groups import SecurityGroups
from components.stores import Registry, Weights
from components.watch import Events
from infra.settings import Settings

IMAGES = ("gateway", "engine")


def partition_of(region: str) -> str:
    """The AWS partition, the second part of every ARN."""
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")


@dataclass(frozen=True)
class Foundation:
    partition: str
    keys: DataKeys
    security_groups: SecurityGroups
    vpc_id: pulumi.Output[str]
    public_subnet_ids: pulumi.Output[Sequence[str]]
    private_subnet_ids: pulumi.Output[Sequence[str]]
    weights_bucket: pulumi.Output[str]
    weights_bucket_arn: pulumi.Output[str]
    image_urls: pulumi.Output[dict[str, str]]
    cache_address: pulumi.Output[str]
    """host:port."""
    database_address: pulumi.Output[str]
    """host:port."""
    topic_arn: pulumi.Output[str]


def build_foundation(settings: Settings, stack: str, provider: pulumi.ProviderResource) -> Foundation:
    opts = pulumi.ResourceOptions(providers=[provider])
    partition = partition_of(settings.aws.region)
    account = settings.aws.account_id
    protected = settings.protected
    network = Network(
        "network",
        {
            "region": settings.aws.region,
            "cidr": settings.network.cidr,
            "zones": settings.network.zones,
            "nat_per_zone": settings.network.nat_gateways == "perZone",
            "interface_endpoints": settings.network.interface_endpoints,
        },
        opts,
    )
    groups = SecurityGroups(
        "security-groups",
        {
            "vpc_id": network.vpc_id,
            "edge_port": settings.edge.port,
            "edge_cidrs": settings.edge.allowed_cidrs,
        },
        opts,
    )
    keys = DataKeys(
        "keys",
        {"partition": partition, "region": settings.aws.region, "account_id": account, "protected": protected},
        opts,
    )
    weights = Weights("weights", {"key_arn": keys.weights, "protected": protected}, opts)
    registry = Registry(
        "registry",
        {"prefix": f"penstock-{stack}", "images": IMAGES, "key_arn": keys.images, "protected": protected},
        opts,
    )
    events = Events("events", {"account_id": account, "key_arn": keys.messages}, opts)
    cache = Cache(
        "cache",
        {
            "node_type": settings.data.cache.node_type,
            "engine_version": settings.data.cache.engine_version,
            "replicas": settings.data.cache.replicas,
            "tls": settings.data.cache.tls,
            "subnet_ids": network.intra_subnet_ids,
            "security_group_id": groups.cache_id,
            "key_arn": keys.cache,
        },
        opts,
    )
    database = Database(
        "database",
        {
            "instance_class": settings.data.database.instance_class,
            "engine_version": settings.data.database.engine_version,
            "storage_gib": settings.data.database.storage_gib,
            "max_storage_gib": settings.data.database.max_storage_gib,
            "multi_zone": settings.data.database.multi_zone,
            "backup_days": settings.data.database.backup_days,
            "subnet_ids": network.intra_subnet_ids,
            "security_group_id": groups.database_id,
            "key_arn": keys.database,
            "credentials_key_arn": keys.credentials,
            "protected": protected,
        },
        opts,
    )
    return Foundation(
        partition=partition,
        keys=keys,
        security_groups=groups,
        vpc_id=network.vpc_id,
        public_subnet_ids=network.public_subnet_ids,
        private_subnet_ids=network.private_subnet_ids,
        weights_bucket=weights.bucket,
        weights_bucket_arn=weights.arn,
        image_urls=registry.urls,
        cache_address=cache.address,
        database_address=database.address,
        topic_arn=events.topic_arn,
    )
