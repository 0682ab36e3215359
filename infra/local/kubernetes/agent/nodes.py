"""Node objects from EKS node groups: made, kept current, kept alive by leases, drained and removed."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from infra.local.kubernetes.agent.addresses import Addresses
from infra.local.kubernetes.agent.api import STRATEGIC, Api, ApiError, Json
from infra.local.kubernetes.agent.aws import Aws, AwsError, Hardware
from infra.local.kubernetes.agent.clock import micro_stamp
from infra.local.kubernetes.agent.events import Events
from infra.local.kubernetes.agent.kubelet import Kubelet
from infra.local.kubernetes.agent.node_plan import (
    OWNED_LABEL,
    NodePlan,
    conditions,
    index_of,
    node_object,
    node_patch,
    not_ready,
    plan_nodes,
    powered,
)
from infra.local.kubernetes.agent.options import Options
from infra.local.kubernetes.agent.pod import Site
from infra.local.kubernetes.agent.store import Change, Store
from infra.local.layout import FIRST_NODE, Layout

log = logging.getLogger("agent.nodes")

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
NODE_LIMIT = 255 - FIRST_NODE
QUIET_READS = 10
"""Reads without a change after which node groups are read at the idle pace."""


@dataclass(frozen=True)
class NodeServices:
    api: Api
    aws: Aws
    events: Events
    layout: Layout
    options: Options


class Nodes:
    """Reconciles Node objects with the node groups. One instance runs all nodes of the platform."""

    def __init__(self, services: NodeServices, nodes: Store, pods: Store, kubelet: Kubelet) -> None:
        self._s = services
        self._nodes = nodes
        self._pods = pods
        self._kubelet = kubelet
        self._zones: dict[str, str] = {}
        self._hardware: dict[str, Hardware] = {}
        self._sites: dict[str, Site] = {}
        self._absent: Counter[str] = Counter()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._failing = ""
        nodes.listeners.append(self._node_changed)

    def _node_changed(self, change: Change, node: Json) -> None:
        """Power goes and comes back with an annotation, so that a drill needs no other way to this agent."""
        if change != "DELETED" and OWNED_LABEL in (node["metadata"].get("labels") or {}):
            self._kubelet.set_power(node["metadata"]["name"], on=powered(node))

    async def run(self) -> None:
        """Adopts the nodes that an earlier agent made, then reconciles for ever."""
        await self._nodes.synced.wait()
        await self._pods.synced.wait()
        for node in self._owned().values():
            self._adopt(node)
        quiet = 0
        while True:
            try:
                quiet = 0 if await self._reconcile() else quiet + 1
                self._failing = ""
            except (AwsError, ApiError) as error:
                if str(error) != self._failing:  # an AWS that is away is said once
                    log.warning("nodes.unread error=%s", error)
                self._failing = str(error)
            options = self._s.options
            await asyncio.sleep(options.node_poll_seconds if quiet < QUIET_READS else options.node_poll_idle_seconds)

    async def heartbeat(self) -> None:
        """Renews each node's lease once a period, spread over it."""
        period = self._s.options.lease_renew_seconds
        failing = False
        while True:
            names = list(self._sites)
            for name in names:
                try:
                    if name in self._sites and self._kubelet.has_power(name):
                        await self._beat(name)
                    failing = False
                except ApiError as error:
                    if not failing:
                        log.warning("lease.failed node=%s error=%s", name, error)
                    failing = True
                await asyncio.sleep(period / len(names))
            if not names:
                await asyncio.sleep(min(period, 1.0))

    async def _reconcile(self) -> bool:
        """One pass; says whether anything was done."""
        clusters = await self._s.aws.clusters()
        plans = {plan.name: plan for plan in await self._wanted(clusters)}
        owned = self._owned()
        changed = False
        for name, plan in plans.items():
            self._absent.pop(name, None)
            if name in self._leaving:
                continue
            if name not in owned:
                changed |= await self._create(plan)
            else:
                changed |= await self._update(owned[name], plan)
        groups = {plan.group for plan in plans.values()}
        for name in owned.keys() - plans.keys() - self._leaving.keys():
            if not clusters and self._pods_on(name):
                continue  # an AWS without any cluster has lost its memory: running pods are not ended for that
            self._absent[name] += 1
            changed = True
            if self._absent[name] >= self._s.options.node_absent_reads:
                del self._absent[name]
                group = owned[name]["metadata"]["labels"].get("eks.amazonaws.com/nodegroup")
                self._leave(name, polite=group in groups)
        return changed or bool(self._leaving)

    async def _wanted(self, clusters: list[str]) -> list[NodePlan]:
        groups = [group for name in clusters for group in await self._s.aws.node_groups(name)]
        if missing := {s for g in groups for s in g.get("subnets") or ()} - self._zones.keys():
            self._zones |= await self._s.aws.subnet_zones(sorted(missing))
        types = {next(iter(group.get("instanceTypes") or ()), "t3.medium") for group in groups}
        if unknown := types - self._hardware.keys():
            self._hardware |= await self._s.aws.hardware(sorted(unknown))
        return plan_nodes(groups, self._zones, self._hardware)

    def _pods_on(self, node: str) -> list[Json]:
        return [pod for pod in self._pods.items.values() if pod["spec"].get("nodeName") == node]

    def _owned(self) -> dict[str, Json]:
        return {
            node["metadata"]["name"]: node
            for node in self._nodes.items.values()
            if OWNED_LABEL in (node["metadata"].get("labels") or {})
        }

    async def _create(self, plan: NodePlan) -> bool:
        known = self._sites.get(plan.name)
        taken = {site.index for site in self._sites.values()}
        index = known.index if known else next((n for n in range(NODE_LIMIT) if n not in taken), None)
        if index is None:
            log.error("node.refused node=%s reason=more than %d nodes", plan.name, NODE_LIMIT)
            return False
        address = self._s.layout.address(FIRST_NODE + index, 1)
        try:
            node = await self._s.api.post("/api/v1/nodes", node_object(plan, address))
        except ApiError as error:
            if error.status != 409:  # the copy is behind: the next pass sees it
                raise
            return False
        log.info("node.created node=%s zone=%s type=%s address=%s", plan.name, plan.zone, plan.instance_type, address)
        self._adopt(node)
        await self._beat(plan.name)
        subject = {"kind": "Node", "metadata": {"name": plan.name, "uid": plan.name}}
        self._s.events.record(subject, "Normal", "RegisteredNode", f"Node {plan.name} joined from {plan.group}")
        return True

    async def _update(self, node: Json, plan: NodePlan) -> bool:
        path = f"/api/v1/nodes/{plan.name}"
        patch = node_patch(node, plan)
        if patch:
            await self._s.api.patch(path, patch)
            log.info("node.updated node=%s", plan.name)
        if not_ready(node) and powered(node):
            await self._s.api.patch(f"{path}/status", {"status": {"conditions": conditions()}}, STRATEGIC)
            log.info("node.ready node=%s", plan.name)
        if plan.name not in self._sites:
            self._adopt(node)
        return patch is not None

    def _adopt(self, node: Json) -> None:
        name, index = node["metadata"]["name"], index_of(node)
        if name in self._sites or index is None:
            return
        address = self._s.layout.address(FIRST_NODE + index, 1)
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        site = Site(name, index, address, Addresses(self._s.options.address_quarantine_seconds), allocatable)
        self._sites[name] = site
        self._kubelet.add_site(site)

    async def _beat(self, name: str) -> None:
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_stamp()}
        try:
            await self._s.api.patch(f"{LEASES}/{name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            await self._s.api.post(LEASES, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec})

    # Leaving

    def _leave(self, name: str, *, polite: bool) -> None:
        task = asyncio.create_task(self._drain_and_remove(name, polite=polite))
        self._leaving[name] = task
        task.add_done_callback(lambda _: self._leaving.pop(name, None))

    async def _drain_and_remove(self, name: str, *, polite: bool) -> None:
        """A scaled-down node is emptied through evictions, which disruption budgets may hold up; the nodes of a group
        that is gone have their pods deleted. Either way a pod gets its grace period."""
        log.info("node.leaving node=%s evict=%s", name, polite)
        path = f"/api/v1/nodes/{name}"
        deadline = asyncio.get_running_loop().time() + self._s.options.drain_seconds
        cordoned = False
        while asyncio.get_running_loop().time() < deadline:
            try:
                if not cordoned:
                    await self._s.api.patch(path, {"spec": {"unschedulable": True}})
                    cordoned = True
                if not await self._ask_pods_to_leave(name, polite=polite):
                    break
            except ApiError as error:
                if error.status == 404:  # the node is gone already
                    break
                log.warning("node.drain node=%s error=%s", name, error)
            await asyncio.sleep(self._s.options.drain_pause_seconds)
        await self._remove(name, path)

    async def _ask_pods_to_leave(self, name: str, *, polite: bool) -> int:
        """Evicts or deletes each pod of the node that is not leaving yet; returns how many pods there are."""
        pods = self._pods_on(name)
        for pod in pods:
            metadata = pod["metadata"]
            if metadata.get("deletionTimestamp"):
                continue
            target = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": metadata["name"]}}
            try:
                if polite:
                    await self._s.api.post(f"{target}/eviction", eviction)
                else:
                    await self._s.api.delete(target, {"preconditions": {"uid": metadata["uid"]}})
            except ApiError as error:
                if error.status not in (404, 409, 429):  # 429: a disruption budget says wait
                    raise
        return len(pods)

    async def _remove(self, name: str, path: str) -> None:
        for pause in (0.2, 1.0, 5.0, 10.0):
            try:
                await self._s.api.delete(path)
                break
            except ApiError as error:
                if error.status == 404:
                    break
                log.warning("node.remove node=%s error=%s", name, error)
                await asyncio.sleep(pause)
        self._sites.pop(name, None)
        self._kubelet.remove_site(name)
        log.info("node.removed node=%s", name)
        try:
            await self._s.api.delete(f"{LEASES}/{name}")
        except ApiError as error:
            log.debug("lease.left node=%s error=%s", name, error)
