"""aws:rds instance."""

from __future__ import annotations

from infra.local.aws.provider.resources.query_tags import NAMED_TAGS
from infra.local.aws.provider.row import Naming, NotDoneError, Row, Scope, creating, dig
from infra.local.aws.provider.schema import blocks, flag, integer, out, same_letters, same_name, text, text_set
from infra.local.aws.provider.values import Values

MINUTES_10 = 600.0
FAILED = frozenset({"failed", "incompatible-network", "incompatible-parameters", "storage-full", "restore-error"})

FIXED = frozenset(
    {
        "identifier", "engine", "username", "dbName", "kmsKeyId", "storageEncrypted", "availabilityZone",
        "dbSubnetGroupName", "licenseModel",
    }
)  # fmt: skip
"""What ModifyDBInstance cannot change."""


def _find(scope: Scope, instance: str, state: Values) -> Values | None:
    # The id is the resource id, as in pulumi-aws; an import may name the instance instead.
    by_id = [{"Name": "dbi-resource-id", "Values": [instance]}]
    if instance.startswith("db-") and "identifier" not in state:
        return dig(scope.api.describe_db_instances(Filters=by_id), "DBInstances.0")
    name = state.get("identifier") or instance
    return dig(scope.api.describe_db_instances(DBInstanceIdentifier=name), "DBInstances.0")


def _create(scope: Scope, values: Values) -> str:
    return creating("create_db_instance", "DBInstance.DbiResourceId", tags="Tags")(scope, values)


def _settle(scope: Scope, instance: str, values: Values) -> None:
    def available() -> bool:
        found = _find(scope, instance, values) or {}
        status = found.get("DBInstanceStatus")
        if status in FAILED:
            reason = dig(found, "StatusInfos.0.Message") or "AWS gives no reason"
            raise NotDoneError(f"database {values['identifier']}: status {status} ({reason})")
        return status == "available"

    scope.wait(f"database {values['identifier']} available", available, MINUTES_10)


def _outputs(scope: Scope, instance: str, raw: Values, state: Values) -> Values:
    secret = raw.get("MasterUserSecret")
    address, port = dig(raw, "Endpoint.Address"), dig(raw, "Endpoint.Port")
    grown = raw.get("MaxAllocatedStorage")
    return {
        "id": raw["DbiResourceId"],
        "endpoint": f"{address}:{port}" if address else None,
        "vpcSecurityGroupIds": sorted(it["VpcSecurityGroupId"] for it in raw.get("VpcSecurityGroups", [])),
        "parameterGroupName": dig(raw, "DBParameterGroups.0.DBParameterGroupName"),
        "optionGroupName": dig(raw, "OptionGroupMemberships.0.OptionGroupName"),
        # AWS reports a maximum only where storage may grow.
        "maxAllocatedStorage": grown if grown and grown != raw.get("AllocatedStorage") else None,
        "masterUserSecrets": [
            {
                "kmsKeyId": secret.get("KmsKeyId"),
                "secretArn": secret["SecretArn"],
                "secretStatus": secret.get("SecretStatus"),
            }
        ]
        if secret
        else [],
        "manageMasterUserPassword": True if secret else None,
        "masterUserSecretKmsKeyId": (secret or {}).get("KmsKeyId"),
    }


def _update(scope: Scope, instance: str, values: Values, changed: frozenset[str]) -> None:
    request = scope.request(values, changed - FIXED - {"enabledCloudwatchLogsExports"})
    if "enabledCloudwatchLogsExports" in changed:
        there = set((_find(scope, instance, values) or {}).get("EnabledCloudwatchLogsExports", []))
        wanted = set(values.get("enabledCloudwatchLogsExports") or [])
        request["CloudwatchLogsExportConfiguration"] = {
            "EnableLogTypes": sorted(wanted - there),
            "DisableLogTypes": sorted(there - wanted),
        }
    if "monitoringInterval" in changed or "monitoringRoleArn" in changed:
        request |= scope.request(values, {"monitoringInterval", "monitoringRoleArn"})
    if "engineVersion" in changed and values.get("allowMajorVersionUpgrade"):
        request["AllowMajorVersionUpgrade"] = True
    if "DBPortNumber" not in request and "Port" in request:
        request["DBPortNumber"] = request.pop("Port")
    if request:
        # Always at once: a local change has no maintenance window to wait for.
        scope.api.modify_db_instance(DBInstanceIdentifier=values["identifier"], ApplyImmediately=True, **request)
        _settle(scope, instance, values)


def _delete(scope: Scope, instance: str, state: Values) -> None:
    final = state.get("finalSnapshotIdentifier")
    if not state.get("skipFinalSnapshot") and not final:
        raise NotDoneError("finalSnapshotIdentifier is required to delete a database while skipFinalSnapshot is false")
    name = state["identifier"]
    scope.api.delete_db_instance(
        DBInstanceIdentifier=name,
        SkipFinalSnapshot=bool(state.get("skipFinalSnapshot")),
        DeleteAutomatedBackups=state.get("deleteAutomatedBackups") is not False,
        **({} if state.get("skipFinalSnapshot") else {"FinalDBSnapshotIdentifier": final}),
    )
    scope.wait_gone(f"database {name}", instance, state, MINUTES_10)


