"""Pods of this agent's nodes, each run by a worker of its own."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Coroutine

from infra.local.kubernetes.agent.addresses import ExhaustedError
from infra.local.kubernetes.agent.api import STRATEGIC, ApiError, Json
from infra.local.kubernetes.agent.node_plan import PODS_PER_NODE
from infra.local.kubernetes.agent.pod import PodWorker, Services, Site
from infra.local.kubernetes.agent.process import kill_orphans, prune_logs, rotate_when_large
from infra.local.kubernetes.agent.store import Change, Store

log = logging.getLogger("agent.kubelet")

PRUNE_EVERY = 60
"""Housekeeping rounds between two looks at the logs of ended pods."""
STOP_SECONDS = 5.0


class Kubelet:
    """Starts and ends workers as pods and nodes come and go. A failing worker is logged and tried anew; it never
    touches another pod."""

    def __init__(self, services: Services, pods: Store, config_maps: Store, secrets: Store) -> None:
        self.workers: dict[str, PodWorker] = {}
        self._services = services
        self._pods = pods
        self._sites: dict[str, Site] = {}
        self._dark: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        pods.listeners.append(self._pod_changed)
        config_maps.listeners.append(lambda change, item: self._source_changed("configmaps", change, item))
        secrets.listeners.append(lambda change, item: self._source_changed("secrets", change, item))

    async def run(self) -> None:
        """Housekeeping, for ever: tokens and logs."""
        await self._pods.synced.wait()
        self._clear_leftovers()
        rounds = 0
        while True:
            await asyncio.sleep(self._services.options.housekeeping_seconds)
            now = time.monotonic()
            for worker in list(self.workers.values()):
                if worker.volumes.token_due(now):
                    self._spawn(worker.refresh_volumes())
                for path in worker.log_files():
                    if rotate_when_large(path, self._services.options.log_limit_bytes):
                        log.info("log.rotated file=%s", path.name)
            rounds += 1
            if rounds % PRUNE_EVERY == 0:
                prune_logs(self._services.layout.logs / "pods", self._services.options.log_files)

    async def close(self) -> None:
        """Ends every pod's processes as the agent stops; the API server's objects stay."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)

    def add_site(self, site: Site) -> None:
        """A node is there: its pods may run."""
        self._sites[site.name] = site
        for pod in list(self._pods.items.values()):
            self._consider(pod)

    def remove_site(self, name: str) -> None:
        """A node is gone, and with it what still runs there."""
        self._sites.pop(name, None)
        for worker in self.workers.values():
            if worker.site.name == name:
                worker.vanished()

    def has_power(self, node: str) -> bool:
        return node not in self._dark

    def set_power(self, node: str, *, on: bool) -> None:
        """Without power every process of the node ends at once and no status is sent; with it again the pods that are
        still bound to the node start anew."""
        if on == self.has_power(node):
            return
        log.warning("node.power node=%s on=%s", node, on)
        if on:
            self._dark.discard(node)
            for pod in list(self._pods.items.values()):
                self._consider(pod)
        else:
            self._dark.add(node)
            for worker in self.workers.values():
                if worker.site.name == node:
                    worker.cut()

    def running_on(self, node: str) -> int:
        return sum(worker.site.name == node for worker in self.workers.values())

    def _pod_changed(self, change: Change, pod: Json) -> None:
        worker = self.workers.get(pod["metadata"]["uid"])
        if worker is None:
            if change != "DELETED":
                self._consider(pod)
        elif change == "DELETED":
            worker.vanished()
        else:
            before = worker.pod["metadata"]
            worker.update(pod)
            if any(before.get(key) != pod["metadata"].get(key) for key in ("labels", "annotations")):
                self._spawn(worker.refresh_volumes())

    def _consider(self, pod: Json) -> None:
        """Takes a pod on where it belongs to one of our nodes and has not ended."""
        site = self._sites.get(pod["spec"].get("nodeName") or "")
        uid = pod["metadata"]["uid"]
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if site is None or site.name in self._dark or uid in self.workers or ended:
            return
        if self.running_on(site.name) >= PODS_PER_NODE:
            self._spawn(self._reject(pod, f"Node {site.name} runs {PODS_PER_NODE} pods already"))
            return
        try:
            worker = PodWorker(pod, site, self._services)
        except ExhaustedError as error:
            self._spawn(self._reject(pod, str(error)))
            return
        log.info("pod.taken pod=%s node=%s address=%s", worker.label, site.name, worker.address)
        self.workers[uid] = worker
        worker.update(pod)
        self._spawn(self._work(worker))

    async def _work(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:  # one pod's failure must not stop the others
            log.exception("pod.failed pod=%s", worker.label)
            await asyncio.sleep(self._services.options.mount_retry_seconds)
        finally:
            self.workers.pop(worker.uid, None)
        known = self._pods.items.get((worker.pod["metadata"]["namespace"], worker.pod["metadata"]["name"]))
        if known and known["metadata"]["uid"] == worker.uid and not known["metadata"].get("deletionTimestamp"):
            self._consider(known)

    async def _reject(self, pod: Json, message: str) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        status = {"phase": "Failed", "reason": "OutOfpods", "message": message}
        try:
            await self._services.api.patch(path, {"metadata": {"uid": metadata["uid"]}, "status": status}, STRATEGIC)
        except ApiError as error:
            log.warning("pod.reject pod=%s error=%s", metadata["name"], error)

    def _source_changed(self, kind: str, change: Change, item: Json) -> None:
        if change == "DELETED":  # volumes keep what they have, as kubelet's do
            return
        reference, namespace = (kind, item["metadata"]["name"]), item["metadata"]["namespace"]
        for worker in self.workers.values():
            if worker.pod["metadata"]["namespace"] == namespace and reference in worker.names():
                self._spawn(worker.refresh_volumes())

    def _clear_leftovers(self) -> None:
        """What an earlier agent that was killed left behind."""
        folder = self._services.layout.pods
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = {pod["metadata"]["uid"] for pod in self._pods.items.values()}
        for path in folder.iterdir():
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def end_orphans(services: Services) -> None:
    """To be called before the first pod is started."""
    if killed := kill_orphans(services.layout.pods):
        log.warning("orphans.killed processes=%s", ",".join(map(str, killed)))
