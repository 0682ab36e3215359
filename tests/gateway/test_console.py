"""The console's own routes: sign-in, cookie, origin, page, stream, and the admin API behind them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from app.gateway.config import GatewayConfig
from app.gateway.console import stream, web
from app.gateway.console.files import FOLDER
from app.gateway.console.settings import ConsoleConfig
from app.gateway.database.settings import Database
from tests.gateway import harness
from tests.gateway.harness import CHAT, Client, Engine, Reply, Running, eventually, fails, make_config
from tests.gateway.key_cases import ADMIN_KEY, file_with_admin, send
from tests.gateway.real_postgres import execute
from tests.gateway.redis_server import RedisServer

OWN = {"x_penstock_console": "1", "origin": "http://gateway", "sec_fetch_site": "same-origin", "authorization": ""}


def config(**changes: Any) -> GatewayConfig:
    return make_config(**({"console": ConsoleConfig().model_dump()} | changes))


@contextlib.asynccontextmanager
async def console(
    database: Database, *engines: Engine, redis: RedisServer | None = None, **changes: Any
) -> AsyncGenerator[Running]:
    address = "" if redis is None else redis.address
    async with harness.running(
        *(engines or (Engine(),)), config=config(**changes), keys=database, cache_address=address, zone="zone-a"
    ) as gateway:
        file = file_with_admin()
        gateway.service.keys.take_file(file.keys, file.admins)
        await eventually(lambda: gateway.service.keys.loaded)
        yield gateway


@pytest.fixture
async def gateway(empty_database: Database) -> AsyncIterator[Running]:
    async with console(empty_database) as one:
        yield one


async def sign_in(gateway: Running, key: str = ADMIN_KEY, **headers: str) -> Reply:
    return await send(gateway, "POST", "/console/session", {"key": key}, **(OWN | headers))


async def cookie(gateway: Running) -> str:
    reply = await sign_in(gateway)
    assert reply.status == 201, reply.body
    return reply.headers["set-cookie"].partition(";")[0]


async def page_asks(gateway: Running, method: str, path: str, cookie: str, body: object = b"", **headers: str) -> Reply:
    return await send(gateway, method, f"/console/{path}", body, **(OWN | {"cookie": cookie} | headers))


class Stream:
    """One open page's stream."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._held = b""

    @classmethod
    async def open(cls, gateway: Running, cookie: str) -> Stream:
        client = await gateway.connect()
        await client.send(Client.request(b"", "/console/stream", "GET", **(OWN | {"cookie": cookie})))
        status, headers = await asyncio.wait_for(client.head(), 10)
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        return cls(client)

    async def next(self, name: str) -> Any:
        """The content of the next event of that name; None where the stream ends before."""
        async with asyncio.timeout(20):
            while True:
                while b"\n\n" in self._held:
                    one, _, self._held = self._held.partition(b"\n\n")
                    if found := re.search(rb"event: %b\ndata: (.*)" % name.encode(), one):
                        return json.loads(found[1])
                part = await self.client.chunk()
                if not part:
                    return None
                self._held += part


# -- sign-in --


async def test_the_cookie_is_for_the_console_alone_and_out_of_reach_of_scripts(gateway: Running):
    reply = await sign_in(gateway)
    assert reply.json["actor"] == "ops"
    said = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=3600"} <= set(said.split("; "))
    assert "Secure" not in said
    assert ADMIN_KEY not in said
    over_tls = await sign_in(gateway, x_forwarded_proto="https")
    assert over_tls.headers["set-cookie"].endswith("; Secure")


async def test_a_wrong_key_and_a_clients_key_do_not_sign_in_and_are_slowed_down(gateway: Running):
    for number in range(web.MOST_SIGN_INS):
        reply = await sign_in(gateway, harness.KEY if number % 2 else "pa-nobody")
        assert (reply.status, reply.error["code"]) == (401, "invalid_admin_key")
        assert "set-cookie" not in reply.headers
    reply = await sign_in(gateway)
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (429, "too_many_sign_ins", "60")
    assert ADMIN_KEY not in json.dumps(gateway.log.events)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_penstock_console": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=lambda headers: "-".join(map("=".join, headers.items())),
)
async def test_what_another_sites_page_could_send_changes_nothing(gateway: Running, headers: dict[str, str]):
    assert (await sign_in(gateway, **headers)).error["code"] == "foreign_origin"
    mine = await cookie(gateway)
    refused = await page_asks(gateway, "POST", "api/keys", mine, {"name": "x", "tenant": "acme"}, **headers)
    assert (refused.status, refused.error["code"]) == (403, "foreign_origin")
    assert (await page_asks(gateway, "GET", "api/keys", mine)).json["data"] == []