def _same_version(asked: object, live: object) -> bool:
    """`17` asks for any 17.x."""
    return str(live).startswith(f"{asked}.")


INSTANCE = Row(
    kind="aws:rds/instance:Instance",
    service="rds",
    fields={
        "identifier": text("DBInstanceIdentifier", replace=True, same=same_letters),
        "identifierPrefix": text(False, replace=True, write_only=True),
        "instanceClass": text("DBInstanceClass", required=True),
        "engine": text(computed=True, replace=True),
        "engineVersion": text(computed=True, same=_same_version),
        "engineLifecycleSupport": text(computed=True, replace=True),
        "allocatedStorage": integer(computed=True),
        "maxAllocatedStorage": integer(reply=False),
        "storageType": text(computed=True),
        "iops": integer(computed=True),
        "storageThroughput": integer(computed=True),
        "storageEncrypted": flag(default=False, replace=True),
        "kmsKeyId": text(computed=True, replace=True, same=same_name),
        "dbName": text("DBName", computed=True, replace=True),
        "username": text("MasterUsername", computed=True, replace=True),
        "password": text("MasterUserPassword", write_only=True, secret=True),
        "manageMasterUserPassword": flag(reply=False),
        "masterUserSecretKmsKeyId": text(reply=False, computed=True, same=same_name),
        "port": integer(reply="Endpoint.Port", computed=True),
        "vpcSecurityGroupIds": text_set(reply=False, computed=True),
        "dbSubnetGroupName": text(
            "DBSubnetGroupName", reply="DBSubnetGroup.DBSubnetGroupName", computed=True, replace=True, same=same_letters
        ),
        "parameterGroupName": text("DBParameterGroupName", reply=False, computed=True),
        "optionGroupName": text(reply=False, computed=True),
        "availabilityZone": text(computed=True, replace=True),
        "multiAz": flag("MultiAZ", computed=True),
        "publiclyAccessible": flag(default=False),
        "networkType": text(computed=True),
        "licenseModel": text(computed=True, replace=True),
        "backupRetentionPeriod": integer(computed=True),
        "backupWindow": text("PreferredBackupWindow", computed=True, same=same_letters),
        "maintenanceWindow": text("PreferredMaintenanceWindow", computed=True, same=same_letters),
        "autoMinorVersionUpgrade": flag(default=True),
        "copyTagsToSnapshot": flag(default=False),
        "deletionProtection": flag(default=False),
        "enabledCloudwatchLogsExports": text_set("EnableCloudwatchLogsExports", reply="EnabledCloudwatchLogsExports"),
        "iamDatabaseAuthenticationEnabled": flag(
            "EnableIAMDatabaseAuthentication", reply="IAMDatabaseAuthenticationEnabled", default=False
        ),
        "databaseInsightsMode": text(computed=True),
        "performanceInsightsEnabled": flag(
            "EnablePerformanceInsights", reply="PerformanceInsightsEnabled", default=False
        ),
        "performanceInsightsKmsKeyId": text("PerformanceInsightsKMSKeyId", computed=True, same=same_name),
        "performanceInsightsRetentionPeriod": integer(computed=True),
        "monitoringInterval": integer(default=0),
        "monitoringRoleArn": text(computed=True),
        "caCertIdentifier": text("CACertificateIdentifier", computed=True),
        "dedicatedLogVolume": flag(computed=True),
        "allowMajorVersionUpgrade": flag(False, write_only=True),
        "applyImmediately": flag(False, write_only=True),
        "deleteAutomatedBackups": flag(False, default=True, write_only=True),
        "skipFinalSnapshot": flag(False, default=False, write_only=True),
        "finalSnapshotIdentifier": text(False, write_only=True),
        "arn": out(text("DBInstanceArn")),
        "address": out(text("Endpoint.Address")),
        "endpoint": out(text(False)),
        "hostedZoneId": out(text("Endpoint.HostedZoneId")),
        "engineVersionActual": out(text("EngineVersion")),
        "masterUserSecrets": out(blocks({"kmsKeyId": text(), "secretArn": text(), "secretStatus": text()}, False)),
        "resourceId": out(text("DbiResourceId")),
        "status": out(text("DBInstanceStatus")),
    },
    create=_create,
    settle=_settle,
    find=_find,
    derive=_outputs,
    update=_update,
    delete=_delete,
    tagging=NAMED_TAGS,
    naming=Naming(field="identifier", limit=63, lower=True, prefix_field="identifierPrefix"),
    renewed={
        "engineVersionActual": ("engineVersion",),
        "masterUserSecrets": ("manageMasterUserPassword", "masterUserSecretKmsKeyId"),
    },
)

ROWS = (INSTANCE,)
