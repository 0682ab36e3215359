"""Engines found by watching pods, against a scripted API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app.gateway import watch
from app.gateway.choose import Sighting
from app.gateway.server import Gateway
from app.gateway.surroundings import Surroundings
from app.gateway.watch import Api, PodWatch, WatchError
from tests.gateway.harness import (
    KEY,
    Client,
    Engine,
    KeptLog,
    Request,
    Running,
    Wire,
    event,
    eventually,
    key_file,
    make_config,
    running,
)

Changed = Callable[[], list[Sighting]]


def pod(name: str, version: int = 1, ip: str = "127.0.0.1", *, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {"topology.kubernetes.io/zone": "eu-central-1a"},
            "managedFields": [{"x": "y" * 200_000}],  # longer than aiohttp's limit for a line
        }
        | metadata,
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


class FakeApi:
    """Lists `pods` and sends to each watch what is put into `events`; None ends the watch, an exception cuts it."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.version = 1
        self.events: asyncio.Queue[dict[str, Any] | Exception | None] = asyncio.Queue()
        self.queries: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.refuse = 0
        self.url = ""

    @property
    def lists(self) -> int:
        return sum("watch" not in query for query in self.queries)

    @property
    def watches(self) -> list[dict[str, str]]:
        return [query for query in self.queries if "watch" in query]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        self.tokens.append(request.headers["authorization"])
        if self.refuse:
            return web.json_response({"message": "no"}, status=self.refuse)
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": self.pods})
        response = web.StreamResponse()
        await response.prepare(request)
        while (item := await self.events.get()) is not None:
            if isinstance(item, Exception):
                assert request.transport is not None
                request.transport.abort()
                break
            with contextlib.suppress(ConnectionError):
                await response.write(json.dumps(item).encode() + b"\n")
        return response


@contextlib.asynccontextmanager
async def serving(api: FakeApi) -> AsyncGenerator[FakeApi]:
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/penstock/pods", api.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()


class Watched:
    def __init__(self) -> None:
        self.seen: dict[str, Sighting] = {}
        self.connected: list[bool] = []
        self.reasons: list[str] = []

    def changed(self, sightings: Any) -> None:
        self.seen = {one.name: one for one in sightings}

    def connection(self, up: bool, reason: str) -> None:
        self.connected.append(up)
        self.reasons.append(reason)


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    return tmp_path


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_DELAY_SECONDS", 0.01)


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving(FakeApi()) as one:
        yield one


@pytest.fixture
async def watched(api: FakeApi, credentials: Path) -> AsyncIterator[Watched]:
    one = Watched()
    connection = Api(api.url, credentials)
    pods = PodWatch(connection, "penstock", "penstock.dev/model=tiny", 8000, one.changed, one.connection)
    task = asyncio.ensure_future(pods.run())
    yield one
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await connection.close()


async def test_pods_are_listed_with_address_zone_and_state(api: FakeApi, watched: Watched):
    api.pods = [pod("one"), pod("two", ready=False), pod("three", deletionTimestamp="2026-11-21T10:00:00Z")]
    await eventually(lambda: len(watched.seen) == 3)
    assert watched.seen["one"] == Sighting("uid-one", "one", "127.0.0.1", 8000, "eu-central-1a", True, False)
    assert not watched.seen["two"].ready
    assert watched.seen["three"].draining
    assert api.queries[0] == {"labelSelector": "penstock.dev/model=tiny"}
    assert watched.connected[0]


async def test_events_add_change_and_remove_pods(api: FakeApi, watched: Watched):
    await api.events.put({"type": "ADDED", "object": pod("one", 5, ready=False)})
    await eventually(lambda: "one" in watched.seen)
    await api.events.put({"type": "MODIFIED", "object": pod("one", 6)})
    await eventually(lambda: watched.seen["one"].ready)
    await api.events.put({"type": "MODIFIED", "object": pod("one", 7, deletionTimestamp="2026-11-21T10:00:00Z")})
    await eventually(lambda: watched.seen["one"].draining)
    await api.events.put({"type": "DELETED", "object": pod("one", 8)})
    await eventually(lambda: not watched.seen)


async def test_pods_that_ended_are_no_engines(api: FakeApi, watched: Watched):
    ended = pod("one")
    ended["status"]["phase"] = "Failed"
    api.pods = [ended, pod("two")]
    await eventually(lambda: watched.seen.keys() == {"two"})


async def test_a_watch_that_ends_goes_on_from_where_it_was(api: FakeApi, watched: Watched):
    await eventually(lambda: api.watches)
    await api.events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "70"}}})
    await api.events.put(None)
    await eventually(lambda: len(api.watches) == 2)
    assert api.lists == 1
    assert [query["resourceVersion"] for query in api.watches] == ["1", "70"]
    assert all(query["allowWatchBookmarks"] == "true" for query in api.watches)
    assert False not in watched.connected


