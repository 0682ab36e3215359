"""What each drill breaks on the local platform, and how it is put right. One small class for each.

`inject` returns what it did in words, and may block until its work is over; `undo` is called whatever happened, also
where `inject` failed half-way, and must be harmless where nothing is left to do.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra.ops.drill.place import CAPACITY, ZONE, ApiRefusedError, Json, Place, Seen, resume, signal_all
from infra.ops.errors import PenstockError, RefusedError

POWER = "penstock.dev/power"
"""The annotation by which the local node agent takes a node's power (infra/local/kubernetes/agent/node_plan.py)."""
NOTICE = "penstock.dev/spot-notice"
NOTICE_SECONDS = 120.0
"""What AWS gives between a spot notice and the end of the instance."""
RETURN_SECONDS = 30.0
"""How long a replaced node may take to come."""
SLOW_PERIOD_SECONDS, SLOW_SHARE = 0.1, 0.1


@dataclass
class Fault:
    figures: dict[str, float | None] = field(default_factory=dict)
    """What only this drill measures; seconds."""
    over: float | None = None
    """When the fault was over, by the monotonic clock, where that is not the moment of its injection or undo."""

    def prepare(self, place: Place) -> None:
        """Looks things up before the load begins: a search of all processes takes the load generator's time."""

    def inject(self, place: Place) -> str:
        raise NotImplementedError

    def undo(self, place: Place) -> None:
        """Nothing to undo: the platform heals by itself."""


