"""A small API server in memory, and what runs an agent's parts against it."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infra.local.kubernetes.agent.addresses import Addresses
from infra.local.kubernetes.agent.api import Api, Credentials
from infra.local.kubernetes.agent.events import Events
from infra.local.kubernetes.agent.kubelet import Kubelet
from infra.local.kubernetes.agent.options import Options
from infra.local.kubernetes.agent.pod import Services, Site
from infra.local.kubernetes.agent.store import Store
from infra.local.layout import Layout

CHECKOUT = Path(__file__).parents[3]

QUICK = Options(
    drain_pause_seconds=0.05,
    restart_base_seconds=0.2,
    restart_cap_seconds=0.8,
    mount_retry_seconds=0.05,
    eager_probe_seconds=0.02,
    housekeeping_seconds=0.1,
    force_kill_seconds=0.2,
    target_resync_seconds=5,
    target_poll_seconds=0.02,
    node_poll_seconds=0.02,
    lease_renew_seconds=0.05,
    address_quarantine_seconds=30,
    heavy_starts=1,
)


class FakeApiServer:
    """List, watch, create, patch and delete of any kind; pods are deleted gracefully."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        """(collection path without namespace, `namespace/name`) -> object."""
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.refuse: dict[tuple[str, str], int] = {}
        """(method, path) -> status to answer with."""
        self.gone = False
        """Answers watches with 410, once."""
        self._version = 1
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self._watchers: list[tuple[str, asyncio.Queue[dict[str, Any] | None]]] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self.drop_watches()
        if self._runner:
            await self._runner.cleanup()

    def drop_watches(self) -> None:
        for _, queue in self._watchers:
            queue.put_nowait(None)

    def put(self, collection: str, item: dict[str, Any]) -> dict[str, Any]:
        metadata = item["metadata"]
        key = (collection, f"{metadata.get('namespace', '')}/{metadata['name']}")
        change = "MODIFIED" if key in self.objects else "ADDED"
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{metadata['name']}-{self._version}")
        self.objects[key] = item
        self._tell(collection, change, item)
        return item

    def remove(self, collection: str, key: str) -> None:
        if item := self.objects.pop((collection, key), None):
            self._version += 1
            item["metadata"]["resourceVersion"] = str(self._version)
            self._tell(collection, "DELETED", item)

    def get(self, collection: str, key: str) -> dict[str, Any] | None:
        return self.objects.get((collection, key))

    def delete_pod(self, key: str, grace: int | None = None) -> None:
        pod = self.objects["/api/v1/pods", key]
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        if grace == 0 or not pod["spec"].get("nodeName"):
            self.remove("/api/v1/pods", key)
            return
        pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
        self.put("/api/v1/pods", pod)

    def sent(self, method: str, part: str) -> list[dict[str, Any]]:
        return [body for m, path, body in self.requests if m == method and part in path]

    def _tell(self, collection: str, change: str, item: dict[str, Any]) -> None:
        event = {"type": change, "object": json.loads(json.dumps(item))}
        self._history.append((self._version, collection, event))
        for watched, queue in self._watchers:
            if watched == collection:
                queue.put_nowait(event)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        collection, key, subresource = self._split(request.path)
        raw = await request.read()
        body = json.loads(raw) if raw else {}
        if request.method != "GET":
            self.requests.append((request.method, request.path, body))
        if status := self.refuse.get((request.method, request.path)):
            return _status(status, "refused by the test")
        if request.method == "GET" and request.query.get("watch"):
            return await self._watch(request, collection)
        if request.method == "GET" and not key:
            items = [item for (kind, _), item in self.objects.items() if kind == collection]
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        if request.method == "POST":
            return self._post(collection, key, subresource, body)
        item = self.objects.get((collection, key))
        if item is None:
            return _status(404, f"{collection} {key} not found")
        if request.method == "PATCH":
            if (uid := body.get("metadata", {}).pop("uid", None)) and uid != item["metadata"]["uid"]:
                return _status(409, "uid differs")
            body.get("metadata", {}).pop("resourceVersion", None)
            _merge(item, body)
            self.put(collection, item)
        if request.method == "DELETE":
            if collection == "/api/v1/pods":
                self.delete_pod(key, body.get("gracePeriodSeconds"))
            else:
                self.remove(collection, key)
        return web.json_response(item)

    def _post(self, collection: str, key: str, subresource: str, body: dict[str, Any]) -> web.Response:
        if subresource == "token":
            status = {"token": f"token-{len(self.requests)}", "expirationTimestamp": "2099-01-01T00:00:00Z"}
            return web.json_response({"status": status})
        if subresource == "eviction":
            self.delete_pod(key)
            return web.json_response({})
        body["metadata"].setdefault("namespace", key.partition("/")[0])
        return web.json_response(self.put(collection, body))

    async def _watch(self, request: web.Request, collection: str) -> web.StreamResponse:
        reply = web.StreamResponse()
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        if self.gone:
            self.gone = False
            queue.put_nowait({"type": "ERROR", "object": {"reason": "Expired", "code": 410}})
        for version, watched, event in self._history:
            if watched == collection and version > int(request.query["resourceVersion"]):
                queue.put_nowait(event)
        self._watchers.append((collection, queue))
        await reply.prepare(request)
        try:
            while (event := await queue.get()) is not None:
                await reply.write(json.dumps(event).encode() + b"\n")
        finally:
            self._watchers.remove((collection, queue))
        return reply

    @staticmethod
    def _split(path: str) -> tuple[str, str, str]:
        parts = path.strip("/").split("/")
        prefix, rest = (parts[:2], parts[2:]) if parts[0] == "api" else (parts[:3], parts[3:])
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        named = f"{namespace}/{rest[1]}" if len(rest) > 1 else ""
        key = named or (f"{namespace}/" if namespace else "")
        return f"/{'/'.join([*prefix, rest[0]])}", key, rest[2] if len(rest) > 2 else ""


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"reason": str(code), "message": message}, status=code)


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif key == "conditions":
            merged = {c["type"]: c for c in into.get(key, [])} | {c["type"]: c for c in value}
            into[key] = list(merged.values())
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    fake = FakeApiServer()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def api(server: FakeApiServer) -> AsyncIterator[Api]:
    client = Api(Credentials(server.url, "token", None), timeout_seconds=5)
    yield client
    await client.close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(CHECKOUT, tmp_path / "state", slot=100 + os.getpid() % 100)


@pytest.fixture
def options() -> Options:
    return QUICK


@pytest.fixture
async def running() -> AsyncIterator[Callable[[Awaitable[None]], None]]:
    """Starts coroutines that are cancelled after the test."""
    tasks: list[asyncio.Future[None]] = []
    yield lambda work: tasks.append(asyncio.ensure_future(work))
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def make_kubelet(
    server: FakeApiServer,
    api: Api,
    layout: Layout,
    options: Options,
    running: Callable[[Awaitable[None]], None],
) -> Callable[[], Kubelet]:
    """A kubelet with one node, `system-a-1`, on the fake API server."""

    def make() -> Kubelet:
        events = Events(api)
        pods, maps, secrets = (Store(api, f"/api/v1/{kind}") for kind in ("pods", "configmaps", "secrets"))
        kubelet = Kubelet(Services(api, events, layout, options), pods, maps, secrets)
        for loop in (pods.run, maps.run, secrets.run, events.run, kubelet.run):
            running(loop())
        kubelet.add_site(Site("system-a-1", 0, layout.address(16, 1), Addresses(30), {"cpu": "1930m"}))
        return kubelet

    return make


@pytest.fixture
async def kubelet(make_kubelet: Callable[[], Kubelet]) -> AsyncIterator[Kubelet]:
    made = make_kubelet()
    yield made
    await made.close()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """Waits until a predicate gives something true, and returns that."""

    async def wait(predicate: Callable[[], Any], seconds: float = 8.0) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        while not (value := predicate()):
            assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s"
            await asyncio.sleep(0.01)
        return value

    return wait
