"""aws:elasticache: subnet group and replication group."""

from __future__ import annotations

from infra.local.aws.provider.resources.query_tags import NAMED_TAGS
from infra.local.aws.provider.row import Naming, NotDoneError, Row, Scope, creating, deleting, dig, finding, updating
from infra.local.aws.provider.schema import (
    Property,
    block_set,
    flag,
    integer,
    out,
    same_letters,
    same_name,
    text,
    text_set,
    texts,
)
from infra.local.aws.provider.values import Values

MINUTES_10 = 600.0

SUBNET_GROUP = Row(
    kind="aws:elasticache/subnetGroup:SubnetGroup",
    service="elasticache",
    fields={
        "name": text("CacheSubnetGroupName", replace=True, same=same_letters),
        "description": text("CacheSubnetGroupDescription", default="Managed by Pulumi"),
        "subnetIds": text_set(required=True),
        "arn": out(text("ARN")),
        "vpcId": out(text()),
    },
    create=creating("create_cache_subnet_group", "CacheSubnetGroup.CacheSubnetGroupName", tags="Tags"),
    find=finding("describe_cache_subnet_groups", "CacheSubnetGroups.0", lambda it: {"CacheSubnetGroupName": it}),
    derive=lambda scope, it, raw, state: {
        "subnetIds": sorted(subnet["SubnetIdentifier"] for subnet in raw.get("Subnets", []))
    },
    update=updating("modify_cache_subnet_group", lambda it: {"CacheSubnetGroupName": it}),
    delete=deleting("delete_cache_subnet_group", lambda it: {"CacheSubnetGroupName": it}),
    tagging=NAMED_TAGS,
    naming=Naming(lower=True),
)

WITH_MEMBERS: dict[str, Property] = {
    "engineVersion": text(computed=True, same=lambda a, b: str(b).startswith(f"{a}.")),
    "parameterGroupName": text(
        "CacheParameterGroupName", reply="CacheParameterGroup.CacheParameterGroupName", computed=True
    ),
    "subnetGroupName": text("CacheSubnetGroupName", computed=True, replace=True, same=same_letters),
    "maintenanceWindow": text("PreferredMaintenanceWindow", computed=True, same=same_letters),
    "notificationTopicArn": text(reply="NotificationConfiguration.TopicArn"),
}
"""What AWS reports for a group's member clusters only."""


def _create(scope: Scope, values: Values) -> str:
    nodes = "numCacheClusters" in values or "numNodeGroups" in values or "replicasPerNodeGroup" in values
    counted = values if nodes else {**values, "numCacheClusters": 1}
    made = creating("create_replication_group", "ReplicationGroup.ReplicationGroupId", tags="Tags", **_logs(values))
    return made(scope, counted)


def _logs(values: Values) -> Values:
    """The log deliveries as the API wants them: where to is a block of its own for each kind of destination."""
    kinds = {
        "cloudwatch-logs": ("CloudWatchLogsDetails", "LogGroup"),
        "kinesis-firehose": ("KinesisFirehoseDetails", "DeliveryStream"),
    }
    chosen = []
    for it in values.get("logDeliveryConfigurations") or []:
        details, name = kinds[it["destinationType"]]
        chosen.append(
            {
                "LogType": it["logType"],
                "LogFormat": it["logFormat"],
                "DestinationType": it["destinationType"],
                "DestinationDetails": {details: {name: it["destination"]}},
            }
        )
    return {"LogDeliveryConfigurations": chosen} if chosen else {}


def _find(scope: Scope, group: str, state: Values) -> Values | None:
    return dig(scope.api.describe_replication_groups(ReplicationGroupId=group), "ReplicationGroups.0")


def _settle(scope: Scope, group: str, values: Values) -> None:
    def available() -> bool:
        status = (_find(scope, group, values) or {}).get("Status")
        if status == "create-failed":
            raise NotDoneError(f"replication group {group}: status {status}")
        return status == "available"

    scope.wait(f"replication group {group} available", available, MINUTES_10)


def _outputs(scope: Scope, group: str, raw: Values, state: Values) -> Values:
    members = raw.get("MemberClusters", [])
    member = dig(scope.api.describe_cache_clusters(CacheClusterId=members[0]), "CacheClusters.0") if members else {}
    seen = scope.row.fields
    shared = {name: _read(seen[name], member, name) for name in WITH_MEMBERS}
    shards = raw.get("NodeGroups", [])
    clustered = bool(raw.get("ClusterEnabled"))
    ends = shards[0] if shards and not clustered else {}
    return {
        **shared,
        "engineVersionActual": member.get("EngineVersion"),
        "securityGroupIds": sorted(it["SecurityGroupId"] for it in member.get("SecurityGroups", [])),
        "automaticFailoverEnabled": raw.get("AutomaticFailover") in {"enabled", "enabling"},
        "multiAzEnabled": raw.get("MultiAZ") == "enabled",
        "memberClusters": sorted(members),
        "numCacheClusters": len(members),
        "numNodeGroups": len(shards) or 1,
        "replicasPerNodeGroup": len(members) // (len(shards) or 1) - 1,
        "primaryEndpointAddress": dig(ends, "PrimaryEndpoint.Address"),
        "readerEndpointAddress": dig(ends, "ReaderEndpoint.Address"),
        "port": dig(ends, "PrimaryEndpoint.Port") or dig(raw, "ConfigurationEndpoint.Port") or state.get("port"),
        "snapshotRetentionLimit": raw.get("SnapshotRetentionLimit") or 0,
    }


def _read(prop: Property, member: Values, name: str) -> str | None:
    path = prop.reply or prop.wire
    return dig(member, path if isinstance(path, str) else name[0].upper() + name[1:])


