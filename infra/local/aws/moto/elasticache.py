"""ElastiCache replication groups: member clusters, deletes that end, the argument checks that AWS makes."""

from __future__ import annotations

import inspect
import re
from typing import Any

from moto.core.responses import ActionResult
from moto.elasticache.models import CacheCluster, ElastiCacheBackend
from moto.elasticache.responses import ElastiCacheResponse

from infra.local.aws.moto import elasticache_objects
from infra.local.aws.moto.elasticache_objects import refusal
from infra.local.aws.moto.patching import extend

FULL_VERSIONS = {
    "valkey": {"7.2": "7.2.6", "8.0": "8.0.1", "8.1": "8.1.0"},
    "redis": {"6.2": "6.2.6", "6.x": "6.2.6", "7.0": "7.0.7", "7.1": "7.1.0"},
}
NEWEST = {"valkey": "8.1", "redis": "7.1"}


def full_version(engine: str, version: str | None) -> str:
    version = version or NEWEST[engine]
    return FULL_VERSIONS[engine].get(version, version)


def check(response: Any) -> None:
    """The combinations that CreateReplicationGroup refuses (Amazon ElastiCache API reference)."""
    parameter, backend = response._get_param, response.elasticache_backend
    nodes, shards = parameter("NumCacheClusters") or 0, parameter("NumNodeGroups") or 0
    total = nodes or (shards or 1) * (1 + (parameter("ReplicasPerNodeGroup") or 0))
    engine, failover = parameter("Engine") or "redis", parameter("AutomaticFailoverEnabled")
    tls, token, users = parameter("TransitEncryptionEnabled"), parameter("AuthToken"), parameter("UserGroupIds") or []
    subnets, settings = parameter("CacheSubnetGroupName"), parameter("CacheParameterGroupName") or "default."
    combination, value = "InvalidParameterCombination", "InvalidParameterValue"
    for refused, code, message in (
        (engine not in FULL_VERSIONS, value, f"Invalid engine {engine}: it must be redis or valkey."),
        (
            failover and not parameter("GlobalReplicationGroupId") and total < 2, value,
            "Replication group with automatic failover must have at least one replica.",
        ),
        (
            parameter("MultiAZEnabled") and not failover, combination,
            "Automatic failover must be enabled to use Multi-AZ.",
        ),
        (token and not tls, combination, "AuthToken is only supported when encryption-in-transit is enabled."),
        (
            token and not 16 <= len(token) <= 128, value,
            "Invalid AuthToken provided: it must have 16 to 128 characters.",
        ),
        (token and users, combination, "AuthToken and UserGroupIds cannot be used together."),
        (
            users and not tls, combination,
            "User group based access control requires encryption-in-transit to be enabled.",
        ),
        (nodes and shards, combination, "Cannot specify both NumCacheClusters and NumNodeGroups."),
        (
            not re.fullmatch(r"[a-zA-Z](?!.*--)[a-zA-Z0-9-]{0,38}[a-zA-Z0-9]", parameter("ReplicationGroupId") or ""),
            value, f"Invalid ReplicationGroupId {parameter('ReplicationGroupId')}.",
        ),
        (
            subnets and subnets not in backend.cache_subnet_groups, "CacheSubnetGroupNotFoundFault",
            f"Cache subnet group {subnets} does not exist.",
        ),
        (any(user not in backend.user_groups for user in users), "UserGroupNotFound", "User group not found."),
        (
            not re.fullmatch(r"cache\.[a-z0-9]+\.[0-9a-z]+", parameter("CacheNodeType") or ""), value,
            f"Invalid CacheNodeType {parameter('CacheNodeType')}.",
        ),
        (
            not settings.startswith("default.") and settings not in backend.parameter_groups,
            "CacheParameterGroupNotFound", f"CacheParameterGroup {settings} not found.",
        ),
    ):  # fmt: skip
        if refused:
            raise refusal(code, message)


def add_member(response: Any, group: Any, identifier: str, parameter_group: str) -> None:
    """Clients read a group's version, subnets and security groups from its member clusters."""
    parameter, backend = response._get_param, response.elasticache_backend
    unset = {name: None for name in inspect.signature(CacheCluster).parameters if name not in BACKEND_FIELDS}
    member = backend.create_cache_cluster(
        **{
            **unset,
            "cache_cluster_id": identifier,
            "replication_group_id": group.replication_group_id,
            "cache_node_type": parameter("CacheNodeType"),
            "engine": group.engine,
            "engine_version": full_version(group.engine, parameter("EngineVersion")),
            "cache_subnet_group_name": parameter("CacheSubnetGroupName"),
            "port": group.port,
            "snapshot_retention_limit": group.snapshot_retention_limit,
            "preferred_maintenance_window": parameter("PreferredMaintenanceWindow") or "sun:05:00-sun:06:00",
            "transit_encryption_enabled": bool(parameter("TransitEncryptionEnabled")),
            "auto_minor_version_upgrade": group.auto_minor_version_upgrade,
        }
    )
    member.num_cache_nodes, member.replication_group_id = 1, group.replication_group_id
    member.at_rest_encryption_enabled = group.at_rest_encryption_enabled
    member.auth_token_enabled = bool(parameter("AuthToken"))
    member.snapshot_window = group.snapshot_window
    member.cache_parameter_group = {"CacheParameterGroupName": parameter_group, "ParameterApplyStatus": "in-sync"}
    member.security_groups = security_groups(parameter("SecurityGroupIds"))
    member.network_type = member.ip_discovery = "ipv4"


