"""Events on pods and nodes, for `kubectl describe`: best effort, bounded, repeated ones counted up."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from typing import Literal

from infra.local.kubernetes.agent.api import Api, ApiError, Json
from infra.local.kubernetes.agent.clock import stamp

log = logging.getLogger("agent.events")

QUEUE, REMEMBERED = 256, 512
"""Events waiting to be sent, and sent ones remembered for counting: bounds on memory."""

Severity = Literal["Normal", "Warning"]


class Events:
    """A queue that one task empties. A full queue drops the event: the log has the line."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._queue: asyncio.Queue[Json] = asyncio.Queue(QUEUE)
        self._sent: OrderedDict[tuple[str, str, str], tuple[str, int]] = OrderedDict()

    def record(self, subject: Json, severity: Severity, reason: str, message: str, field: str = "") -> None:
        """An event on a pod or node. `field` is a path such as `spec.containers{gateway}`."""
        metadata = subject["metadata"]
        involved = {
            "apiVersion": "v1",
            "kind": subject.get("kind") or "Pod",
            "name": metadata["name"],
            "namespace": metadata.get("namespace"),
            "uid": metadata.get("uid"),
            "fieldPath": field or None,
        }
        event = {"involvedObject": involved, "type": severity, "reason": reason, "message": message[:1000]}
        log.info("event kind=%s name=%s reason=%s %s", involved["kind"], metadata["name"], reason, message)
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event.dropped name=%s reason=%s", metadata["name"], reason)

    async def run(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._send(event)
            except ApiError as error:
                log.debug("event.lost reason=%s error=%s", event["reason"], error)

    async def _send(self, event: Json) -> None:
        involved = event["involvedObject"]
        namespace = involved.get("namespace") or "default"
        path = f"/api/v1/namespaces/{namespace}/events"
        key = (str(involved.get("uid")), event["reason"], event["message"])
        name, count = self._sent.pop(key, ("", 0))
        now = stamp()
        if name:
            try:
                await self._api.patch(f"{path}/{name}", {"count": count + 1, "lastTimestamp": now})
            except ApiError as error:
                if error.status != 404:  # events expire; then it is a new one
                    raise
                name = ""
        if not name:
            name, count = f"{involved['name']}.{secrets.token_hex(8)}", 0
            times = {"firstTimestamp": now, "lastTimestamp": now, "count": 1}
            source = {"source": {"component": "node-agent"}, "reportingComponent": "penstock.dev/node-agent"}
            metadata = {"name": name, "namespace": namespace}
            await self._api.post(path, {"metadata": metadata, **event, **times, **source})
        self._sent[key] = (name, count + 1)
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
