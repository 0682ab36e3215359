"""Engines that hold a connection and say nothing: found by probes, and never mistaken for engines at work."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any

import pytest

from app.gateway.config import GatewayConfig
from tests.gateway.broken_engines import Model, stall, told
from tests.gateway.harness import (
    CHAT,
    Client,
    Engine,
    Request,
    Wire,
    chat_reply,
    event,
    eventually,
    fails,
    hang,
    make_config,
    running,
)
from tests.gateway.simulators import simulated_engines

STREAM: dict[str, Any] = CHAT | {"stream": True}
QUICK = {"silence_seconds": 0.1, "timeout_seconds": 0.15, "attempts": 2}


def quick(**changes: Any) -> GatewayConfig:
    """Probes ten times as quick as by default; all other time-outs are long."""
    return make_config(**({"health": QUICK, "timeouts": {"idle_connection_seconds": 0.2}} | changes))


async def first_at(gateway: Any, engine: Engine, other: Engine) -> Client:
    """A client whose request is at `engine`."""
    pool = gateway.service.targets["tiny"].pool
    pool.engines[f"127.0.0.1:{other.port}"].in_flight += 5
    client = await gateway.connect()
    await client.send(Client.request())
    await eventually(lambda: len(engine.requests) == 1)
    pool.engines[f"127.0.0.1:{other.port}"].in_flight -= 5
    return client


async def test_a_request_that_a_hung_engine_holds_is_answered_by_another():
    async with running(weak := Engine(hang, health=hang), strong := Engine(), config=quick()) as gateway:
        client = await first_at(gateway, weak, strong)
        reply = await asyncio.wait_for(client.reply(), 2)
        assert (reply.status, reply.json) == (200, chat_reply())
        assert len(strong.requests) == 1
        assert await gateway.metric('penstock_engine_hangs_total{model="tiny"}') == 1
        assert await gateway.metric('penstock_retries_total{reason="engine_hung"}') == 1
        assert await gateway.metric('penstock_engines_resting{model="tiny"}') == 1
        assert [line["hung"] for line in gateway.log.of("engine")] == [True]


async def test_a_stream_that_has_only_its_head_from_a_hung_engine_is_answered_whole_by_another():
    async def only_a_head(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.gone()

    weak, strong = Engine(only_a_head, health=hang), Engine(Model([b"a", b"b"]))
    async with running(weak, strong, config=quick()) as gateway:
        pool = gateway.service.targets["tiny"].pool
        pool.engines[f"127.0.0.1:{strong.port}"].in_flight += 5
        found = told(await asyncio.wait_for(gateway.ask(STREAM), 2))
        assert (found.text, found.done, found.error) == ("ab", 1, None)
        assert len(weak.requests) == len(strong.requests) == 1
        assert await gateway.metric('penstock_retries_total{reason="engine_hung"}') == 1


async def test_with_the_default_settings_a_hang_costs_about_three_seconds():
    async with running(weak := Engine(hang, health=hang), strong := Engine()) as gateway:
        begun = time.monotonic()
        client = await first_at(gateway, weak, strong)
        assert (await asyncio.wait_for(client.reply(), 6)).status == 200
        assert 2.9 < time.monotonic() - begun < 4.2


async def test_a_long_generation_is_left_alone_while_its_engine_answers_probes():
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(1.2)
        await wire.json(200, chat_reply())

    async with running(engine := Engine(slow), other := Engine(), config=quick()) as gateway:
        client = await first_at(gateway, engine, other)
        assert (await client.reply()).status == 200
        assert len(engine.requests) == 1
        assert engine.probes >= 3
        assert not any(one.failures for one in gateway.service.targets["tiny"].pool.engines.values())


@pytest.mark.parametrize("status", [401, 404])
async def test_an_engine_without_that_route_is_alive(status: int):
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.8)
        await wire.json(200, chat_reply())

    async with running(engine := Engine(slow, health=fails(status)), config=quick()) as gateway:
        assert (await gateway.ask()).status == 200
        assert engine.probes >= 2
        assert await gateway.metric('penstock_engine_hangs_total{model="tiny"}') == 0


async def test_an_engine_that_says_it_is_dead_counts_as_hung():
    async with running(weak := Engine(hang, health=fails(503)), strong := Engine(), config=quick()) as gateway:
        client = await first_at(gateway, weak, strong)
        assert (await asyncio.wait_for(client.reply(), 2)).status == 200


async def test_one_lost_probe_is_no_hang():
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.8)
        await wire.json(200, chat_reply())

    async def every_other(request: Request, wire: Wire) -> None:
        if engine.probes % 2:
            wire.cut()
        else:
            await wire.raw(200, b"")

    engine = Engine(slow, health=every_other)
    async with running(engine, config=quick()) as gateway:
        assert (await gateway.ask()).status == 200
        assert engine.probes >= 3
        assert await gateway.metric('penstock_engine_hangs_total{model="tiny"}') == 0


async def test_idle_engines_and_engines_that_stream_are_not_probed():
    async def steady(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for number in range(40):
            await wire.chunk(event(str(number)))
            await asyncio.sleep(0.02)
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()

    async with running(engine := Engine(steady), idle := Engine(health=hang), config=quick()) as gateway:
        client = await gateway.connect()
        while not engine.requests:
            await client.send(Client.request(STREAM))
            await client.reply()
        assert engine.probes == idle.probes == 0


async def test_a_stream_at_a_hung_engine_goes_on_at_another():
    model = Model([b"One ", b"two ", b"three ", b"four"], breaks=[(3, stall)])
    async with running(Engine(model, health=hang), Engine(model, health=hang), config=quick()) as gateway:
        begun = time.monotonic()
        got = told(await gateway.ask(STREAM))
        assert (got.text, got.finishes, got.done, got.error) == (model.text, ["stop"], 1, None)
        assert time.monotonic() - begun < 2, "the silence allowed inside a stream is 30 s"


async def test_a_stream_that_cannot_go_on_is_not_cut_for_a_failed_probe():
    release = asyncio.Event()

    async def tools(request: Request, wire: Wire) -> None:
        call = {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}
        await wire.begin_stream()
        await wire.chunk(event("").replace(b'"choices":[', b'"choices":[' + json.dumps(call).encode() + b","))
        await release.wait()
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()

    async with running(Engine(tools, health=hang), config=quick()) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await eventually(lambda: gateway.log.of("engine"))
        await asyncio.sleep(0.3)
        release.set()
        reply = await asyncio.wait_for(client.reply(), 2)
        assert reply.events[-1] == b"data: [DONE]\n\n"
        assert b"error" not in reply.body


async def test_a_hung_engine_costs_no_further_request_and_comes_back_when_it_answers():
    async with running(weak := Engine(hang, health=hang), strong := Engine(), config=quick()) as gateway:
        client = await first_at(gateway, weak, strong)
        await client.reply()
        for _ in range(8):
            assert (await gateway.ask()).status == 200
            await asyncio.sleep(0.05)
        assert len(weak.requests) == 1
        weak.answer, weak.health = strong.answer, strong.health
        engine = gateway.service.targets["tiny"].pool.engines[f"127.0.0.1:{weak.port}"]
        await eventually(lambda: not engine.hung)
        while engine.failures:
            assert (await gateway.ask()).status == 200
        assert len(weak.requests) == 2
        assert [line["hung"] for line in gateway.log.of("engine")] == [True, False]


async def test_when_all_engines_hang_the_client_hears_soon():
    config = quick(retries={"attempts": 2})
    async with running(Engine(hang, health=hang), Engine(hang, health=hang), config=config) as gateway:
        begun = time.monotonic()
        reply = await gateway.ask()
        assert (reply.status, reply.error["code"]) == (502, "engine_failed")
        assert time.monotonic() - begun < 3


async def test_many_requests_at_one_hung_engine_all_move_whatever_the_retry_budget():
    config = quick(retries={"attempts": 2, "budget_ratio": 0.0})
    async with running(weak := Engine(hang, health=hang), strong := Engine(), config=config) as gateway:
        far = gateway.service.targets["tiny"].pool.engines[f"127.0.0.1:{strong.port}"]
        far.in_flight += 100
        clients = [await gateway.connect() for _ in range(40)]
        for client in clients:
            await client.send(Client.request())
        await eventually(lambda: len(weak.requests) == 40)
        far.in_flight -= 100
        assert {(await asyncio.wait_for(client.reply(), 3)).status for client in clients} == {200}


async def test_after_a_standstill_of_the_gateway_itself_no_engine_is_blamed():
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(1.5)
        await wire.json(200, chat_reply())

    async def takes_its_time(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.1)
        await wire.raw(200, b"")

    async with running(engine := Engine(slow, health=takes_its_time), config=quick()) as gateway:
        client = await gateway.connect()
        await client.send(Client.request())
        for number in range(1, 3):
            await eventually(lambda number=number: engine.probes >= number)
            time.sleep(0.6)  # noqa: ASYNC251 - the loop is to stand still
        assert (await client.reply()).status == 200
        assert await gateway.metric('penstock_engine_hangs_total{model="tiny"}') == 0


async def test_the_simulated_engine_stopped_inside_a_request_is_noticed():
    async with (
        simulated_engines(2) as ((one, first), (two, _)),
        running(one, two, config=quick()) as gateway,
    ):
        body = CHAT | {"max_tokens": 200}
        pool = gateway.service.targets["tiny"].pool
        pool.engines[f"127.0.0.1:{two}"].in_flight += 5
        first.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        try:
            client = await gateway.connect()
            await client.send(Client.request(body))
            reply = await asyncio.wait_for(client.reply(), 8)
        finally:
            first.send_signal(signal.SIGCONT)
        assert reply.status == 200
        assert time.monotonic() - begun < 6
        assert gateway.requests[0]["tries"] == 2
