"""aws:rds: subnet group and parameter group."""

from __future__ import annotations

from infra.local.aws.provider.resources.query_tags import NAMED_TAGS
from infra.local.aws.provider.row import Naming, Row, Scope, creating, deleting, finding
from infra.local.aws.provider.schema import block_set, flag, integer, out, same_letters, same_name, text, text_set
from infra.local.aws.provider.values import Values

PARAMETERS_PER_CALL = 20
"""Limit of ModifyDBParameterGroup (Amazon RDS API reference)."""

SUBNET_GROUP = Row(
    kind="aws:rds/subnetGroup:SubnetGroup",
    service="rds",
    fields={
        "name": text("DBSubnetGroupName", replace=True, same=same_letters),
        "namePrefix": text(False, replace=True, write_only=True),
        "description": text("DBSubnetGroupDescription", default="Managed by Pulumi"),
        "subnetIds": text_set(required=True),
        "arn": out(text("DBSubnetGroupArn")),
        "supportedNetworkTypes": out(text_set()),
        "vpcId": out(text()),
    },
    create=creating("create_db_subnet_group", "DBSubnetGroup.DBSubnetGroupName", tags="Tags"),
    find=finding("describe_db_subnet_groups", "DBSubnetGroups.0", lambda it: {"DBSubnetGroupName": it}),
    derive=lambda scope, it, raw, state: {
        "subnetIds": sorted(subnet["SubnetIdentifier"] for subnet in raw.get("Subnets", []))
    },
    update=lambda scope, it, values, changed: _modify_subnets(scope, it, values),
    delete=deleting("delete_db_subnet_group", lambda it: {"DBSubnetGroupName": it}),
    tagging=NAMED_TAGS,
    naming=Naming(lower=True, prefix_field="namePrefix"),
)


def _modify_subnets(scope: Scope, group: str, values: Values) -> None:
    # The subnets are required by the call, whatever changes.
    request = scope.request(values, {"description", "subnetIds"})
    scope.api.modify_db_subnet_group(DBSubnetGroupName=group, **request)


def _apply(scope: Scope, group: str, parameters: list[Values]) -> None:
    for start in range(0, len(parameters), PARAMETERS_PER_CALL):
        part = [
            {"ParameterName": it["name"], "ParameterValue": it["value"], "ApplyMethod": it["applyMethod"]}
            for it in parameters[start : start + PARAMETERS_PER_CALL]
        ]
        scope.api.modify_db_parameter_group(DBParameterGroupName=group, Parameters=part)


def _settle(scope: Scope, group: str, values: Values) -> None:
    _apply(scope, group, values.get("parameters") or [])


def _live(scope: Scope, group: str) -> list[Values]:
    pages = scope.api.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group, Source="user")
    return [
        {
            "name": it["ParameterName"],
            "value": it.get("ParameterValue", ""),
            "applyMethod": it.get("ApplyMethod", "immediate"),
        }
        for page in pages
        for it in page["Parameters"]
    ]


def _update(scope: Scope, group: str, values: Values, changed: frozenset[str]) -> None:
    wanted = {it["name"]: it for it in values.get("parameters") or []}
    leave = [it for it in _live(scope, group) if it["name"] not in wanted]
    if leave:
        names = [{"ParameterName": it["name"], "ApplyMethod": it["applyMethod"]} for it in leave]
        scope.api.reset_db_parameter_group(DBParameterGroupName=group, ResetAllParameters=False, Parameters=names)
    _apply(scope, group, list(wanted.values()))


PARAMETER_GROUP = Row(
    kind="aws:rds/parameterGroup:ParameterGroup",
    service="rds",
    fields={
        "name": text("DBParameterGroupName", replace=True, same=same_letters),
        "namePrefix": text(False, replace=True, write_only=True),
        "family": text("DBParameterGroupFamily", required=True, replace=True),
        "description": text(default="Managed by Pulumi", replace=True),
        "parameters": block_set(
            {"name": text(required=True), "value": text(required=True), "applyMethod": text(default="immediate")}, False
        ),
        "skipDestroy": flag(False, default=False, write_only=True),
        "arn": out(text("DBParameterGroupArn")),
    },
    create=creating("create_db_parameter_group", "DBParameterGroup.DBParameterGroupName", tags="Tags"),
    settle=_settle,
    find=finding("describe_db_parameter_groups", "DBParameterGroups.0", lambda it: {"DBParameterGroupName": it}),
    derive=lambda scope, it, raw, state: {
        "parameters": sorted(_live(scope, it), key=lambda parameter: parameter["name"])
    },
    update=_update,
    delete=lambda scope, it, state: (
        None if state.get("skipDestroy") else scope.api.delete_db_parameter_group(DBParameterGroupName=it)
    ),
    tagging=NAMED_TAGS,
    naming=Naming(lower=True, prefix_field="namePrefix"),
)

BACKUPS_REPLICATION = Row(
    kind="aws:rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication",
    service="rds",
    fields={
        "sourceDbInstanceArn": text("SourceDBInstanceArn", reply="DBInstanceArn", required=True, replace=True),
        "kmsKeyId": text(computed=True, replace=True, same=same_name),
        "retentionPeriod": integer("BackupRetentionPeriod", default=7, replace=True),
        "preSignedUrl": text(False, replace=True, write_only=True),
    },
    create=creating(
        "start_db_instance_automated_backups_replication", "DBInstanceAutomatedBackup.DBInstanceAutomatedBackupsArn"
    ),
    find=finding(
        "describe_db_instance_automated_backups",
        "DBInstanceAutomatedBackups.0",
        lambda it: {"DBInstanceAutomatedBackupsArn": it},
    ),
    delete=lambda scope, it, state: scope.api.stop_db_instance_automated_backups_replication(
        SourceDBInstanceArn=state["sourceDbInstanceArn"]
    ),
    delete_before_replace=True,  # one replication of a source in a region
)

ROWS = (SUBNET_GROUP, PARAMETER_GROUP, BACKUPS_REPLICATION)
