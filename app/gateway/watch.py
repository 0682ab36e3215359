"""Finds engines by watching pods: address, readiness, zone, and `deletionTimestamp`, which tells of a drain first.

List, then watch from the list's resource version; a watch that ends goes on where it was; only a version that the API
server has forgotten (410) makes a new list. While the API cannot be reached the last known set stays.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from app.gateway.choose import Sighting

ZONE_LABEL = "topology.kubernetes.io/zone"
WEIGHT_ANNOTATION = "penstock.dev/weight"
MOST_WEIGHT = 1000
WATCH_SECONDS = 120
"""The API server ends a watch after this; a shorter silence cannot be told from a dead connection."""
SLACK_SECONDS = 15
LIST_SECONDS = 15
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.2, 10.0


class _Metadata(msgspec.Struct):
    name: str = ""
    uid: str = ""
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = msgspec.field(default=None, name="deletionTimestamp")


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Status(msgspec.Struct):
    phase: str = ""
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    conditions: list[_Condition] | None = None


class Pod(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


class _PodList(msgspec.Struct):
    metadata: _Metadata
    items: list[Pod] = []


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int = 0
    message: str = ""


class GoneError(Exception):
    """The resource version is too old: list again."""


class WatchError(Exception):
    """The API server refused."""


def sighting(pod: Pod, port: int) -> Sighting | None:
    """An engine's state as its pod tells it; None for a pod that has ended."""
    status, metadata = pod.status, pod.metadata
    if status.phase in ("Succeeded", "Failed"):
        return None
    ready = bool(status.pod_ip) and any(c.type == "Ready" and c.status == "True" for c in status.conditions or ())
    return Sighting(
        key=metadata.uid,
        name=metadata.name,
        host=status.pod_ip or "",
        port=port,
        zone=(metadata.labels or {}).get(ZONE_LABEL, ""),
        ready=ready,
        draining=metadata.deletion_timestamp is not None,
        weight=_weight((metadata.annotations or {}).get(WEIGHT_ANNOTATION, "")),
    )


def _weight(text: str) -> float:
    """A whole number from 1 to 1000; anything else counts as 1, for a pod's typing error must not stop its engine."""
    return float(text) if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_WEIGHT else 1.0


class PodTable:
    """The pods of one selector, kept current by events."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pods: dict[str, Pod] = {}
        self.version = ""

    def replace(self, content: bytes) -> None:
        listed = msgspec.json.decode(content, type=_PodList)
        self._pods = {pod.metadata.uid: pod for pod in listed.items}
        self.version = listed.metadata.resource_version

    def apply(self, line: bytes) -> bool:
        """Takes in one event; True when pods changed. Raises GoneError or WatchError for an event that says so."""
        event = msgspec.json.decode(line, type=_Event)
        if event.type == "ERROR":
            failure = msgspec.json.decode(event.object, type=_Failure)
            self.version = ""
            if failure.code == 410:
                raise GoneError
            raise WatchError(f"the watch failed: {failure.code} {failure.message}")
        pod = msgspec.json.decode(event.object, type=Pod)
        self.version = pod.metadata.resource_version
        if event.type == "BOOKMARK":
            return False
        if event.type == "DELETED":
            self._pods.pop(pod.metadata.uid, None)
        else:
            self._pods[pod.metadata.uid] = pod
        return True

    def sightings(self) -> list[Sighting]:
        seen = (sighting(pod, self._port) for pod in self._pods.values())
        return [one for one in seen if one is not None]


class Api:
    """The API server as a pod sees it. The token is read for each call: the kubelet renews its file."""

    def __init__(self, url: str, credentials: Path) -> None:
        self.url = url
        self._credentials = credentials
        self._tls: ssl.SSLContext | None = None
        self.session: aiohttp.ClientSession | None = None

    def forget_certificates(self) -> None:
        self._tls = None

    def _ssl(self) -> ssl.SSLContext | bool:
        if not self.url.startswith("https:"):
            return True
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=str(self._credentials / "ca.crt"))
        return self._tls

    def get(self, path: str, query: dict[str, str], timeout: aiohttp.ClientTimeout) -> Any:
        if self.session is None:
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        token = (self._credentials / "token").read_text().strip()
        headers = {"authorization": f"Bearer {token}", "accept": "application/json", "user-agent": "penstock-gateway"}
        return self.session.get(f"{self.url}{path}", params=query, headers=headers, ssl=self._ssl(), timeout=timeout)

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """aiohttp's own line reader has a limit of 128 KiB; a pod may be longer."""
    held = b""
    async for data in response.content.iter_any():
        *whole, held = (held + data).split(b"\n")
        for line in whole:
            if line.strip():
                yield line


class PodWatch:
    """Watches one selector for ever. `changed` gets the whole set; `connected` gets True or False with a reason."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        selector: str,
        port: int,
        changed: Callable[[Iterable[Sighting]], None],
        connected: Callable[[bool, str], None],
    ) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._selector = selector
        self._table = PodTable(port)
        self._changed = changed
        self._connected = connected

    async def run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                if not self._table.version:
                    await self._list()
                await self._watch()
                delay = FIRST_DELAY_SECONDS
            except GoneError:
                self._table.version = ""
                await asyncio.sleep(random.uniform(0, FIRST_DELAY_SECONDS))  # noqa: S311 - jitter
            except (aiohttp.ClientError, OSError, TimeoutError, WatchError, msgspec.DecodeError) as error:
                self._connected(False, str(error) or type(error).__name__)
                self._api.forget_certificates()
                await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - jitter
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    async def _list(self) -> None:
        query = {"labelSelector": self._selector}
        async with self._api.get(self._path, query, aiohttp.ClientTimeout(total=LIST_SECONDS)) as response:
            content = await response.read()
            _raise_for(response.status, content)
        self._table.replace(content)
        self._connected(True, "")
        self._changed(self._table.sightings())

    async def _watch(self) -> None:
        query = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._table.version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=5, sock_read=WATCH_SECONDS + SLACK_SECONDS)
        async with self._api.get(self._path, query, timeout) as response:
            if response.status != 200:
                _raise_for(response.status, await response.read())
            self._connected(True, "")
            async for line in _lines(response):
                if self._table.apply(line):
                    self._changed(self._table.sightings())


def _raise_for(status: int, content: bytes) -> None:
    if status == 410:
        raise GoneError
    if status != 200:
        raise WatchError(f"the API server answered {status}: {content[:300].decode(errors='replace')}")