PLAIN_CHANGES = frozenset(
    {
        "description", "engineVersion", "parameterGroupName", "maintenanceWindow", "notificationTopicArn",
        "securityGroupIds", "automaticFailoverEnabled", "multiAzEnabled", "nodeType", "snapshotRetentionLimit",
        "snapshotWindow", "autoMinorVersionUpgrade", "transitEncryptionMode", "engine",
    }
)  # fmt: skip


def _update(scope: Scope, group: str, values: Values, changed: frozenset[str]) -> None:
    # Always at once: a local change has no maintenance window to wait for.
    request = scope.request(values, changed & PLAIN_CHANGES)
    request |= _logs(values) if "logDeliveryConfigurations" in changed else {}
    if "authToken" in changed and values.get("authToken"):
        strategy = values.get("authTokenUpdateStrategy") or "ROTATE"
        request |= {"AuthToken": values["authToken"], "AuthTokenUpdateStrategy": strategy}
    if "userGroupIds" in changed:
        there = set((_find(scope, group, values) or {}).get("UserGroupIds", []))
        wanted = set(values.get("userGroupIds") or [])
        request |= {"UserGroupIdsToAdd": sorted(wanted - there)} if wanted - there else {}
        request |= {"UserGroupIdsToRemove": sorted(there - wanted)} if there - wanted else {}
    replicas = _replicas(values) if changed & {"numCacheClusters", "replicasPerNodeGroup"} else None
    there = len((_find(scope, group, values) or {}).get("MemberClusters", [])) // (values.get("numNodeGroups") or 1) - 1
    # Replicas come before failover is asked for, and go after it is given up.
    if replicas is not None and replicas > there:
        scope.api.increase_replica_count(ReplicationGroupId=group, NewReplicaCount=replicas, ApplyImmediately=True)
        _settle(scope, group, values)
    if request:
        scope.api.modify_replication_group(ReplicationGroupId=group, ApplyImmediately=True, **request)
        _settle(scope, group, values)
    if replicas is not None and replicas < there:
        scope.api.decrease_replica_count(ReplicationGroupId=group, NewReplicaCount=replicas, ApplyImmediately=True)
        _settle(scope, group, values)


def _replicas(values: Values) -> int:
    nodes = values.get("numCacheClusters")
    return nodes - 1 if nodes else values.get("replicasPerNodeGroup") or 0


def _delete(scope: Scope, group: str, state: Values) -> None:
    final = state.get("finalSnapshotIdentifier")
    scope.api.delete_replication_group(
        ReplicationGroupId=group, **({"FinalSnapshotIdentifier": final} if final else {})
    )
    scope.wait_gone(f"replication group {group}", group, state, MINUTES_10)


REPLICATION_GROUP = Row(
    kind="aws:elasticache/replicationGroup:ReplicationGroup",
    service="elasticache",
    fields={
        "replicationGroupId": text(replace=True, same=same_letters),
        "description": text("ReplicationGroupDescription", reply="Description", required=True),
        "engine": text(default="redis"),
        **WITH_MEMBERS,
        "nodeType": text("CacheNodeType", computed=True),
        "port": integer(reply=False, computed=True, replace=True),
        "numCacheClusters": integer(reply=False, computed=True),
        "numNodeGroups": integer(reply=False, computed=True, replace=True),
        "replicasPerNodeGroup": integer(reply=False, computed=True),
        "automaticFailoverEnabled": flag(reply=False, default=False),
        "multiAzEnabled": flag("MultiAZEnabled", reply=False, default=False),
        "preferredCacheClusterAzs": texts("PreferredCacheClusterAZs", write_only=True, replace=True),
        "securityGroupIds": text_set(reply=False, computed=True),
        "atRestEncryptionEnabled": flag(default=False, replace=True),
        "transitEncryptionEnabled": flag(default=False, replace=True),
        "transitEncryptionMode": text(computed=True),
        "kmsKeyId": text(replace=True, same=same_name),
        "authToken": text(write_only=True, secret=True),
        "authTokenUpdateStrategy": text(False, write_only=True),
        "userGroupIds": text_set(),
        "autoMinorVersionUpgrade": flag(computed=True),
        "dataTieringEnabled": flag(reply=False, computed=True, replace=True),
        "clusterMode": text(computed=True),
        "networkType": text(computed=True, replace=True),
        "ipDiscovery": text(computed=True),
        "snapshotRetentionLimit": integer(reply=False, default=0),
        "snapshotWindow": text(computed=True),
        "finalSnapshotIdentifier": text(False, write_only=True),
        "applyImmediately": flag(False, write_only=True),
        "logDeliveryConfigurations": block_set(
            {"destination": text(), "destinationType": text(), "logFormat": text(), "logType": text()},
            False,
            write_only=True,
        ),
        "arn": out(text("ARN")),
        "clusterEnabled": out(flag()),
        "configurationEndpointAddress": out(text("ConfigurationEndpoint.Address")),
        "engineVersionActual": out(text(False)),
        "memberClusters": out(text_set(False)),
        "primaryEndpointAddress": out(text(False)),
        "readerEndpointAddress": out(text(False)),
    },
    create=_create,
    settle=_settle,
    find=_find,
    derive=_outputs,
    update=_update,
    delete=_delete,
    tagging=NAMED_TAGS,
    naming=Naming(field="replicationGroupId", limit=40, lower=True),
    renewed={
        "memberClusters": ("numCacheClusters", "numNodeGroups", "replicasPerNodeGroup"),
        "engineVersionActual": ("engineVersion", "engine"),
    },
)

ROWS = (SUBNET_GROUP, REPLICATION_GROUP)
