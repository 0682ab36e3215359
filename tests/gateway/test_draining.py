"""SIGTERM: not ready at once, nothing that is under way is cut before its time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app.gateway import server
from tests.gateway.harness import (
    CHAT,
    DONE,
    Client,
    Engine,
    Request,
    Wire,
    event,
    eventually,
    hang,
    make_config,
    running,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}


def slow_stream(seconds: float) -> Any:
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("a"))
        await asyncio.sleep(seconds)
        await wire.chunk(event("b") + DONE)
        await wire.end_stream()

    return answer


async def test_streams_under_way_are_finished_and_then_the_gateway_ends():
    async with running(Engine(slow_stream(0.4))) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await client.head()
        await client.chunk()
        drain = asyncio.ensure_future(gateway.gateway.drain())
        assert await client.chunk() == event("b") + DONE
        assert await client.chunk() == b""
        assert await client.ended()
        await asyncio.wait_for(drain, 3)
        assert gateway.log.of("stopped") == [{"event": "stopped", "cut": 0}]


async def test_new_connections_are_refused_and_readiness_ends_at_once():
    async with running(Engine(slow_stream(0.2))) as gateway:
        client, probe = await gateway.connect(), await gateway.connect()
        await client.send(Client.request(STREAM))
        await client.head()
        drain = asyncio.ensure_future(gateway.gateway.drain())
        await asyncio.sleep(0)
        await probe.send(Client.request(b"", "/readyz", "GET"))
        reply = await probe.reply()
        assert (reply.status, reply.json["status"], reply.headers["connection"]) == (503, "draining", "close")
        with pytest.raises(ConnectionRefusedError):
            await gateway.connect()
        await drain


async def test_a_request_on_a_kept_alive_connection_is_still_served_and_is_its_last():
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        await client.send(Client.request())
        assert "connection" not in (await client.reply()).headers
        drain = asyncio.ensure_future(gateway.gateway.drain())
        await asyncio.sleep(0.1)
        await client.send(Client.request(STREAM))
        reply = await client.reply()
        assert (reply.status, reply.whole, reply.headers["connection"]) == (200, True, "close")
        assert await client.ended()
        await asyncio.wait_for(drain, 1)


async def test_idle_connections_do_not_hold_the_drain_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "IDLE_GRACE_SECONDS", 0.1)
    async with running(Engine()) as gateway:
        used, fresh = await gateway.connect(), await gateway.connect()
        await used.send(Client.request())
        await used.reply()
        await asyncio.wait_for(gateway.gateway.drain(), 1)
        assert await used.ended()
        assert await fresh.ended()


async def test_what_takes_longer_than_the_drain_is_told_so():
    engine = Engine(slow_stream(30))
    async with running(engine, config=make_config(drain_seconds=0.2)) as gateway:
        streaming, waiting = await gateway.connect(), await gateway.connect()
        await streaming.send(Client.request(STREAM))
        await streaming.head()
        engine.answer = hang
        await waiting.send(Client.request(CHAT))
        await eventually(lambda: len(engine.requests) == 2)
        await asyncio.wait_for(gateway.gateway.drain(), 2)
        await streaming.chunk()
        error = json.loads((await streaming.chunk())[6:])["error"]
        assert (error["type"], error["code"], error["retryable"]) == ("upstream_interrupted", "shutting_down", True)
        reply = await waiting.reply()
        assert (reply.status, reply.error["code"]) == (503, "shutting_down")
        assert gateway.log.of("stopped") == [{"event": "stopped", "cut": 2}]


async def test_a_second_signal_ends_the_drain_now():
    async with running(Engine(slow_stream(30))) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await client.head()
        drain = asyncio.ensure_future(gateway.gateway.drain())
        await asyncio.sleep(0.05)
        gateway.gateway.hurry()
        await asyncio.wait_for(drain, 1)
