"""The running local platform as a drill sees it: its objects, its processes, its metrics."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.shares import COLOURS
from infra.local.layout import Layout
from infra.ops import kube, traffic
from infra.ops.endpoint import Endpoint, from_outputs
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.stacks import StackAccess, State

GATEWAY_PORT, ENGINE_PORT = 8080, 8000
RUNNING = "vllm:num_requests_running{"
REQUEST_SECONDS = 10.0
CONNECT_SECONDS = 1.0
ZONE, CAPACITY = "topology.kubernetes.io/zone", "karpenter.sh/capacity-type"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"

OUTCOME = re.compile(r'(?:^|,)outcome="([^"]*)"')

Json = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A pod, with what a drill needs beyond `kube.Pod`."""

    pod: kube.Pod
    uid: str
    node: str
    restarts: int

    @property
    def name(self) -> str:
        return self.pod.name


@dataclass(frozen=True)
class Capacity:
    """What serves now. Equal or more in each entry is full capacity."""

    counts: Mapping[str, int]

    def covers(self, wanted: Capacity) -> bool:
        return all(self.counts.get(name, 0) >= count for name, count in wanted.counts.items())

    def missing(self, wanted: Capacity) -> str:
        lack = {name: f"{self.counts.get(name, 0)} of {count}" for name, count in wanted.counts.items()}
        return ", ".join(
            f"{name} {text}" for name, text in lack.items() if self.counts.get(name, 0) < wanted.counts[name]
        )


class Place:
    """Reads take a fresh look at each call. Made anew after the platform was."""

    def __init__(self, access: StackAccess) -> None:
        """Raises RefusedError for a stack that is not on this machine."""
        if access.layout is None:
            raise RefusedError(f"The stack {access.name} is not on this machine.")
        self.access = access
        self.layout: Layout = access.layout

    @cached_property
    def state(self) -> State:
        return self.access.state()

    @cached_property
    def outputs(self) -> dict[str, Any]:
        return self.access.outputs()

    @cached_property
    def endpoint(self) -> Endpoint:
        return from_outputs(self.outputs)

    @cached_property
    def cluster(self) -> kube.Cluster:
        return kube.connect(self.access, str(self.state.output("clusterName")), str(self.outputs.get("region", "")))

    @cached_property
    def way(self) -> traffic.Route:
        return traffic.route(self.state)

    @cached_property
    def balancer(self) -> Any:
        return self.access.aws("elbv2")

    @property
    def namespace(self) -> str:
        return str(self.outputs.get("namespace", "penstock"))

    # Objects

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, kind: str = MERGE) -> Json:
        """A write to the API server. Raises PenstockError, whose text names the status."""
        content = kind if method == "PATCH" else "application/json"
        call = urllib.request.Request(  # noqa: S310 - the platform's own API server
            self.cluster.url + path,
            json.dumps(body or {}).encode(),
            {"Authorization": f"Bearer {self.cluster.token}", "Content-Type": content},
            method=method,
        )
        handlers = [urllib.request.HTTPSHandler(context=self.cluster.trust), urllib.request.ProxyHandler({})]
        try:
            with urllib.request.build_opener(*handlers).open(call, timeout=REQUEST_SECONDS) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            said = error.read(500).decode("utf-8", "replace")
            raise ApiRefusedError(error.code, f"{method} {path} was answered {error.code}: {said}") from None
        except OSError as error:
            raise PenstockError(f"The API server did not answer: {getattr(error, 'reason', error)}.") from None

    def nodes(self) -> dict[str, Json]:
        items = json.loads(self.cluster.read("/api/v1/nodes"))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def pods(self) -> list[Seen]:
        path = f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=app.kubernetes.io%2Fpart-of%3Dpenstock"
        items = json.loads(self.cluster.read(f"{path}&fieldSelector=status.phase!=Succeeded"))["items"]
        return [
            Seen(
                kube.Pod.parse(item),
                item["metadata"]["uid"],
                item["spec"].get("nodeName", ""),
                sum(each.get("restartCount", 0) for each in item.get("status", {}).get("containerStatuses") or ()),
            )
            for item in items
        ]

    def live(self) -> str:
        """The colour with the most traffic."""
        weights = traffic.live_weights(self.balancer, self.way)
        return max(COLOURS, key=weights.of)

    def engines(self) -> list[Seen]:
        """The live colour's ready engines, those that restarted least first: kubelet waits longer for each restart."""
        live = self.live()
        found = [s for s in self.pods() if s.pod.app == "engine" and s.pod.colour == live and s.pod.ready]
        return sorted(found, key=lambda seen: (seen.restarts, seen.name))

    def running_at(self, engine: Seen) -> float:
        """Requests under way there; 0 for an engine that does not answer."""
        try:
            text = self.cluster.metrics(self.namespace, engine.pod, ENGINE_PORT)
        except PenstockError:
            return 0.0
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(RUNNING))

    def capacity(self) -> Capacity:
        """Raises PenstockError where a source does not answer."""
        counts: dict[str, int] = {}
        for seen in self.pods():
            name = f"{seen.pod.colour} {seen.pod.app}s ready"
            counts[name] = counts.get(name, 0) + seen.pod.ready
        for colour, health in traffic.target_health(self.balancer, self.way).items():
            counts[f"{colour} targets healthy"] = health.healthy
        counts["database"] = int(answers_postgres(self.outputs.get("databaseAddress")))
        counts["cache"] = int(answers_redis(self.outputs.get("cacheAddress")))
        return Capacity(counts)

    def check_healthy(self) -> Capacity:
        """What full capacity is. Raises RefusedError where something is broken already."""
        faults = [f"{seen.name} is not ready" for seen in self.pods() if not seen.pod.ready]
        faults += [
            f"{colour} has {health} healthy targets"
            for colour, health in traffic.target_health(self.balancer, self.way).items()
            if health.healthy != health.total
        ]
        faults += [
            f"node {name} has lost its power, or is cordoned"
            for name, node in self.nodes().items()
            if node["spec"].get("unschedulable") or "penstock.dev/power" in (node["metadata"].get("annotations") or {})
        ]
        capacity = self.capacity()
        faults += [f"the {name} does not answer" for name in ("database", "cache") if not capacity.counts[name]]
        if faults:
            raise RefusedError(f"The platform is not healthy: {'; '.join(faults[:5])}.", "See `penstock status`.")
        return capacity

    def metrics(self) -> dict[str, dict[str, float]]:
        """Each gateway's figures. One that does not answer is left out: it starts or ends."""
        found = [s.pod for s in self.pods() if s.pod.app == "gateway" and s.pod.ip and s.pod.phase == "Running"]

        def one(pod: kube.Pod) -> tuple[str, dict[str, float] | None]:
            try:
                return pod.name, figures_of(self.cluster.metrics(self.namespace, pod, GATEWAY_PORT))
            except (PenstockError, ValueError):
                return pod.name, None

        with ThreadPoolExecutor(4, "drill-metrics") as pool:
            return {name: reading for name, reading in pool.map(one, found) if reading is not None}

    # Processes

    def processes_of(self, seen: Seen) -> list[int]:
        return in_folder(self.layout.pods / seen.uid)

    def cache_processes(self) -> list[int]:
        return in_folder(self.layout.state / "redis")

    def balancer_processes(self) -> list[int]:
        return in_folder(self.layout.state / "envoy")

    def database_processes(self) -> list[int]:
        """The server, and after it the processes that it started."""
        host = str(self.outputs.get("databaseAddress", "")).partition(":")[0]
        servers = [pid for pid, line in command_lines() if f"listen_addresses={host}" in line]
        return [*servers, *(child for server in servers for child in children_of(server))]

    def supervisor(self) -> int:
        return int(json.loads((self.layout.state / "supervisor.json").read_text())["process"])

    def all_processes(self) -> list[int]:
        """Every process below the supervisor, and itself."""
        found, todo = [], [self.supervisor()]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children_of(pid)
        return found