@dataclass
class ZoneLoss(Fault):
    """The zone with the most gateways and engines of the live colour."""

    nodes: list[str] = field(default_factory=list)

    def inject(self, place: Place) -> str:
        live = place.live()
        zones = [seen.pod.zone for seen in place.pods() if seen.pod.colour == live and seen.pod.ready]
        zone = max(sorted(set(zones)), key=zones.count)
        self.nodes = [
            name for name, node in place.nodes().items() if (node["metadata"].get("labels") or {}).get(ZONE) == zone
        ]
        self._power(place, "off")
        return f"power off on {len(self.nodes)} nodes of {zone}"

    def undo(self, place: Place) -> None:
        self._power(place, None)

    def _power(self, place: Place, value: str | None) -> None:
        each_of(
            self.nodes,
            lambda name: place.send("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"annotations": {POWER: value}}}),
        )


@dataclass
class SpotReclaim(Fault):
    """A spot node with an engine of the live colour."""

    node: str = ""
    uid: str = ""

    def inject(self, place: Place) -> str:
        nodes = place.nodes()
        spot = {name for name, node in nodes.items() if node["metadata"].get("labels", {}).get(CAPACITY) == "spot"}
        found = [seen for seen in place.engines() if seen.node in spot]
        if not found:
            raise RefusedError("No engine of the live colour runs on a spot node.")
        self.node = found[0].node
        node = nodes[self.node]
        self.uid = node["metadata"]["uid"]
        path = f"/api/v1/nodes/{self.node}"
        notice = {"key": NOTICE, "value": "reclaim", "effect": "NoSchedule"}
        taints = [*(node["spec"].get("taints") or []), notice]
        place.send("PATCH", path, {"spec": {"unschedulable": True, "taints": taints}})
        began = time.monotonic()
        self._drain(place, began + NOTICE_SECONDS)
        self.figures["drained_seconds"] = time.monotonic() - began
        place.send("DELETE", path)
        self._wait_for_new_node(place)
        return f"{self.node} reclaimed with notice, drained in {self.figures['drained_seconds']:.1f} s"

    def _drain(self, place: Place, deadline: float) -> None:
        """Evictions, which the disruption budget may hold up; at the end of the notice what is left goes with the
        node."""
        while pods := [seen for seen in place.pods() if seen.node == self.node]:
            if time.monotonic() > deadline:
                return
            for seen in pods:
                if seen.pod.phase != "Terminating":
                    evict(place, seen)
            time.sleep(0.25)

    def _wait_for_new_node(self, place: Place) -> None:
        deadline = time.monotonic() + RETURN_SECONDS
        while not self._replaced(place):
            if time.monotonic() > deadline:
                raise PenstockError(f"{self.node} was not replaced within {RETURN_SECONDS:.0f} s.")
            time.sleep(0.25)

    def _replaced(self, place: Place) -> bool:
        node = place.nodes().get(self.node)
        return node is not None and node["metadata"]["uid"] != self.uid

    def undo(self, place: Place) -> None:
        node = place.nodes().get(self.node)
        if node is not None and node["metadata"]["uid"] == self.uid:  # not yet deleted: the notice is taken back
            taints = [taint for taint in node["spec"].get("taints") or [] if taint["key"] != NOTICE]
            place.send("PATCH", f"/api/v1/nodes/{self.node}", {"spec": {"unschedulable": None, "taints": taints}})


@dataclass
class EngineCrash(Fault):
    def inject(self, place: Place) -> str:
        engine = busiest_engine(place)
        signal_all(place.processes_of(engine), signal.SIGKILL)
        return f"SIGKILL to an engine in {engine.pod.zone}"


@dataclass
class Stopped(Fault):
    """Processes that are stopped and let go on; `find` says which, and what to call them."""

    find: Callable[[Place], tuple[list[int], str]] = lambda _: ([], "")
    pids: list[int] = field(default_factory=list)
    name: str = ""
    late: bool = False
    """Which one they are is known at the moment of the fault alone."""

    def prepare(self, place: Place) -> None:
        if not self.late:
            self._look(place)

    def _look(self, place: Place) -> None:
        self.pids, self.name = self.find(place)
        if not self.pids:
            raise RefusedError(f"There is no process of {self.name}.")

    def inject(self, place: Place) -> str:
        if self.late:
            self._look(place)
        signal_all(self.pids, signal.SIGSTOP)
        return f"SIGSTOP to {self.name}"

    def undo(self, place: Place) -> None:
        resume(reversed(self.pids))  # the server itself last, so that its children are there for it


@dataclass
class SlowEngine(Fault):
    """A tenth of the time for one engine: stopped and let go on, ten times a second."""

    pids: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def inject(self, place: Place) -> str:
        engine = busiest_engine(place)
        self.pids = place.processes_of(engine)
        self._thread = threading.Thread(target=self._slow, name="drill-slow", daemon=True)
        self._thread.start()
        return f"an engine in {engine.pod.zone} runs {SLOW_SHARE:.0%} of the time"

    def _slow(self) -> None:
        while not self._over.is_set():
            signal_all(self.pids, signal.SIGSTOP)
            self._over.wait(SLOW_PERIOD_SECONDS * (1 - SLOW_SHARE))
            resume(self.pids)
            self._over.wait(SLOW_PERIOD_SECONDS * SLOW_SHARE)

    def undo(self, place: Place) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(5)
        resume(self.pids)


@dataclass
class Killed(Fault):
    """Processes that are killed and come back by themselves."""

    find: Callable[[Place], tuple[list[int], str]] = lambda _: ([], "")
    pids: list[int] = field(default_factory=list)
    name: str = ""

    def prepare(self, place: Place) -> None:
        self.pids, self.name = self.find(place)

    def inject(self, place: Place) -> str:
        if not signal_all(self.pids, signal.SIGKILL):
            raise RefusedError(f"There is no process of {self.name}.")
        return f"SIGKILL to {self.name}"


@dataclass
class DatabaseFailover(Fault):
    """Through RDS, as one does it on AWS. A failover needs a standby, which the local stack has none of: a restart."""

    def inject(self, place: Place) -> str:
        rds = place.access.aws("rds")
        name = next(
            item["DBInstanceIdentifier"]
            for item in rds.describe_db_instances()["DBInstances"]
            if item.get("Endpoint", {}).get("Address") == str(place.outputs["databaseAddress"]).partition(":")[0]
        )
        rds.reboot_db_instance(DBInstanceIdentifier=name)
        return f"RebootDBInstance {name}"


def busiest_engine(place: Place) -> Seen:
    """The one with the most requests under way: a fault that hits none shows nothing."""
    engines = place.engines()
    if len(engines) < 2:
        raise RefusedError(f"The live colour has {len(engines)} ready engines; a drill needs two.")
    return max(engines, key=place.running_at)


def evict(place: Place, seen: Seen) -> None:
    """A refusal by the disruption budget (429) means: later."""
    path = f"/api/v1/namespaces/{place.namespace}/pods/{seen.name}/eviction"
    body: Json = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": seen.name}}
    try:
        place.send("POST", path, body)
    except ApiRefusedError as error:
        if error.status not in (404, 409, 429):
            raise


def each_of(names: list[str], act: Callable[[str], object]) -> None:
    """Every one is tried. Raises the first PenstockError at the end."""
    problems: list[PenstockError] = []
    for name in names:
        try:
            act(name)
        except PenstockError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]


def an_engine(place: Place) -> tuple[list[int], str]:
    engine = busiest_engine(place)
    return place.processes_of(engine), f"an engine in {engine.pod.zone}"


FAULTS: Mapping[str, Callable[[], Fault]] = {
    "zone-loss": ZoneLoss,
    "spot-reclaim": SpotReclaim,
    "engine-crash": EngineCrash,
    "engine-hang": lambda: Stopped(find=an_engine, late=True),
    "slow-engine": SlowEngine,
    "cache-primary": lambda: Killed(find=lambda place: (place.cache_processes(), "Redis")),
    "database-failover": DatabaseFailover,
    "cache-down": lambda: Stopped(find=lambda place: (place.cache_processes(), "Redis")),
    "database-down": lambda: Stopped(find=lambda place: (place.database_processes(), "PostgreSQL")),
    "balancer-restart": lambda: Killed(find=lambda place: (place.balancer_processes(), "Envoy")),
}
"""Drills that break something at once; those with work of their own are in `longer`."""
