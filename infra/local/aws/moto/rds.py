"""RDS: resource identifiers of their own, Performance Insights settings, parameters with a source, engine versions."""

from __future__ import annotations

import json
import secrets
from typing import Any

from moto.core.responses import ActionResult
from moto.moto_api._internal import mock_random
from moto.rds.exceptions import DBParameterGroupNotFoundError, DBSubnetGroupNotFoundError, RDSClientError
from moto.rds.models import DBInstance, MasterUserSecret, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from infra.local.aws.moto.patching import attach, extend, wrap

ENGINE_VERSIONS = {"postgres": ("16.10", "16.14", "17.6", "18.1", "18.4")}
"""What DescribeDBEngineVersions offers. The local PostgreSQL serves the major versions 16 and 18 of these."""

PERFORMANCE_INSIGHTS = {
    "enable_performance_insights": "performance_insights_enabled",
    "performance_insights_kms_key_id": "performance_insights_kms_key_id",
    "performance_insights_retention_period": "performance_insights_retention_period",
}


def new_instance(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    # moto gives every instance the same identifier, so that a client cannot tell two apart
    self.dbi_resource_id = "db-" + mock_random.get_random_string(26, include_digits=True).upper()
    for parameter, attribute in PERFORMANCE_INSIGHTS.items():
        if (value := named.get(parameter)) is not None:
            setattr(self, attribute, value)


def changed_instance(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    for parameter, attribute in PERFORMANCE_INSIGHTS.items():
        if (value := named.get(parameter)) is not None:
            setattr(self, attribute, value)


def secret_string(_original: Any, self: Any) -> str:
    """As RDS writes it: the master user and a password that nobody chose."""
    return json.dumps({"username": self.resource.master_username, "password": secrets.token_urlsafe(24)})


def describe_db_parameters(self: Any) -> ActionResult:
    name, source = self.params.get("DBParameterGroupName"), self.params.get("Source")
    groups = self.backend.describe_db_parameter_groups({"db_parameter_group_name": name})
    if not groups:
        raise DBParameterGroupNotFoundError(name)
    parameters = [{**dict(value), "Source": source or "user"} for value in groups[0].parameters.values()]
    return ActionResult({"Parameters": parameters})


def describe_db_engine_versions(self: Any) -> ActionResult:
    engine, wanted = self.params.get("Engine"), self.params.get("EngineVersion") or ""
    return ActionResult(
        {
            "DBEngineVersions": [
                {
                    "Engine": name,
                    "EngineVersion": version,
                    "DBParameterGroupFamily": name + version.split(".")[0],
                    "Status": "available",
                    "MajorEngineVersion": version.split(".")[0],
                    "DBEngineDescription": name,
                    "DBEngineVersionDescription": f"{name} {version}",
                    "ValidUpgradeTarget": [],
                    "SupportedEngineModes": ["provisioned"],
                }
                for name, versions in ENGINE_VERSIONS.items()
                for version in versions
                if engine in (None, name) and (not wanted or version == wanted or version.startswith(wanted + "."))
            ]
        }
    )


def start_db_instance_automated_backups_replication(self: Any) -> ActionResult:
    source, region = self.params["SourceDBInstanceArn"], self.backend.region_name
    home = source.split(":")[3]
    if home == region:
        raise RDSClientError("InvalidParameterValue", "Backups are replicated to another region than the source's.")
    instance = rds_backends[self.current_account][home].describe_db_instances(arn_name(source))[0]
    if not instance.backup_retention_period:
        raise RDSClientError("InvalidDBInstanceState", f"{source} keeps no automated backups.")
    kept = replicated(self.backend)
    if source in kept:
        raise RDSClientError("DBInstanceAutomatedBackupAlreadyExists", f"Backups of {source} are replicated already.")
    name = "ab-" + mock_random.get_random_string(26, include_digits=True).lower()
    kept[source] = {
        "DBInstanceArn": source,
        "DBInstanceIdentifier": instance.db_instance_identifier,
        "DbiResourceId": instance.dbi_resource_id,
        "Region": home,
        "Status": "replicating",
        "Engine": instance.engine,
        "Encrypted": instance.storage_encrypted,
        "KmsKeyId": self.params.get("KmsKeyId"),
        "BackupRetentionPeriod": int(self.params.get("BackupRetentionPeriod") or 7),
        "DBInstanceAutomatedBackupsArn": f"arn:aws:rds:{region}:{self.current_account}:auto-backup:{name}",
    }
    return ActionResult({"DBInstanceAutomatedBackup": kept[source]})


def stop_db_instance_automated_backups_replication(self: Any) -> ActionResult:
    found = replicated(self.backend).pop(self.params["SourceDBInstanceArn"], None)
    if found is None:
        raise RDSClientError("DBInstanceAutomatedBackupNotFound", "These backups are not replicated.")
    return ActionResult({"DBInstanceAutomatedBackup": {**found, "Status": "deleting"}})


def describe_db_instance_automated_backups(original: Any, self: Any) -> ActionResult:
    arn = self.params.get("DBInstanceAutomatedBackupsArn")
    if arn is None:
        return original(self)
    found = [each for each in replicated(self.backend).values() if each["DBInstanceAutomatedBackupsArn"] == arn]
    if not found:
        raise RDSClientError("DBInstanceAutomatedBackupNotFound", f"{arn} is not known.")
    return ActionResult({"DBInstanceAutomatedBackups": found})


def replicated(backend: RDSBackend) -> dict[str, dict[str, Any]]:
    """What a region keeps of other regions' backups, by the source's ARN. A backend that is reset forgets it."""
    return vars(backend).setdefault("replicated_backups", {})


def modify_db_instance(original: Any, self: Any, db_instance_identifier: str, db_kwargs: dict[str, Any]) -> Any:
    """Another major version needs AllowMajorVersionUpgrade and a parameter group of its family, and none comes back."""
    allowed = str(db_kwargs.pop("allow_major_version_upgrade", False)).lower() == "true"
    wanted = db_kwargs.get("engine_version")
    running = self.describe_db_instances(db_instance_identifier)[0].engine_version
    if wanted and major(wanted) < major(running):
        raise RDSClientError("InvalidParameterCombination", f"Cannot upgrade postgres from {running} to {wanted}")
    if wanted and major(wanted) > major(running):
        if not allowed:
            raise RDSClientError(
                "InvalidParameterCombination",
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
            )
        group = self.db_parameter_groups.get(db_kwargs.get("db_parameter_group_name"))
        if group is not None and group.family != f"postgres{major(wanted)}":
            raise RDSClientError(
                "InvalidParameterCombination", f"The parameter group {group.name} has family {group.family}."
            )
    return original(self, db_instance_identifier, db_kwargs)


def major(version: str) -> int:
    return int(version.partition(".")[0])


def arn_name(arn: str) -> str:
    return arn.rsplit(":", 1)[1]


def modified_subnet_group(original: Any, self: Any, subnet_name: str, *arguments: Any, **named: Any) -> Any:
    if subnet_name not in self.subnet_groups:
        raise DBSubnetGroupNotFoundError(subnet_name)
    group = original(self, subnet_name, *arguments, **named)
    self.subnet_groups[subnet_name] = group  # moto takes it out
    return group


def reset_db_parameter_group(self: Any) -> ActionResult:
    name = self.params.get("DBParameterGroupName")
    groups = self.backend.describe_db_parameter_groups({"db_parameter_group_name": name})
    if not groups:
        raise DBParameterGroupNotFoundError(name)
    if self.params.get("ResetAllParameters"):
        groups[0].parameters.clear()
    for parameter in self.params.get("Parameters") or []:
        groups[0].parameters.pop(parameter["ParameterName"], None)
    return ActionResult({"DBParameterGroupName": name})


def install() -> None:
    wrap(DBInstance, "__init__", new_instance)
    wrap(DBInstance, "update", changed_instance)
    wrap(MasterUserSecret, "_generate_secret_string", secret_string)
    wrap(RDSBackend, "modify_db_subnet_group", modified_subnet_group)
    extend(RDSBackend, modify_db_instance)
    attach(
        RDSResponse,
        describe_db_parameters,
        describe_db_engine_versions,
        reset_db_parameter_group,
        start_db_instance_automated_backups_replication,
        stop_db_instance_automated_backups_replication,
    )
    extend(RDSResponse, describe_db_instance_automated_backups)