class ApiRefusedError(PenstockError):
    """The API server answered with an error status."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status = status


def figures_of(text: str) -> dict[str, float]:
    """Penstock's own gauges and counters, summed over their labels but for the outcome. Read by hand: a parser for all
    of the format takes 15 times as long, and the load generator in this process waits for it. Raises ValueError."""
    found: dict[str, float] = {}
    wanted: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE penstock_"):
            name, kind = line.split()[2:4]
            if kind in ("counter", "gauge"):
                wanted.add(name)
        elif line.startswith("penstock_"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            if name in wanted and not name.endswith("_created"):
                outcome = OUTCOME.search(labels)
                key = f"{name}{{{outcome[1]}}}" if outcome else name
                found[key] = found.get(key, 0.0) + float(value)
    return found


def signal_all(pids: Iterable[int], number: int) -> int:
    """How many got it. One that has ended is no error."""
    reached = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            reached += 1
    return reached


def running(pids: Iterable[int]) -> list[int]:
    """Those that have not ended; a zombie has."""
    return [pid for pid in pids if _status(pid) not in ("", "Z", "X")]


def resume(pids: Iterable[int]) -> None:
    signal_all(pids, signal.SIGCONT)


def in_folder(folder: Path) -> list[int]:
    """Processes whose working folder is this one or lies below it."""
    root = str(folder.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                where = str((entry / "cwd").readlink())
                if where == root or where.startswith(f"{root}/"):
                    found.append(int(entry.name))
    return found


def command_lines() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                found.append(
                    (int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
                )
    return found


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if int(_stat(int(entry.name))[1]) == pid:
                    found.append(int(entry.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _status(pid: int) -> str:
    try:
        return _stat(pid)[0]
    except (OSError, IndexError):
        return ""


def _address(text: object, port: int) -> tuple[str, int]:
    host, _, number = str(text or "").partition(":")
    return host, int(number or port)


def answers_redis(address: object) -> bool:
    return _answers(_address(address, 6379), b"PING\r\n")


def answers_postgres(address: object) -> bool:
    """PostgreSQL answers the question for TLS with one byte before it asks who is there."""
    return _answers(_address(address, 5432), b"\x00\x00\x00\x08\x04\xd2\x16\x2f")


def _answers(address: tuple[str, int], question: bytes) -> bool:
    try:
        with socket.create_connection(address, CONNECT_SECONDS) as connection:
            connection.settimeout(CONNECT_SECONDS)
            connection.sendall(question)
            return bool(connection.recv(1))
    except OSError:
        return False
