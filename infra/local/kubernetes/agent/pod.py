"""One pod on one node, from its binding to its removal from the API server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from infra.local.kubernetes.agent.addresses import Addresses
from infra.local.kubernetes.agent.api import STRATEGIC, Api, ApiError, Json
from infra.local.kubernetes.agent.container import Container
from infra.local.kubernetes.agent.environment import ConfigError, Place
from infra.local.kubernetes.agent.events import Events, Severity
from infra.local.kubernetes.agent.identities import Identities
from infra.local.kubernetes.agent.launch import Launch, prepare
from infra.local.kubernetes.agent.mounts import mounts_of
from infra.local.kubernetes.agent.objects import MADE_BY_PROCESSES, ObjectOnly
from infra.local.kubernetes.agent.options import Options
from infra.local.kubernetes.agent.status import Record, Waiting, overruled, pod_status, resumed
from infra.local.kubernetes.agent.turns import Turns
from infra.local.kubernetes.agent.volumes import Volumes, volume_references
from infra.local.layout import Layout

log = logging.getLogger("agent.pod")

LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Services:
    """What all pods share."""

    api: Api
    events: Events
    layout: Layout
    options: Options
    identities: Identities | None = None
    """None where no pod has a role."""
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Turns(self.options.heavy_starts))


@dataclass(frozen=True)
class Site:
    """A node that this agent runs. `address` is the node's own."""

    name: str
    index: int
    address: str
    addresses: Addresses
    allocatable: dict[str, str] = field(default_factory=dict)