BACKEND_FIELDS = ("account_id", "region_name")


def security_groups(identifiers: list[str] | None) -> list[dict[str, str]]:
    return [{"SecurityGroupId": identifier, "Status": "active"} for identifier in identifiers or []]


def create_replication_group(original: Any, self: Any) -> ActionResult:
    check(self)
    parameter = self._get_param
    nodes, shards = parameter("NumCacheClusters") or 0, parameter("NumNodeGroups") or 0
    engine, named_group = parameter("Engine") or "redis", parameter("CacheParameterGroupName") or ""
    if nodes:
        self.params["ReplicasPerNodeGroup"] = nodes - 1  # moto ignores NumCacheClusters
    if shards > 1 or ".cluster.on" in named_group:
        self.params["ClusterMode"] = "enabled"
    result = original(self)
    group = result.result["ReplicationGroup"]
    family = "valkey8" if engine == "valkey" else "redis7"
    group.auto_minor_version_upgrade = parameter("AutoMinorVersionUpgrade") is not False
    group.snapshot_window = parameter("SnapshotWindow") or "05:00-06:00"
    if parameter("TransitEncryptionEnabled"):
        group.transit_encryption_mode = parameter("TransitEncryptionMode") or "required"
    default_group = f"default.{family}" + (".cluster.on" if group.cluster_enabled else "")
    for identifier in group.member_clusters:
        add_member(self, group, identifier, named_group or default_group)
    spread(backend=self.elasticache_backend, group=group, preferred=parameter("PreferredCacheClusterAZs") or [])
    return result


def spread(backend: Any, group: Any, preferred: list[str]) -> None:
    """Puts the nodes of a group into the zones of its subnets in turn. moto has all of them in us-east-1."""
    subnets = backend.cache_subnet_groups.get(group.cache_subnet_group_name)
    known = [subnet["subnet_availability_zone"] for subnet in subnets.subnets] if subnets else []
    zones = preferred or known or [f"{backend.region_name}{letter}" for letter in "abc"]
    for nodes in group.node_groups:
        for number, node in enumerate(nodes["node_group_members"]):
            node["preferred_availability_zone"] = zones[number % len(zones)]
            member = backend.cache_clusters[node["cache_cluster_id"]]
            member.preferred_availability_zone = node["preferred_availability_zone"]


def modify_replication_group(original: Any, self: Any) -> ActionResult:
    result, parameter, backend = original(self), self._get_param, self.elasticache_backend
    group = result.result["ReplicationGroup"]
    kept = [user for user in group.user_group_ids if user not in (parameter("UserGroupIdsToRemove") or [])]
    group.user_group_ids = kept + (parameter("UserGroupIdsToAdd") or [])
    for name, attribute in (
        ("AutoMinorVersionUpgrade", "auto_minor_version_upgrade"), ("SnapshotWindow", "snapshot_window"),
        ("TransitEncryptionMode", "transit_encryption_mode"),
    ):  # fmt: skip
        if (value := parameter(name)) is not None:
            setattr(group, attribute, value)
    for identifier in group.member_clusters:
        member = backend.cache_clusters[identifier]
        if version := parameter("EngineVersion"):
            member.engine_version = full_version(group.engine, version)
        member.cache_node_type = parameter("CacheNodeType") or member.cache_node_type
        member.snapshot_window, member.snapshot_retention_limit = group.snapshot_window, group.snapshot_retention_limit
        if window := parameter("PreferredMaintenanceWindow"):
            member.preferred_maintenance_window = window
        if name := parameter("CacheParameterGroupName"):
            member.cache_parameter_group = {"CacheParameterGroupName": name, "ParameterApplyStatus": "in-sync"}
        if identifiers := parameter("SecurityGroupIds"):
            member.security_groups = security_groups(identifiers)
    return result


def delete_replication_group(original: Any, self: Any) -> ActionResult:
    backend, result = self.elasticache_backend, original(self)
    group = result.result["ReplicationGroup"]
    for identifier in group.member_clusters:
        backend.cache_clusters.pop(identifier, None)
    backend.replication_groups.pop(group.replication_group_id, None)
    return result


def delete_cache_cluster(original: Any, self: Any) -> ActionResult:
    result = original(self)
    self.elasticache_backend.cache_clusters.pop(self._get_param("CacheClusterId"), None)
    return result


def with_collections(original: Any, self: Any, region_name: str, account_id: str) -> None:
    original(self, region_name, account_id)
    self.arn_regex = re.compile(
        r"^arn:aws:elasticache:.*:[0-9]*:"
        r"(cluster|snapshot|subnetgroup|replicationgroup|user|parametergroup|usergroup):.*$"
    )
    self.parameter_groups, self.user_groups = {}, {}


def install() -> None:
    extend(
        ElastiCacheResponse, create_replication_group, modify_replication_group, delete_replication_group,
        delete_cache_cluster,
    )  # fmt: skip
    elasticache_objects.install(ElastiCacheBackend, with_collections)
