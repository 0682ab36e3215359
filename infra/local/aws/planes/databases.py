"""RDS: each instance of engine postgres is a PostgreSQL server at an address of its own."""

from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from infra.local.aws.planes.addresses import Addresses, AddressInUseError, check_free
from infra.local.aws.planes.postgres import Cluster, Installation, PostgresError, Quarters, installations
from infra.local.layout import DATABASES, Layout
from infra.local.processes import NotReadyError, Processes

logger = logging.getLogger(__name__)

START_ATTEMPTS = 3
FAILURES = (PostgresError, NotReadyError, AddressInUseError, OSError)


def pick(available: dict[int, Installation], engine_version: str | None) -> Installation:
    """The installation that serves an engine version such as `18`, `18.1` or None (the newest).

    Only the major version counts. Raises LookupError that names what is available.
    """
    if engine_version is None:
        return available[max(available)]
    major = engine_version.split(".")[0]
    if not major.isdigit() or int(major) not in available:
        offered = ", ".join(installation.version for _, installation in sorted(available.items()))
        raise LookupError(f"Cannot find version {engine_version} for postgres: this machine has {offered}")
    return available[int(major)]


def fail(instance: Any, error: Exception) -> None:
    """Marks the instance as failed, with the reason where DescribeDBInstances gives it."""
    logger.error("database %s: %s", instance.db_instance_identifier, error)
    instance.status = "failed"
    instance.status_infos = [{"StatusType": "instance", "Normal": False, "Status": "failed", "Message": str(error)}]


class Databases:
    """Follows the RDS objects of moto with servers."""

    def __init__(self, layout: Layout, processes: Processes) -> None:
        self._processes = processes
        self._addresses = Addresses(layout, DATABASES)
        self._quarters = Quarters(layout.state / "postgres")
        self._available: dict[int, Installation] | None = None
        self._clusters: dict[str, Cluster] = {}
        self._instances: dict[str, Any] = {}
        self._lock = threading.Lock()
        # one at a time: initdb is all CPU, and the programs' copy is made once
        self._starter = ThreadPoolExecutor(1, "databases")

    def installation(self, engine_version: str | None) -> Installation:
        with self._lock:
            if self._available is None:
                self._available = installations()
        return pick(self._available, engine_version)

    def create(self, instance: Any) -> None:
        """Gives the instance its address and starts its server in the background. Raises AddressInUseError."""
        key = instance.db_instance_arn
        address = self._addresses.take(key)
        try:
            check_free(address, instance.port)
        except AddressInUseError:
            self._addresses.release(key)
            raise
        cluster = Cluster(
            name=instance.db_instance_identifier,
            installation=self.installation(instance.engine_version),
            quarters=self._quarters,
            processes=self._processes,
            address=address,
            port=instance.port,
            username=instance.master_username,
            password=password_of(instance),
        )
        self._clusters[key], self._instances[key] = cluster, instance
        instance.status = "creating"
        self._starter.submit(self._bring_up, instance, cluster)

    def _bring_up(self, instance: Any, cluster: Cluster) -> None:
        try:
            if self._clusters.get(instance.db_instance_arn) is not cluster:
                return  # deleted meanwhile
            cluster.create(instance.db_name)
            cluster.start()
        except FAILURES as error:
            fail(instance, error)
        else:
            instance.status = "available"

    def modify(self, instance: Any) -> None:
        """Brings a changed master password to the server. Raises PostgresError."""
        cluster = self._clusters.get(instance.db_instance_arn)
        password = password_of(instance)
        if cluster is not None and password != cluster.password:
            self._starter.submit(cluster.change_password, password).result()

    def reboot(self, instance: Any) -> None:
        cluster = self._clusters.get(instance.db_instance_arn)
        if cluster is not None:
            instance.status = "rebooting"
            self._starter.submit(self._restart, instance, cluster)

    def _restart(self, instance: Any, cluster: Cluster) -> None:
        for attempt in range(START_ATTEMPTS):
            if self._clusters.get(instance.db_instance_arn) is not cluster:
                return  # deleted meanwhile
            try:
                cluster.stop()
                cluster.start()
            except FAILURES as error:
                fail(instance, error)
                time.sleep(attempt + 0.5)  # processes of a killed server leave its memory a moment later
            else:
                instance.status = "available"
                return

    def delete(self, arn: str) -> None:
        cluster, _ = self._clusters.pop(arn, None), self._instances.pop(arn, None)
        if cluster is not None:
            self._starter.submit(cluster.remove).result()
            self._addresses.release(arn)

    def address(self, arn: str) -> str | None:
        cluster = self._clusters.get(arn)
        return cluster.address if cluster else None

    def heal(self) -> None:
        """Starts servers again that have ended by themselves. RDS restarts a database that has crashed, too."""
        for arn, instance in list(self._instances.items()):
            cluster = self._clusters.get(arn)
            ended = cluster is not None and cluster.child is not None and not cluster.child.running
            if ended and instance.status == "available":
                logger.warning("database %s ended and is started again", instance.db_instance_identifier)
                self.reboot(instance)

    def stop(self) -> None:
        """Stops every server and removes the data: the objects end with the embedded AWS."""
        self._starter.shutdown(wait=True, cancel_futures=True)
        for cluster in list(self._clusters.values()):
            cluster.stop()
        self._quarters.remove()

    def install(self) -> None:
        """Makes moto's RDS call this plane. For a process that serves one platform."""
        from infra.local.aws.planes import databases_in_moto  # loads moto's RDS

        databases_in_moto.install(self)


def password_of(instance: Any) -> str:
    """The master password that the instance should have: the managed secret's, else the one that was given."""
    if instance.manage_master_user_password:
        secret = instance.master_user_secret.secret
        version = secret.versions[secret.default_version_id]
        return json.loads(version["secret_string"])["password"]
    return instance._master_user_password
