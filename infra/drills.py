"""Drills on AWS, where a stack asks for them: experiment templates over its own nodes, database and cache."""

from __future__ import annotations

import pulumi

from components.edge import Edge
from components.fault_injection import FaultInjection, FaultInjectionArgs
from infra.foundation import Foundation
from infra.settings import Settings


def build_drills(
    settings: Settings, foundation: Foundation, edge: Edge, stack: str, opts: pulumi.ResourceOptions
) -> None:
    if not settings.drills.enabled:
        return
    region, account, partition = settings.aws.region, settings.aws.account_id, foundation.partition
    database = foundation.database_identifier.apply(lambda name: f"arn:{partition}:rds:{region}:{account}:db:{name}")
    # A member's name is its group's with a number behind.
    cache = foundation.cache_members[0].apply(
        lambda member: f"arn:{partition}:elasticache:{region}:{account}:replicationgroup:{member.rpartition('-')[0]}"
    )
    args: FaultInjectionArgs = {
        "partition": partition,
        "region": region,
        "account_id": account,
        "stack": stack,
        "zones": [f"{region}{zone}" for zone in settings.network.zones],
        "longest_seconds": settings.drills.longest_seconds,
        "stop_errors": settings.drills.stop_errors,
        "load_balancer_dimension": edge.load_balancer_dimension,
        "volumes_key_arn": foundation.keys.volumes,
        "database_arn": database if settings.data.database.multi_zone else None,
        "cache_arn": cache if settings.data.cache.replicas else None,
    }
    FaultInjection("drills", args, opts)