@pytest.mark.parametrize("how", ["event", "status"])
async def test_a_forgotten_version_leads_to_a_new_list(api: FakeApi, watched: Watched, how: str):
    await eventually(lambda: api.watches)
    api.pods = [pod("new")]
    if how == "event":
        await api.events.put({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
    else:
        api.refuse = 410
        await api.events.put(None)
        await eventually(lambda: len(api.queries) >= 3)
        api.refuse = 0
    await eventually(lambda: "new" in watched.seen)
    assert api.lists >= 2
    assert False not in watched.connected, "a forgotten version is no lost connection"


async def test_a_cut_watch_keeps_the_last_known_pods_and_resumes(api: FakeApi, watched: Watched):
    api.pods = [pod("one")]
    await eventually(lambda: api.watches)
    await api.events.put(ConnectionError())
    await eventually(lambda: False in watched.connected)
    assert "one" in watched.seen
    await eventually(lambda: watched.connected[-1])
    assert api.lists == 1, "after a cut the watch resumes where it was"


async def test_while_the_api_refuses_the_last_known_pods_stay_and_the_reason_is_told(api: FakeApi, watched: Watched):
    api.pods = [pod("one")]
    await eventually(lambda: api.watches)
    api.refuse = 403
    await api.events.put(None)
    await eventually(lambda: False in watched.connected)
    assert "one" in watched.seen
    assert "403" in watched.reasons[-1]
    api.refuse = 0
    await eventually(lambda: watched.connected[-1])


async def test_a_renewed_token_is_used(api: FakeApi, watched: Watched, credentials: Path):
    await eventually(lambda: api.watches)
    (credentials / "token").write_text("second")
    await api.events.put(None)
    await eventually(lambda: len(api.watches) == 2)
    assert (api.tokens[0], api.tokens[-1]) == ("Bearer first", "Bearer second")


async def test_another_error_event_is_a_lost_watch():
    table = watch.PodTable(8000)
    with pytest.raises(WatchError, match="500 etcd"):
        table.apply(b'{"type":"ERROR","object":{"code":500,"message":"etcd"}}')


async def test_the_api_server_is_trusted_by_its_own_certificate_only(credentials: Path):
    (credentials / "ca.crt").write_text("no certificate")
    seen = Watched()
    api = Api("https://127.0.0.1:1", credentials)
    task = asyncio.ensure_future(PodWatch(api, "penstock", "a=b", 8000, seen.changed, seen.connection).run())
    await eventually(lambda: len(seen.connected) >= 2)  # it goes on trying: the file may be mended
    assert not any(seen.connected)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await api.close()


async def test_a_gateway_follows_its_pods_and_lets_streams_of_a_leaving_engine_end(api: FakeApi, credentials: Path):
    released = asyncio.Event()

    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("a"))
        await released.wait()
        await wire.chunk(event("b") + b"data: [DONE]\n\n")
        await wire.end_stream()

    engine = Engine(answer)
    await engine.start()
    config = make_config()
    config = config.model_copy(update={"models": (config.models[0].model_copy(update={"port": engine.port}),)})
    around = Surroundings(api_url=api.url, credentials=credentials, zone="eu-central-1a")
    log = KeptLog()
    gateway = Gateway(config, key_file(test=KEY), around, log)
    handle = Running(gateway, await gateway.start("127.0.0.1", 0), log)
    try:
        await eventually(lambda: api.watches)
        ready = await handle.get("/readyz")
        assert (ready.status, ready.json["models"]) == (503, {"tiny": {"ready": 0, "known": 0}})
        await api.events.put({"type": "ADDED", "object": pod("one", 5)})
        await eventually(lambda: handle.service.targets["tiny"].pool.ready)
        assert (await handle.get("/readyz")).status == 200
        client = await handle.connect()
        await client.send(Client.request({"model": "tiny", "messages": [1], "stream": True}))
        await client.head()
        await client.chunk()
        await api.events.put({"type": "MODIFIED", "object": pod("one", 6, deletionTimestamp="2026-11-21T10:00:00Z")})
        await eventually(lambda: not handle.service.targets["tiny"].pool.ready)
        assert (await handle.ask()).error["code"] == "no_engine"
        await api.events.put({"type": "DELETED", "object": pod("one", 7)})
        await eventually(lambda: not handle.service.targets["tiny"].pool.engines)
        released.set()
        assert await client.chunk() == event("b") + b"data: [DONE]\n\n"
        assert handle.requests[-1]["engine"] == "one"
        assert await handle.metric('penstock_watch_connected{model="tiny"}') == 1
    finally:
        await handle.stop()
        await engine.stop()


async def test_gateways_that_are_ready_share_the_limits(api: FakeApi, credentials: Path):
    api.pods = [
        pod("one"),
        pod("two"),
        pod("three", ready=False),
        pod("four", deletionTimestamp="2026-11-21T10:00:00Z"),
    ]
    config = make_config(peers="app.kubernetes.io/name=gateway")
    async with running(config=config, api_url=api.url, credentials=credentials) as gateway:
        await eventually(lambda: gateway.service.limiter.replicas == 2)
        assert "app.kubernetes.io/name=gateway" in {query["labelSelector"] for query in api.queries}
        for _ in range(8):  # for each of the two watches, which take turns
            api.events.put_nowait({"type": "MODIFIED", "object": pod("three", 2)})
            await asyncio.sleep(0.05)
        await eventually(lambda: gateway.service.limiter.replicas == 3)


async def test_a_gateway_that_sees_no_other_counts_itself(api: FakeApi, credentials: Path):
    config = make_config(peers="app.kubernetes.io/name=gateway", replicas=5)
    async with running(config=config, api_url=api.url, credentials=credentials) as gateway:
        await eventually(lambda: gateway.service.limiter.replicas == 1)
