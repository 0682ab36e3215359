"""TargetGroupBindings: keeps each target group's registered targets equal to its service's ready pods."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.local.kubernetes.agent.api import STRATEGIC, Api, ApiError, Json
from infra.local.kubernetes.agent.aws import Aws, AwsError, Target
from infra.local.kubernetes.agent.clock import stamp
from infra.local.kubernetes.agent.options import Options
from infra.local.kubernetes.agent.store import Change, Key, Store, key_of
from infra.local.kubernetes.agent.target_plan import (
    FINALIZER,
    changes,
    condition,
    declares,
    gate_of,
    gates_to_open,
    wanted_targets,
)

log = logging.getLogger("agent.targets")

BINDINGS = "/apis/elbv2.k8s.aws/v1beta1/targetgroupbindings"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
GONE = frozenset({"TargetGroupNotFound", "TargetGroupNotFoundException"})


@dataclass
class _Worker:
    """One binding's task and what wakes it. `registered` is None until it was read from AWS."""

    wake: asyncio.Event
    task: asyncio.Task[None]
    registered: set[Target] | None = None
    read_at: float = field(default=float("-inf"))


class Targets:
    """One task per binding, woken by changes of bindings, services and pods."""

    def __init__(self, api: Api, aws: Aws, options: Options, pods: Store, services: Store, bindings: Store) -> None:
        self._api = api
        self._aws = aws
        self._options = options
        self._pods = pods
        self._services = services
        self._bindings = bindings
        self._workers: dict[Key, _Worker] = {}
        bindings.listeners.append(self._binding_changed)
        services.listeners.append(lambda _, item: self._wake(item["metadata"]["namespace"]))
        pods.listeners.append(lambda _, item: self._wake(item["metadata"]["namespace"]))

    def _binding_changed(self, change: Change, binding: Json) -> None:
        key = key_of(binding)
        if change == "DELETED":
            if worker := self._workers.pop(key, None):
                worker.task.cancel()
        elif key in self._workers:
            self._workers[key].wake.set()
        else:
            wake = asyncio.Event()
            wake.set()
            self._workers[key] = _Worker(wake, asyncio.create_task(self._run(key)))

    def _wake(self, namespace: str) -> None:
        for key, worker in self._workers.items():
            if key[0] == namespace:
                worker.wake.set()

    async def close(self) -> None:
        tasks = [worker.task for worker in self._workers.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    async def _run(self, key: Key) -> None:
        """Reconciles one binding whenever something changed, and now and then without."""
        for store in (self._pods, self._services):
            await store.synced.wait()
        pause = FIRST_PAUSE_SECONDS
        while True:
            worker, binding = self._workers[key], self._bindings.items[key]
            worker.wake.clear()
            try:
                waiting = await self._reconcile(worker, binding)
                pause = FIRST_PAUSE_SECONDS
            except (AwsError, ApiError) as error:
                worker.registered = None  # what AWS has is not known any more
                log.warning("targets.failed binding=%s error=%s", key[1], error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            except Exception:  # one binding's failure must not stop the others
                log.exception("targets.broken binding=%s", key[1])
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)
                continue
            limit = self._options.target_poll_seconds if waiting else self._options.target_resync_seconds
            try:
                async with asyncio.timeout(limit):
                    await worker.wake.wait()
            except TimeoutError:
                pass

    async def _reconcile(self, worker: _Worker, binding: Json) -> bool:
        """One pass. Returns whether a pod waits for its gate."""
        group, leaving = binding["spec"]["targetGroupARN"], bool(binding["metadata"].get("deletionTimestamp"))
        if leaving:
            await self._release(binding, group)
            return False
        await self._hold(binding)
        wanted = self._wanted(binding)
        waiting = any(declares(p, gate_of(binding)) and not condition(p, gate_of(binding)) for p in wanted.values())
        if (
            worker.registered is None
            or waiting
            or time.monotonic() - worker.read_at > self._options.target_resync_seconds
        ):
            health = await self._aws.target_health(group)
            worker.registered = _registered(health)
            worker.read_at = time.monotonic()
        else:
            health = {}
        if change := changes(wanted, worker.registered):
            if change.deregister:  # first: a leaving pod waits for nothing
                await self._aws.deregister(group, change.deregister)
            if change.register:
                await self._aws.register(group, change.register)
            worker.registered = set(wanted)
            log.info(
                "targets.changed binding=%s registered=%s deregistered=%s",
                binding["metadata"]["name"], _said(change.register), _said(change.deregister),
            )  # fmt: skip
        if self._options.objects_only:
            health = dict.fromkeys(wanted, "healthy")  # no process answers the load balancer's checks
        for pod in gates_to_open(binding, wanted, health):
            await self._open_gate(binding, pod)
        return waiting

    def _wanted(self, binding: Json) -> dict[Target, Json]:
        namespace = binding["metadata"]["namespace"]
        service = self._services.items.get((namespace, binding["spec"]["serviceRef"]["name"]))
        return wanted_targets(binding, service, self._pods.items.values())

    async def _hold(self, binding: Json) -> None:
        """Our finalizer, and the status that says which generation was seen."""
        metadata = binding["metadata"]
        path = _path(binding)
        if FINALIZER not in (metadata.get("finalizers") or ()):
            held = [*(metadata.get("finalizers") or ()), FINALIZER]
            patch = {"metadata": {"finalizers": held, "resourceVersion": metadata["resourceVersion"]}}
            fresh = await self._api.patch(path, patch)
            metadata["finalizers"], metadata["resourceVersion"] = held, fresh["metadata"]["resourceVersion"]
        if (binding.get("status") or {}).get("observedGeneration") != metadata.get("generation"):
            status = {"observedGeneration": metadata.get("generation")}
            try:
                await self._api.patch(f"{path}/status", {"status": status})
            except ApiError as error:
                if error.status != 404:  # a CRD without the status subresource
                    raise
            binding["status"] = status

    async def _release(self, binding: Json, group: str) -> None:
        """Takes every target out, then lets the object go. A target group that is gone holds nothing."""
        metadata = binding["metadata"]
        if FINALIZER not in (metadata.get("finalizers") or ()):
            return
        try:
            if registered := _registered(await self._aws.target_health(group)):
                await self._aws.deregister(group, sorted(registered))
        except AwsError as error:
            if error.code not in GONE:
                raise
        rest = [name for name in metadata["finalizers"] if name != FINALIZER]
        patch = {"metadata": {"finalizers": rest, "resourceVersion": metadata["resourceVersion"]}}
        try:
            await self._api.patch(_path(binding), patch)
        except ApiError as error:
            if error.status != 404:
                raise
        log.info("targets.released binding=%s", metadata["name"])

    async def _open_gate(self, binding: Json, pod: Json) -> None:
        metadata = pod["metadata"]
        entry = {
            "type": gate_of(binding),
            "status": "True",
            "lastTransitionTime": stamp(),
            "reason": "Healthy",
        }
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [entry]}}
        try:
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
            await self._api.patch(path, body, STRATEGIC)
        except ApiError as error:
            if error.status not in (404, 409):  # the pod is gone
                raise


def _registered(health: Mapping[Target, str]) -> set[Target]:
    """What is registered: a draining target is listed still, but was taken out already."""
    return {target for target, state in health.items() if state != "draining"}


def _path(binding: Json) -> str:
    namespace, name = key_of(binding)
    return f"/apis/elbv2.k8s.aws/v1beta1/namespaces/{namespace}/targetgroupbindings/{name}"


def _said(targets: tuple[Target, ...]) -> str:
    return ",".join(f"{address}:{port}" for address, port in targets) or "none"