class PodWorker:
    """Runs one pod. `run` is its one task; `update` and `vanished` tell it what the API server says."""

    def __init__(self, pod: Json, site: Site, services: Services) -> None:
        self.pod = pod
        self.site = site
        self.options = services.options
        self.turns = services.turns
        self.uid: str = pod["metadata"]["uid"]
        self.label = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self.restart_policy: str = pod["spec"].get("restartPolicy") or "Always"
        grace = pod["spec"].get("terminationGracePeriodSeconds")
        self.grace_seconds = 30.0 if grace is None else float(grace)
        self._services = services
        self._octet = site.addresses.take(_octet_of(pod, site))
        self.address = site.address.rpartition(".")[0] + f".{self._octet}"
        self.folder: Path = services.layout.pods / self.uid
        self._place = Place(self.address, site.address, site.allocatable)
        absent = MADE_BY_PROCESSES if self.options.objects_only else frozenset[str]()
        self.volumes = Volumes(services.api, self.folder / "volumes", self._place, absent)
        self._init = [self._container(spec, "init") for spec in pod["spec"].get("initContainers") or ()]
        self._main = [self._container(spec, "main") for spec in pod["spec"]["containers"]]
        self._status: Json = {**(pod.get("status") or {}), "unsent": True}
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._gone = False

    @property
    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def update(self, pod: Json) -> None:
        """Takes the newest object. A deletion or a phase that others ended ends the pod."""
        self.pod = pod
        self._dirty.set()
        if pod["metadata"].get("deletionTimestamp") or self._ended_by_others():
            self._stop.set()

    def vanished(self) -> None:
        """The object is gone: deleted by force."""
        self._gone = True
        self._stop.set()

    def cut(self) -> None:
        """The node has lost its power: the processes end as they stand, and the API server hears nothing."""
        for container in (*self._init, *self._main):
            container.cut()
        self.vanished()

    def names(self) -> set[tuple[str, str]]:
        return volume_references(self.pod)

    async def refresh_volumes(self) -> None:
        """Brings changed ConfigMaps, Secrets, labels and due tokens into the volumes."""
        try:
            if await self.volumes.materialise(self.pod):
                log.info("volumes.refreshed pod=%s", self.label)
        except (ApiError, ConfigError, OSError) as error:
            log.warning("volumes.stale pod=%s error=%s", self.label, error)

    async def run(self) -> None:
        """Returns when the pod is gone from this node."""
        reporter = asyncio.create_task(self._report())
        living = asyncio.create_task(self._live())
        stopping = asyncio.create_task(self._stop.wait())
        if self._stop.is_set():  # found in the middle of its deletion: nothing is started
            living.cancel()
        try:
            await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if living.done() and not living.cancelled():
                living.result()  # an unexpected error goes to the caller's log
                await stopping
            await _cancelled(living)
            await self._wind_down()
            await _cancelled(reporter)
            shutil.rmtree(self.folder, ignore_errors=True)  # before the API server forgets the pod
            await self._finish()
        finally:
            for task in (reporter, living, stopping):
                task.cancel()
            await self.abandon()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.site.addresses.free(self._octet)
            log.info("pod.ended pod=%s uid=%s", self.label, self.uid)

    async def abandon(self) -> None:
        """Ends the processes as the agent stops; the API server's object stays."""
        await asyncio.gather(*(c.kill() for c in (*self._init, *self._main)))

    # Life

    async def _live(self) -> None:
        for folder in (self.folder, self.folder / "tmp"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.changed()
        await self._mount()
        for container in self._init:
            if container.spec.get("restartPolicy") == "Always":
                container.record.state = Waiting(
                    "Unsupported", "sidecar containers are not offered on the local target"
                )
                self.changed()
                return
            await container.run()
            if not container.record.succeeded:
                return
        async with asyncio.TaskGroup() as group:
            for container in self._main:
                group.create_task(container.run())

    async def _mount(self) -> None:
        pause = self.options.mount_retry_seconds
        while True:
            try:
                await self.volumes.materialise(self.pod)
            except (ApiError, ConfigError, OSError) as error:
                self.event("Warning", "FailedMount", str(error), "")
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    async def _wind_down(self) -> None:
        containers = [*self._init, *self._main]
        if self._gone:
            await asyncio.gather(*(c.kill() for c in containers))
            return
        metadata = self.pod["metadata"]
        grace = metadata.get("deletionGracePeriodSeconds")
        seconds = self.grace_seconds if grace is None else float(grace)
        if metadata.get("deletionTimestamp"):
            log.info("pod.stopping pod=%s grace=%.0f", self.label, seconds)
        stops = asyncio.gather(*(c.stop(seconds) for c in containers))
        began = time.monotonic()
        while not stops.done():  # a second delete may shorten the grace, or take the object away
            await asyncio.wait({stops}, timeout=0.2)
            shorter = self.pod["metadata"].get("deletionGracePeriodSeconds")
            cut = shorter is not None and shorter < seconds and time.monotonic() - began > shorter
            if self._gone or cut:
                await asyncio.gather(*(c.kill() for c in containers))
                break
        await stops

    async def _finish(self) -> None:
        """Tells the API server the end, and lets it forget the pod once its deletion is asked for."""
        pause = 0.1
        while not self._gone:
            try:
                await self._send_status()
                if not self.pod["metadata"].get("deletionTimestamp"):
                    await self._wait_for_deletion()
                    continue
                body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
                await self._services.api.delete(self._path, body)
                return
            except ApiError as error:
                if error.status in (404, 409):
                    return
                log.warning("pod.finish pod=%s error=%s", self.label, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _wait_for_deletion(self) -> None:
        """A pod that was ended by others (evicted) stays in the API until somebody deletes it."""
        while not self._gone and not self.pod["metadata"].get("deletionTimestamp"):
            self._dirty.clear()
            self._stop.clear()
            waits = [asyncio.create_task(event.wait()) for event in (self._dirty, self._stop)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()

    def _ended_by_others(self) -> bool:
        phase = (self.pod.get("status") or {}).get("phase")
        return phase in ("Failed", "Succeeded") and self._status.get("phase") not in (None, phase)

    # What containers need (container.Surroundings)

    async def launch(self, container: Json, words: list[str]) -> Launch:
        identities = self._services.identities
        identity = {} if identities is None else await identities.environment_of(self.pod)
        return await prepare(
            self._services.api, self._services.layout, identity=identity,
            pod=self.pod, container=container, words=words, place=self._place, folder=self.folder,
        )  # fmt: skip

    def translate(self, container: Json, launch: Launch, words: list[str]) -> list[str]:
        return mounts_of(container, self.volumes.folder).translate_all(words)

    def log_file(self, container: str) -> Path:
        metadata = self.pod["metadata"]
        return self._services.layout.logs / "pods" / f"{metadata['namespace']}_{metadata['name']}_{container}.log"

    def log_files(self) -> list[Path]:
        return [self.log_file(c.name) for c in (*self._init, *self._main)]

    def changed(self) -> None:
        self._dirty.set()

    def event(self, severity: Severity, reason: str, message: str, container: str) -> None:
        self._services.events.record(
            self.pod, severity, reason, message, container and f"spec.containers{{{container}}}"
        )

    def _container(self, spec: Json, role: Literal["main", "init"]) -> Container | ObjectOnly:
        record = Record(spec["name"], spec.get("image") or "", role)
        if role == "main" and self.pod["spec"].get("initContainers"):
            record.state = Waiting("PodInitializing")
        status = self.pod.get("status") or {}
        known = status.get("initContainerStatuses" if role == "init" else "containerStatuses") or ()
        for previous in known:
            if previous["name"] == spec["name"]:
                record = resumed(record, previous)
        return ObjectOnly(spec, record, self) if self.options.objects_only else Container(spec, record, self)

    # Status

    async def _report(self) -> None:
        """Sends the status whenever it changed; changes that come together go together."""
        pause = 0.1
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._send_status()
                pause = 0.1
            except ApiError as error:
                if error.status in (404, 409):
                    continue
                log.warning("pod.status pod=%s error=%s", self.label, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                self._dirty.set()

    async def _send_status(self) -> None:
        records = [c.record for c in self._init], [c.record for c in self._main]
        now = dt.datetime.now(dt.UTC)
        before = self._status
        status = pod_status(
            self.pod, *records, address=self.address, node_address=self.site.address, previous=before, now=now
        )
        if self._gone or (status == before and not overruled(status, self.pod)):
            return
        sent = status
        if before.get("podIP") not in (None, self.address):
            sent = {**status, "podIPs": [{"$patch": "replace"}, *status["podIPs"]]}
        await self._services.api.patch(
            f"{self._path}/status", {"metadata": {"uid": self.uid}, "status": sent}, STRATEGIC
        )
        self._status = status


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancels a task and waits until it has gone."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _octet_of(pod: Json, site: Site) -> int | None:
    """The last octet of the address that the pod had under an earlier agent."""
    prefix, _, octet = ((pod.get("status") or {}).get("podIP") or "").rpartition(".")
    return int(octet) if octet and prefix == site.address.rpartition(".")[0] else None
