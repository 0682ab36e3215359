"""What happens when engines fail: before the first byte another one answers, after it the client is told."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

from tests.gateway.harness import (
    CHAT,
    DONE,
    Answer,
    Client,
    Engine,
    Request,
    Wire,
    chat_reply,
    cut_at_once,
    draining,
    event,
    eventually,
    fails,
    hang,
    make_config,
    running,
    well,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


async def head_then_cut(request: Request, wire: Wire) -> None:
    await wire.begin_stream()
    await asyncio.sleep(0.02)
    wire.cut()


@pytest.mark.parametrize(
    ("answer", "reason", "body"),
    [
        (fails(500), "status_500", CHAT),
        (draining, "engine_draining", CHAT),
        (draining, "engine_draining", STREAM),
        (fails(502), "status_502", CHAT),
        (fails(503, "full", "Service Unavailable"), "overloaded", CHAT),
        (fails(504), "status_504", CHAT),
        (cut_at_once, "connection_lost", CHAT),
        (head_then_cut, "connection_lost", STREAM),
        (hang, "first_byte_timeout", STREAM),
    ],
)
async def test_before_the_first_byte_another_engine_answers(answer: Answer, reason: str, body: dict[str, Any]):
    config = make_config(timeouts={"first_byte_seconds": 0.2})
    bad, good = Engine(answer), Engine()
    async with running(bad, good, config=config) as gateway:
        for _ in range(20):
            assert (await gateway.ask(body)).status == 200
            if bad.requests:
                break
        assert bad.requests, "the failing engine was never chosen"
        assert await gateway.metric(f'penstock_retries_total{{reason="{reason}"}}') == 1


async def test_an_engine_that_cannot_be_reached_is_passed_over():
    async with running(closed_port(), Engine()) as gateway:
        replies = [await gateway.ask() for _ in range(20)]
        assert {reply.status for reply in replies} == {200}
        assert await gateway.metric('penstock_retries_total{reason="connect"}') == 1, "one failure, then it rests"


async def test_a_connection_that_never_opens_is_given_up():
    # A listener with a full queue does not answer: connections to it hang.
    config = make_config(timeouts={"connect_seconds": 0.1})
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        async with running(listener.getsockname()[1], config=config) as gateway:
            reply = await gateway.ask()
            assert (reply.status, reply.error["code"]) == (502, "engine_unreachable")


async def test_a_pooled_connection_that_the_engine_closed_costs_nothing():
    async def once(request: Request, wire: Wire) -> None:
        await well(request, wire)
        # The next request finds the connection cut, after it was sent.
        await wire.reader.read(1)
        wire.cut()

    async with running(engine := Engine(once)) as gateway:
        await gateway.ask()
        reply = await gateway.ask()
        assert reply.status == 200
        assert engine.connections == 2
        assert await gateway.metric('penstock_retries_total{reason="stale_connection"}') == 1
        assert not any(engine.failures for engine in gateway.service.targets["tiny"].pool.engines.values())


async def test_client_errors_are_not_retried():
    async with running(one := Engine(fails(400)), two := Engine(fails(400))) as gateway:
        assert (await gateway.ask()).status == 400
        assert len(one.requests) + len(two.requests) == 1


async def test_the_number_of_attempts_is_bounded():
    engines = [Engine(fails(500)) for _ in range(4)]
    async with running(*engines, config=make_config(retries={"attempts": 2})) as gateway:
        reply = await gateway.ask()
        assert (reply.status, reply.error["code"]) == (500, "engine_failed")
        assert sum(len(engine.requests) for engine in engines) == 2
        assert gateway.requests[0]["tries"] == 2


async def test_an_outage_is_not_multiplied_by_retries():
    engines = [Engine(fails(500)) for _ in range(2)]
    async with running(*engines, config=make_config(retries={"attempts": 2, "budget_ratio": 0.2})) as gateway:
        for _ in range(50):
            await gateway.ask()
        tried = sum(len(engine.requests) for engine in engines)
        assert tried == 50 + 10 + 50 * 0.2


async def test_a_drain_does_not_use_up_the_retry_budget():
    bad, good = Engine(draining), Engine()
    async with running(bad, good, config=make_config(retries={"budget_ratio": 0})) as gateway:
        while gateway.service.budget.take(time.monotonic()):
            pass
        for _ in range(12):
            assert (await gateway.ask()).status == 200
        assert len(bad.requests) <= 1, "an engine that drains gets nothing new"
        assert not any(engine.failures for engine in gateway.service.targets["tiny"].pool.engines.values())


async def test_when_all_engines_drain_the_client_may_come_back():
    async with running(Engine(draining), Engine(draining)) as gateway:
        reply = await gateway.ask()
        assert (reply.status, reply.error["code"]) == (503, "overloaded")
        assert reply.headers["retry-after"].isdigit()


async def test_without_an_engine_the_client_may_come_back():
    async with running(Engine()) as gateway:
        gateway.service.update_engines("tiny", [])
        reply = await gateway.ask()
        assert (reply.status, reply.error["code"]) == (503, "no_engine")
        assert reply.headers["retry-after"].isdigit()
        assert (await gateway.get("/readyz")).status == 503


@pytest.mark.parametrize("ending", ["cut", "end"])
async def test_a_stream_that_is_cut_ends_with_a_typed_event_and_never_silently(ending: str):
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("a") + event("b")[:30])
        await asyncio.sleep(0.02)
        if ending == "cut":
            wire.cut()
        else:
            await wire.end_stream()

    config = make_config(resume={"enabled": False})
    async with running(engine := Engine(answer), other := Engine(answer), config=config) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        reply = await client.reply()
        assert reply.body.startswith(event("a"))
        error = json.loads(reply.events[-1][6:])["error"]
        assert (error["type"], error["retryable"]) == ("upstream_interrupted", True)
        assert DONE not in reply.body
        assert await client.ended()
        assert len(engine.requests) + len(other.requests) == 1, "a stream that has begun is not begun again"
        assert await gateway.metric('penstock_interrupted_streams_total{model="tiny"}') == 1


async def test_a_reply_that_is_cut_before_anything_was_sent_is_a_502():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
        await asyncio.sleep(0.02)
        wire.cut()

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask()
        assert (reply.status, reply.error["code"]) == (502, "upstream_interrupted")


async def test_a_long_reply_that_is_cut_is_seen_as_cut():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000000\r\n\r\n{")
        await wire.send(b"1" * 2_000_000)
        await asyncio.sleep(0.05)
        wire.cut()

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask({"model": "tiny", "input": "x"}, "/v1/embeddings")
        assert not reply.whole


async def test_what_is_no_http_is_a_failed_engine():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.send(b"SSH-2.0-OpenSSH\r\n")

    async with running(Engine(answer)) as gateway:
        assert (await gateway.ask()).status == 502


async def test_after_its_rest_a_failed_engine_gets_one_request_and_more_once_it_begins_to_answer():
    release = asyncio.Event()

    async def slow_start(request: Request, wire: Wire) -> None:
        await release.wait()
        await wire.begin_stream()
        await wire.chunk(event("a"))
        await wire.gone()

    async with running(weak := Engine(slow_start), strong := Engine(hang)) as gateway:
        pool = gateway.service.targets["tiny"].pool
        engine, other = (pool.engines[f"127.0.0.1:{one.port}"] for one in (weak, strong))
        pool.failed(engine, time.monotonic() - 2)
        other.in_flight = 50
        engine.in_flight = 3  # streams from before the failure are no probes
        for count in range(3):
            client = await gateway.connect()
            await client.send(Client.request(STREAM))
            await eventually(lambda count=count: len(gateway.service.exchanges) == count + 1)
        await eventually(lambda: len(weak.requests) == 1)
        assert (engine.probes, engine.in_flight) == (1, 4)
        release.set()
        await eventually(lambda: engine.failures == 0)
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await eventually(lambda: len(weak.requests) == 2)


async def test_requests_under_way_are_bounded():
    async with running(engine := Engine(hang), config=make_config(max_concurrent_requests=2)) as gateway:
        waiting = [await gateway.connect() for _ in range(2)]
        for client in waiting:
            await client.send(Client.request())
        await eventually(lambda: len(engine.requests) == 2)
        reply = await gateway.ask()
        assert (reply.status, reply.error["code"]) == (503, "too_many_requests_under_way")
        assert reply.headers["retry-after"].isdigit()
        assert await gateway.metric('penstock_refused_requests_total{reason="concurrency"}') == 1
        assert (await gateway.get("/healthz")).status == 200
        engine.answer = well
        waiting[0].close()
        await eventually(lambda: len(gateway.service.exchanges) == 1)
        assert (await gateway.ask()).status == 200


async def test_long_generations_and_clients_that_leave_are_not_held_against_an_engine():
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.3)
        await wire.json(200, chat_reply())

    config = make_config(timeouts={"first_byte_seconds": 0.1})
    async with running(engine := Engine(slow), config=config) as gateway:
        assert (await gateway.ask()).status == 200
        client = await gateway.connect()
        await client.send(Client.request())
        await eventually(lambda: len(engine.requests) == 2)
        client.close()
        await eventually(lambda: len(gateway.requests) == 2)
        assert not any(engine.failures for engine in gateway.service.targets["tiny"].pool.engines.values())
