"""The kubelet's words without its deeds: nodes say that they are well, bound pods that they run, or leave when told."""

from __future__ import annotations

import datetime as dt
import urllib.error
from collections.abc import Callable

from tests.operators.plane import Json, Loop, Plane

MADE_BY = "kwok.x-k8s.io/node"
"""Label of the nodes that Karpenter's pretended cloud makes."""


class Hollow:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._loop = Loop(self._step, 1.0)

    def close(self) -> None:
        self._loop.close()

    def _step(self) -> None:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for node in self._plane.call("GET", f"/api/v1/nodes?labelSelector={MADE_BY}")["items"]:
            self._try(self._beat, node, now)
        for pod in self._plane.call("GET", "/api/v1/pods")["items"]:
            self._try(self._run, pod, now)

    def _try(self, step: Callable[[Json, str], None], found: Json, now: str) -> None:
        """What is gone meanwhile, or was written by another, is looked at again in the next round."""
        try:
            step(found, now)
        except urllib.error.HTTPError as error:
            if error.code not in {404, 409}:
                raise

    def _beat(self, node: Json, now: str) -> None:
        known = {each["type"]: each for each in node["status"].get("conditions", ())}
        since = known.get("Ready", {}).get("lastTransitionTime", now)
        if known.get("Ready", {}).get("status") != "True":
            since = now
        ready = {
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": since,
        }  # fmt: skip
        self._plane.merge(f"/api/v1/nodes/{node['metadata']['name']}/status", {"status": {"conditions": [ready]}})

    def _run(self, pod: Json, now: str) -> None:
        if not pod["spec"].get("nodeName"):
            return
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        if "deletionTimestamp" in pod["metadata"]:
            self._plane.call("DELETE", path, {"gracePeriodSeconds": 0, "kind": "DeleteOptions", "apiVersion": "v1"})
        elif pod["status"].get("phase") == "Pending":
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
            scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
            self._plane.merge(
                f"{path}/status", {"status": {"phase": "Running", "startTime": now, "conditions": [scheduled, ready]}}
            )
