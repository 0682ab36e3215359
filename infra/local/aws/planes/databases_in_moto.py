"""Where moto's RDS and the servers meet."""

from __future__ import annotations

from typing import Any

from moto.rds.exceptions import InvalidParameterCombination, InvalidParameterValue, RDSClientError
from moto.rds.models import DBInstance, RDSBackend

from infra.local.aws.moto.patching import wrap
from infra.local.aws.planes.addresses import AddressInUseError
from infra.local.aws.planes.databases import Databases
from infra.local.aws.planes.postgres import PostgresError


def install(databases: Databases) -> None:
    def create_db_instance(original: Any, self: Any, db_kwargs: Any) -> Any:
        engine = db_kwargs.get("engine")
        if engine != "postgres":
            raise InvalidParameterValue(f"engine {engine} has no local server: only postgres has")
        try:
            installation = databases.installation(db_kwargs.get("engine_version"))
        except LookupError as error:
            raise InvalidParameterCombination(str(error)) from error
        if db_kwargs.get("engine_version") is None:
            db_kwargs["engine_version"] = installation.version
        instance = original(self, db_kwargs)
        try:
            databases.create(instance)
        except (AddressInUseError, PostgresError) as error:
            instance.deletion_protection = False
            self.delete_db_instance(instance.db_instance_identifier, skip_final_snapshot=True)
            raise RDSClientError("InsufficientDBInstanceCapacity", str(error)) from error
        return instance

    def delete_db_instance(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
        instance = original(self, *arguments, **named)
        databases.delete(instance.db_instance_arn)
        return instance

    def modify_db_instance(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
        instance = original(self, *arguments, **named)
        try:
            databases.modify(instance)
        except PostgresError as error:
            raise RDSClientError("InvalidDBInstanceState", str(error)) from error
        return instance

    def reboot_db_instance(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
        instance = original(self, *arguments, **named)
        databases.reboot(instance)
        return instance

    for handler in (
        create_db_instance, delete_db_instance, modify_db_instance, reboot_db_instance
    ):  # fmt: skip
        wrap(RDSBackend, handler.__name__, handler)

    def endpoint(instance: Any) -> dict[str, Any] | None:
        """RDS gives no endpoint before the server is there."""
        address = databases.address(instance.db_instance_arn)
        return {"Address": address, "Port": instance.port} if address and instance.status != "creating" else None

    setattr(DBInstance, "endpoint", property(endpoint))  # noqa: B010  (a property over moto's)
