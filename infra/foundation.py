"""The foundation: network, keys, data stores, buckets, registries. What must survive the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.audit import AccessLogs, AuditTrail
from components.copies import Copies
from components.databases import Cache, Database
from components.events import Events
from components.keys import DataKeys
from components.network import Network
from components.security_groups import SecurityGroups
from components.stores import Registry, Weights, WeightsArgs
from infra.parts import network_endpoints
from infra.running_version import version_may_come
from infra.settings import Settings
from infra.settings.regions import partition_of

IMAGES = ("gateway", "engine", "karpenter")


def images_of(settings: Settings) -> tuple[str, ...]:
    """The repositories of a stack: what it always runs, and the controllers that it asks for."""
    chosen = {
        "device-plugin": settings.controllers.device_plugin.enabled,
        "keda": settings.controllers.keda.enabled,
        "keda-metrics-apiserver": settings.controllers.keda.enabled,
        "load-balancer-controller": settings.controllers.load_balancer.enabled,
        "collector": settings.watch.collector.enabled,
    }
    return (*IMAGES, *(image for image, wanted in chosen.items() if wanted))


@dataclass(frozen=True)
class Foundation:
    partition: str
    keys: DataKeys
    security_groups: SecurityGroups
    vpc_id: pulumi.Output[str]
    public_subnet_ids: pulumi.Output[Sequence[str]]
    private_subnet_ids: pulumi.Output[Sequence[str]]
    zone_ids: pulumi.Output[dict[str, str]]
    """By zone letter."""
    access_logs_bucket: pulumi.Output[str]
    weights_bucket: pulumi.Output[str]
    weights_bucket_arn: pulumi.Output[str]
    image_urls: pulumi.Output[dict[str, str]]
    cache_address: pulumi.Output[str]
    """host:port."""
    database_address: pulumi.Output[str]
    """host:port."""
    database_identifier: pulumi.Output[str]
    database_secret_arn: pulumi.Output[str]
    """The secret in which AWS keeps the owner's name and password, and rotates it."""
    cache_token: pulumi.Output[str]
    """Secret; empty where the cache asks for none."""
    cache_members: Sequence[pulumi.Output[str]]
    """Ids of the cache's nodes."""
    topic_arn: pulumi.Output[str]
    events_queue_url: pulumi.Output[str]
    """What is said on the topic, for gateways to read."""
    events_queue_arn: pulumi.Output[str]
    dead_queue_name: pulumi.Output[str]


def build_foundation(settings: Settings, stack: str, provider: pulumi.ProviderResource) -> Foundation:
    opts = pulumi.ResourceOptions(providers=[provider])
    partition = partition_of(settings.aws.region)
    account = settings.aws.account_id
    protected = settings.protected
    keys = DataKeys(
        "keys",
        {"partition": partition, "region": settings.aws.region, "account_id": account, "protected": protected},
        opts,
    )
    network = Network(
        "network",
        {
            "region": settings.aws.region,
            "cidr": settings.network.cidr,
            "zones": settings.network.zones,
            "nat_gateways": settings.network.nat_gateways,
            "interface_endpoints": network_endpoints(settings),
            "flow_log_group": f"/penstock/{stack}/network",
            "flow_log_days": settings.network.flow_log_days,
            "logs_key_arn": keys.logs,
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
    access_logs = AccessLogs(
        "access-logs",
        {"account_id": account, "days": settings.audit.access_log_days, "protected": protected},
        opts,
    )
    if settings.audit.trail:
        AuditTrail(
            "trail",
            {
                "partition": partition,
                "region": settings.aws.region,
                "account_id": account,
                "trail_name": f"penstock-{stack}",
                "key_arn": keys.audit,
                "days": settings.audit.trail_days,
                "protected": protected,
            },
            opts,
        )
    weights = Weights("weights", _weights_args(settings, keys, access_logs), opts)
    registry = Registry(
        "registry",
        {"prefix": f"penstock-{stack}", "images": images_of(settings), "key_arn": keys.images, "protected": protected},
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
            "auth": settings.data.cache.auth,
            "token_number": settings.rotation.cache_token,
            "subnet_ids": network.intra_subnet_ids,
            "security_group_id": groups.cache_id,
            "key_arn": keys.cache,
            "credentials_key_arn": keys.credentials,
            "protected": protected,
        },
        opts,
    )
    database = Database(
        "database",
        {
            "identifier": f"penstock-{stack}",
            "instance_class": settings.data.database.instance_class,
            "engine_version": settings.data.database.engine_version,
            "checked_version": version_may_come(settings, f"penstock-{stack}", provider),
            "allow_major_upgrade": settings.data.database.allow_major_upgrade,
            "storage_gib": settings.data.database.storage_gib,
            "max_storage_gib": settings.data.database.max_storage_gib,
            "multi_zone": settings.data.database.multi_zone,
            "backup_days": settings.data.database.backup_days,
            "subnet_ids": network.intra_subnet_ids,
            "security_group_id": groups.database_id,
            "key_arn": keys.database,
            "credentials_key_arn": keys.credentials,
            "logs_key_arn": keys.logs,
            "log_retention_days": settings.watch.log_retention_days.database,
            "protected": protected,
        },
        opts,
    )
    if settings.data.copy_region is not None:
        Copies(
            "copies",
            {
                "partition": partition,
                "account_id": account,
                "region": settings.data.copy_region,
                "home_region": settings.aws.region,
                "weights_bucket": weights.versioned_bucket,
                "weights_bucket_arn": weights.arn,
                "weights_key_arn": keys.weights,
                "old_version_days": settings.data.weights.old_version_days,
                "database_arn": database.arn,
                "backup_days": settings.data.database.backup_days,
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
        zone_ids=network.zone_ids,
        access_logs_bucket=access_logs.bucket,
        weights_bucket=weights.bucket,
        weights_bucket_arn=weights.arn,
        image_urls=registry.urls,
        cache_address=cache.address,
        database_address=database.address,
        database_identifier=database.identifier,
        database_secret_arn=database.secret_arn,
        cache_token=cache.token,
        cache_members=cache.members,
        topic_arn=events.topic_arn,
        events_queue_url=events.queue_url,
        events_queue_arn=events.queue_arn,
        dead_queue_name=events.dead_queue_name,
    )


def _weights_args(settings: Settings, keys: DataKeys, access_logs: AccessLogs) -> WeightsArgs:
    args: WeightsArgs = {
        "key_arn": keys.weights,
        "old_version_days": settings.data.weights.old_version_days,
        "protected": settings.protected,
        "access_logs_bucket": settings.data.weights.access_logs_bucket or access_logs.bucket,
    }
    return args
