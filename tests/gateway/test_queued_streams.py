"""Streams that wait for an engine: what they are told meanwhile, and how they end."""

from __future__ import annotations

import asyncio
import json
import re

from tests.gateway.broken_engines import Model, cut, told
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
    running,
)
from tests.gateway.waiting import STREAM, Gate, reply, room, send, waiting, waiting_room


async def test_a_stream_is_told_its_position_until_its_turn_and_then_gets_its_answer_whole():
    gate = Gate()
    config = waiting_room(queue={"position_seconds": 0.15})
    async with running(engine := Engine(gate), config=config) as gateway:
        await send(gateway)
        await eventually(lambda: len(engine.requests) == 1)
        await send(gateway)
        await waiting(gateway, 1)
        last = await send(gateway, STREAM)
        await waiting(gateway, 2)
        await asyncio.sleep(0.4)
        gate.open()
        await asyncio.sleep(0.4)
        gate.open(2)
        answer = await reply(last)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        positions = [int(number) for number in re.findall(rb"^: queued position=(\d+)$", answer.body, re.MULTILINE)]
        assert positions[0] == 2
        assert positions[-1] == 1
        assert positions == sorted(positions, reverse=True)
        assert len(positions) >= 4
        assert answer.events[-2:] == [event("hi"), b"data: [DONE]\n\n"]
        assert gateway.requests[-1]["ttft_ms"] > 700, "the wait is part of the time to the first token"


async def test_a_short_wait_leaves_the_status_open():
    gate = Gate()
    async with running(Engine(gate), config=waiting_room()) as gateway:
        await send(gateway)
        client = await send(gateway, STREAM)
        await waiting(gateway, 1)
        gate.open(2)
        answer = await reply(client)
        assert not re.search(rb"queued", answer.body)
        assert float(answer.headers["x-penstock-queued-seconds"]) > 0


async def test_a_told_stream_that_waits_too_long_ends_with_an_error_event():
    config = waiting_room(queue={"position_seconds": 0.1, "max_wait_seconds": 0.4})
    async with running(Engine(hang), config=config) as gateway:
        await send(gateway)
        client = await send(gateway, STREAM)
        answer = await reply(client)
        assert answer.status == 200, "it was sent with the first position"
        assert answer.whole
        assert json.loads(answer.events[-1][6:])["error"]["code"] == "queue_timeout"
        line = gateway.requests[-1]
        assert (line["status"], line["outcome"]) == (503, "queue_timeout")
        await client.send(Client.request(CHAT, "/v1/unknown"))
        assert (await reply(client)).status == 404, "the connection goes on"


async def test_a_told_stream_whose_engine_fails_ends_with_an_error_event():
    gate = Gate()

    async def then_fail(request: Request, wire: Wire) -> None:
        if request.body.get("stream"):
            await fails(500)(request, wire)
        else:
            await gate(request, wire)

    config = waiting_room(queue={"position_seconds": 0.1})
    async with running(Engine(then_fail), config=config) as gateway:
        await send(gateway)
        client = await send(gateway, STREAM)
        await waiting(gateway, 1)
        await asyncio.sleep(0.25)
        gate.open()
        answer = await reply(client)
        assert json.loads(answer.events[-1][6:])["error"]["code"] == "engine_failed"
        assert gateway.requests[-1]["status"] == 500


async def test_a_told_stream_survives_its_engine_like_any_other():
    model = Model([b"One ", b"two ", b"three ", b"four"], breaks=[(3, cut)])
    gate = Gate()

    async def answer(request: Request, wire: Wire) -> None:
        await (model if request.body.get("stream") else gate)(request, wire)

    config = waiting_room(queue={"position_seconds": 0.1})
    async with running(Engine(answer), Engine(answer), config=config) as gateway:
        for _ in range(2):
            await send(gateway)
        client = await send(gateway, STREAM)
        await waiting(gateway, 1)
        await asyncio.sleep(0.25)
        gate.open(2)
        got = told(await reply(client))
        assert (got.text, got.roles, got.finishes, got.done, got.error) == (model.text, 1, ["stop"], 1, None)


async def test_a_told_stream_may_be_answered_by_something_else_than_an_engine():
    config = waiting_room(queue={"position_seconds": 0.1})
    async with running(Engine(hang), config=config) as gateway:
        await send(gateway)
        client = await send(gateway, STREAM)
        await waiting(gateway, 1)
        await asyncio.sleep(0.25)
        told_one = next(one for one in gateway.service.exchanges if one.place is not None)
        told_one.stream_whole(event("canned") + b"data: [DONE]\n\n")
        answer = await reply(client)
        assert answer.events[-2:] == [event("canned"), b"data: [DONE]\n\n"]
        assert b"HTTP/1.1" not in answer.body
        assert len(room(gateway)) == 0


async def test_an_engine_that_answers_a_told_stream_by_json_is_no_stream():
    gate = Gate()

    async def only_json(request: Request, wire: Wire) -> None:
        await (wire.json(200, chat_reply()) if request.body.get("stream") else gate(request, wire))

    config = waiting_room(queue={"position_seconds": 0.1})
    async with running(Engine(only_json), config=config) as gateway:
        await send(gateway)
        client = await send(gateway, STREAM)
        await waiting(gateway, 1)
        await asyncio.sleep(0.25)
        gate.open()
        answer = await reply(client)
        assert json.loads(answer.events[-1][6:])["error"]["code"] == "engine_failed"
        assert b"HTTP/1.1" not in answer.body