async def test_a_configured_origin_of_clients_gets_nothing_of_the_console(empty_database: Database):
    async with console(empty_database, cors_origins=["https://app.example"]) as gateway:
        mine = await cookie(gateway)
        for path in ("", "/app.js", "/api/keys"):
            reply = await send(gateway, "GET", f"/console{path}", cookie=mine, origin="https://app.example")
            assert "access-control-allow-origin" not in reply.headers
        preflight = await send(gateway, "OPTIONS", "/console/api/keys", origin="https://app.example")
        assert preflight.status == 403
        assert "access-control-allow-origin" not in preflight.headers


async def test_a_sign_in_holds_at_every_gateway_until_it_is_signed_out(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.gateway.console.desk.TRUSTED_SECONDS", 0.0)
    async with console(empty_database) as one, console(empty_database) as other:
        mine = await cookie(one)
        assert (await page_asks(other, "GET", "session", mine)).json["actor"] == "ops"
        assert (await page_asks(one, "DELETE", "session", mine)).status == 200
        for gateway in (one, other):
            reply = await page_asks(gateway, "GET", "api/keys", mine)
            assert (reply.status, reply.error["code"]) == (401, "not_signed_in")


async def test_a_sign_in_ends_with_its_time_and_with_its_admin_key(
    empty_database: Database, gateway: Running, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.gateway.console.desk.TRUSTED_SECONDS", 0.0)
    mine = await cookie(gateway)
    file = file_with_admin()
    gateway.service.keys.take_file(file.keys, ())
    assert (await page_asks(gateway, "GET", "session", mine)).status == 401
    gateway.service.keys.take_file(file.keys, file.admins)
    assert (await page_asks(gateway, "GET", "session", mine)).status == 200
    await execute(empty_database, "UPDATE penstock_console.sessions SET expires_at = now() - interval '1 second'")
    assert (await page_asks(gateway, "GET", "session", mine)).status == 401


async def test_the_cookie_opens_neither_the_admin_api_nor_a_model(gateway: Running):
    mine = await cookie(gateway)
    for path in ("/admin/v1/keys", "/debug", "/v1/models"):
        assert (await send(gateway, "GET", path, cookie=mine, authorization="")).status == 401


async def test_what_a_page_changes_is_in_the_audit_under_who_signed_in(gateway: Running):
    mine = await cookie(gateway)
    made = await page_asks(gateway, "POST", "api/keys", mine, {"name": "search", "tenant": "acme"})
    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    rows = (await page_asks(gateway, "GET", "api/audit", mine)).json["data"]
    assert [(row["actor"], row["action"]) for row in rows] == [("ops", "key.create"), ("ops", "console.sign_in")]


# -- the page --


async def test_every_file_has_a_tag_a_policy_and_no_other_origin_in_it(gateway: Running):
    names = sorted(path.name for path in FOLDER.iterdir())
    assert {"index.html", "app.js", "console.css"} <= set(names)
    for name in ("", *(f"/{name}" for name in names)):
        reply = await send(gateway, "GET", f"/console{name}", authorization="")
        assert reply.status == 200, name
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (reply.headers["x-content-type-options"], reply.headers["referrer-policy"]) == ("nosniff", "no-referrer")
        again = await send(gateway, "GET", f"/console{name}", authorization="", if_none_match=reply.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        text = reply.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text), (
            name
        )
        assert not re.search(r"<style|style=|<script>|\son\w+=\"", text), name


async def test_there_is_no_console_where_it_is_not_configured():
    async with harness.running(Engine()) as gateway:
        for path in ("/console", "/console/app.js", "/console/session"):
            assert (await send(gateway, "GET", path)).status == 404
        assert gateway.service.recent is None


@pytest.mark.parametrize("path", ["/console/../../etc/passwd", "/console/nothing.js", "/console/web.py", "/consolex"])
async def test_nothing_but_the_pages_own_files_is_served(gateway: Running, path: str):
    assert (await send(gateway, "GET", path)).status == 404


# -- the stream --


async def test_a_stream_needs_a_sign_in_and_shows_what_failed_without_prompts(empty_database: Database):
    async with console(empty_database, Engine(fails(500)), retries={"attempts": 1}) as gateway:
        assert (await send(gateway, "GET", "/console/stream", authorization="")).status == 401
        watching = await Stream.open(gateway, await cookie(gateway))
        assert await watching.next("errors") == []
        secret = "the-prompt-of-somebody"
        asked = await gateway.ask({**CHAT, "messages": [{"role": "user", "content": secret}]})
        assert asked.status >= 500
        (error,) = await watching.next("errors")
        assert (error["status"], error["model"], error["tenant"], error["colour"]) == (
            asked.status,
            "tiny",
            "default",
            "blue",
        )
        assert secret not in json.dumps(error)


async def test_the_page_shows_all_gateways_whichever_it_is_connected_to(empty_database: Database, redis: RedisServer):
    async with (
        console(empty_database, redis=redis) as blue,
        console(empty_database, redis=redis, colour="green") as green,
    ):
        await eventually(lambda: blue.service.limiter.link is not None and blue.service.limiter.link.up)
        watching = await Stream.open(blue, await cookie(blue))
        while {one["colour"] for one in await watching.next("gateways")} != {"blue", "green"}:
            pass
        for _ in range(5):
            assert (await green.ask(CHAT)).status == 200
        while (await watching.next("point"))["colours"]["green"]["rps"] == 0:
            pass
        assert {one["colour"] for one in await (await Stream.open(green, await cookie(green))).next("engines")}
        watching.client.close()
        await green.gateway.stop()


async def test_a_drain_ends_the_stream_at_once_and_says_so(empty_database: Database):
    async with console(empty_database) as gateway:
        watching = await Stream.open(gateway, await cookie(gateway))
        assert await watching.next("point") is not None
        loop = asyncio.get_running_loop()
        began = loop.time()
        draining = asyncio.create_task(gateway.gateway.drain())
        assert await watching.next("bye") == {"reason": "drain"}
        assert await watching.next("point") is None
        await draining
        assert loop.time() - began < gateway.service.config.drain_seconds


async def test_a_sign_out_ends_the_stream_too(empty_database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.0)
    async with console(empty_database) as gateway:
        mine = await cookie(gateway)
        watching = await Stream.open(gateway, mine)
        await watching.next("point")
        await page_asks(gateway, "DELETE", "session", mine)
        assert await watching.next("bye") == {"reason": "signed_out"}


async def test_pages_beyond_the_bound_are_refused_and_the_sampler_ends_with_the_last(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stream, "LINGER_SECONDS", 0.0)
    async with console(empty_database, console={"most_viewers": 2}) as gateway:
        mine = await cookie(gateway)
        pages = [await Stream.open(gateway, mine) for _ in range(2)]
        refused = await page_asks(gateway, "GET", "stream", mine)
        assert (refused.status, refused.error["code"]) == (503, "console_crowded")
        assert gateway.service.console is not None
        broadcast = gateway.service.console.broadcast
        for page in pages:
            page.client.close()
        await eventually(lambda: broadcast.viewers == 0)
        await eventually(lambda: broadcast._task is not None and broadcast._task.done())


async def test_an_open_page_leaves_no_garbage_behind_for_the_collector(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
):
    """Full collections are hours apart in a quiet gateway: what waits for them is memory that grows with each point."""
    monkeypatch.setattr(stream, "PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(stream, "REST_SECONDS", 0.001)
    async with console(empty_database) as gateway:
        watching = await Stream.open(gateway, await cookie(gateway))
        for _ in range(10):
            await watching.next("point")
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await watching.next("point")
            left = gc.collect()
        finally:
            gc.enable()
        assert left < 100, f"{left} objects in cycles after 100 points: at each of them something is left behind"


async def test_a_page_that_reads_nothing_is_cut_off_and_holds_nothing_more():
    viewer = stream.Viewer(session=None)  # ty: ignore[invalid-argument-type] - it is not looked at
    for number in range(1000):
        viewer.put(b"%d" % number)
    assert viewer.events.qsize() <= stream.MOST_WAITING
    assert viewer.events.get_nowait() is None
