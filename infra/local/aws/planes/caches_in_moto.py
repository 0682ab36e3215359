"""Where moto's ElastiCache and the servers meet."""

from __future__ import annotations

from typing import Any

from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.models import ElastiCacheBackend

from infra.local.aws.moto.patching import wrap
from infra.local.aws.planes.addresses import AddressInUseError
from infra.local.aws.planes.caches import Caches, point_at
from infra.local.processes import NotReadyError

DEFAULT_EVICTION = "volatile-lru"
"""ElastiCache's default `maxmemory-policy` (default.redis7, default.valkey8)."""


def install(caches: Caches) -> None:
    def create_replication_group(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
        group = original(self, *arguments, **named)
        if group.cluster_enabled:
            del self.replication_groups[group.replication_group_id]
            raise ElastiCacheException(
                "InvalidParameterValue", "cluster mode has no local server: use one node group without it"
            )
        settings = self.parameter_groups.get(group.cache_parameter_group_name, {"values": {}})["values"]
        eviction = settings.get("maxmemory-policy", DEFAULT_EVICTION)
        try:
            address = caches.create(
                group.arn, group.replication_group_id, group.port, named.get("auth_token"), eviction
            )
        except (AddressInUseError, NotReadyError, OSError) as error:
            del self.replication_groups[group.replication_group_id]
            raise ElastiCacheException("InsufficientCacheClusterCapacity", str(error)) from error
        point_at(group, address)
        return group

    def delete_replication_group(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
        group = original(self, *arguments, **named)
        caches.delete(group.arn)
        return group

    def describe_replication_groups(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
        groups = original(self, *arguments, **named)
        for group in groups:
            if group.status in ("available", "modifying"):
                group.status = "available" if caches.running(group.arn) else "modifying"
        return groups

    for handler in (create_replication_group, delete_replication_group, describe_replication_groups):
        wrap(ElastiCacheBackend, handler.__name__, handler)
