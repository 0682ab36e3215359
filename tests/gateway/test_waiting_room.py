"""Requests that no engine has room for: they wait, bounded and fairly, and are told where they stand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from typing import Any

import pytest

from app.gateway.choose import Sighting
from app.gateway.config import GatewayConfig, KeyFile
from tests.gateway.broken_engines import Model, cut, told
from tests.gateway.harness import (
    CHAT,
    Client,
    Engine,
    Request,
    Running,
    Wire,
    chat_reply,
    event,
    eventually,
    fails,
    hang,
    make_config,
    running,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}
KEYS = {"flood": ("one", "interactive"), "quiet": ("two", "interactive"), "night": ("one", "batch")}


def waiting_room(most: int | None = 1, **changes: Any) -> GatewayConfig:
    """At most `most` requests at one engine, and a room before it."""
    rules = {"max_waiting": 50, "max_wait_seconds": 5} | changes.pop("queue", {})
    model = make_config().models[0].model_dump() | {"max_in_flight_per_engine": most, "queue": rules}
    return make_config(models=[model], **({"timeouts": {"idle_connection_seconds": 0.2}} | changes))


def keys() -> KeyFile:
    entries = [
        {"id": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": tenant, "priority": priority}
        for name, (tenant, priority) in KEYS.items()
    ]
    return KeyFile.model_validate({"keys": entries})


class Gate:
    """An engine that answers one request for each `open`."""

    def __init__(self) -> None:
        self._permits = asyncio.Semaphore(0)

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self._permits.release()

    async def __call__(self, request: Request, wire: Wire) -> None:
        await self._permits.acquire()
        if not request.body.get("stream"):
            await wire.json(200, chat_reply())
            return
        await wire.begin_stream()
        await wire.chunk(event("hi"))
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()


async def send(gateway: Running, body: object = CHAT, **headers: str) -> Client:
    client = await gateway.connect()
    await client.send(Client.request(body, **headers))
    return client


def room(gateway: Running) -> Any:
    return gateway.service.targets["tiny"].room


async def waiting(gateway: Running, count: int) -> None:
    await eventually(lambda: len(room(gateway)) == count)


async def reply(client: Client) -> Any:
    return await asyncio.wait_for(client.reply(), 4)


# -- room at engines --


async def test_an_engine_gets_no_more_than_it_may_have_and_the_next_once_it_has_room():
    gate = Gate()
    async with running(engine := Engine(gate), config=waiting_room(2)) as gateway:
        clients = [await send(gateway) for _ in range(5)]
        await waiting(gateway, 3)
        assert len(engine.requests) == 2
        assert await gateway.metric('penstock_queue_waiting{model="tiny",priority="interactive"}') == 3
        assert await gateway.metric('penstock_demand{model="tiny"}') == 5
        for left in (2, 1, 0):
            gate.open()
            await waiting(gateway, left)
            await eventually(lambda left=left: len(engine.requests) == 5 - left)
        gate.open(2)
        replies = [await reply(client) for client in clients]
        assert {one.status for one in replies} == {200}
        queued = [float(one.headers.get("x-penstock-queued-seconds", 0)) for one in replies]
        assert sorted(time > 0 for time in queued) == [False, False, True, True, True]
        assert await gateway.metric('penstock_queue_seconds_count{model="tiny"}') == 3
        assert await gateway.metric('penstock_demand{model="tiny"}') == 0
        assert sum("queued_ms" in line for line in gateway.requests) == 3


async def test_nobody_overtakes_those_that_wait():
    gate = Gate()
    async with running(engine := Engine(gate), config=waiting_room()) as gateway:
        await send(gateway, CHAT | {"user": "0"})
        await eventually(lambda: len(engine.requests) == 1)
        for number in range(1, 6):
            await send(gateway, CHAT | {"user": str(number)})
            await waiting(gateway, number)
        gate.open(6)
        await eventually(lambda: len(engine.requests) == 6)
        assert [request.body["user"] for request in engine.requests] == list("012345")


async def test_batch_requests_wait_until_no_interactive_one_does():
    gate = Gate()
    async with running(engine := Engine(gate), config=waiting_room()) as gateway:
        gateway.service.keys = type(gateway.service.keys)(keys().keys)
        await send(gateway, authorization="Bearer flood")
        await eventually(lambda: len(engine.requests) == 1)
        for number, name in enumerate(["night", "flood", "quiet", "flood"], 1):
            await send(gateway, CHAT | {"user": name}, authorization=f"Bearer {name}")
            await waiting(gateway, number)
        assert await gateway.metric('penstock_queue_waiting{model="tiny",priority="batch"}') == 1
        gate.open(20)
        await eventually(lambda: len(engine.requests) == 5)
        assert engine.requests[-1].body["user"] == "night"


async def test_dear_requests_of_one_tenant_do_not_hold_up_another():
    gate = Gate()
    dear = CHAT | {"user": "flood", "messages": [{"role": "user", "content": "x" * 40_000}]}
    async with running(engine := Engine(gate), config=waiting_room()) as gateway:
        gateway.service.keys = type(gateway.service.keys)(keys().keys)
        await send(gateway, authorization="Bearer flood")
        await eventually(lambda: len(engine.requests) == 1)
        for number in range(1, 7):
            await send(gateway, dear, authorization="Bearer flood")
            await waiting(gateway, number)
        for number in range(7, 10):
            await send(gateway, CHAT | {"user": "quiet"}, authorization="Bearer quiet")
            await waiting(gateway, number)
        gate.open(20)
        await eventually(lambda: len(engine.requests) == 10)
        order = [request.body["user"] for request in engine.requests[1:]]
        assert order[:3] == ["quiet"] * 3, "together they cost less than one of the others"


# -- bounds --


async def test_a_full_room_refuses_at_once_and_says_when_to_come_back():
    async with running(engine := Engine(hang), config=waiting_room(queue={"max_waiting": 2})) as gateway:
        for _ in range(3):
            await send(gateway)
        await waiting(gateway, 2)
        begun = time.monotonic()
        refused = await gateway.ask()
        assert time.monotonic() - begun < 0.5
        assert (refused.status, refused.error["code"]) == (503, "queue_full")
        assert 2 <= int(refused.headers["retry-after"]) <= 60
        assert "tiny" in refused.error["message"]
        assert await gateway.metric('penstock_queue_refused_total{model="tiny",reason="full"}') == 1
        assert len(engine.requests) == 1


async def test_who_waited_too_long_gets_a_clear_503():
    config = waiting_room(queue={"max_wait_seconds": 0.3})
    async with running(Engine(hang), config=config) as gateway:
        await send(gateway)
        begun = time.monotonic()
        expired = await gateway.ask()
        assert 0.3 <= time.monotonic() - begun < 1
        assert (expired.status, expired.error["code"]) == (503, "queue_timeout")
        assert "0.3 s" in expired.error["message"]
        assert expired.headers["retry-after"].isdigit()
        assert len(room(gateway)) == 0
        assert await gateway.metric('penstock_queue_refused_total{model="tiny",reason="expired"}') == 1


async def test_a_client_that_leaves_leaves_the_room():
    gate = Gate()
    async with running(engine := Engine(gate), config=waiting_room()) as gateway:
        await send(gateway)
        leaver = await send(gateway, CHAT | {"user": "leaver"})
        await waiting(gateway, 1)
        stays = await send(gateway, CHAT | {"user": "stays"})
        await waiting(gateway, 2)
        leaver.close()
        await waiting(gateway, 1)
        gate.open(2)
        assert (await reply(stays)).status == 200
        assert [request.body.get("user") for request in engine.requests] == [None, "stays"]
        assert 499 in {line["status"] for line in gateway.requests}


async def test_the_whole_time_for_an_answer_begins_when_the_wait_ends():
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.5)
        await wire.json(200, chat_reply())

    config = waiting_room(timeouts={"total_seconds": 0.8, "idle_connection_seconds": 0.2})
    async with running(Engine(slow), config=config) as gateway:
        clients = [await send(gateway) for _ in range(2)]
        assert [(await reply(client)).status for client in clients] == [200, 200]


async def test_a_gateway_that_goes_down_tells_those_that_wait():
    config = waiting_room(drain_seconds=0.2)
    async with running(Engine(hang), config=config) as gateway:
        await send(gateway)
        client = await send(gateway)
        await waiting(gateway, 1)
        drain = asyncio.ensure_future(gateway.gateway.drain())
        answer = await reply(client)
        assert (answer.status, answer.error["code"]) == (503, "shutting_down")
        assert answer.headers["retry-after"].isdigit()
        await drain


async def test_without_a_room_a_full_engine_is_said_at_once():
    model = make_config().models[0].model_dump() | {"max_in_flight_per_engine": 1}
    async with running(engine := Engine(hang), config=make_config(models=[model])) as gateway:
        await send(gateway)
        await eventually(lambda: len(engine.requests) == 1)
        assert (await gateway.ask()).status == 503


# -- scale from zero --


def sighting(engine: Engine, *, ready: bool = True) -> Sighting:
    return Sighting("uid", "pod", "127.0.0.1", engine.port, "", ready, False)


@pytest.mark.parametrize("stream", [False, True])
async def test_requests_wait_while_the_first_engine_comes_up(stream: bool):
    async with running(engine := Engine(), config=waiting_room(None, queue={"from_zero": True})) as gateway:
        gateway.service.update_engines("tiny", [])
        clients = [await send(gateway, STREAM if stream else CHAT) for _ in range(3)]
        await waiting(gateway, 3)
        assert (await gateway.get("/readyz")).status == 200, "else no request would come that could start an engine"
        assert await gateway.metric('penstock_demand{model="tiny"}') == 3
        gateway.service.update_engines("tiny", [sighting(engine, ready=False)])
        await asyncio.sleep(0.1)
        assert len(room(gateway)) == 3
        gateway.service.update_engines("tiny", [sighting(engine)])
        assert [(await reply(client)).status for client in clients] == [200, 200, 200]


async def test_a_gateway_whose_engines_should_be_there_is_not_ready_without_them():
    async with running(Engine(), config=waiting_room()) as gateway:
        gateway.service.update_engines("tiny", [])
        assert (await gateway.get("/readyz")).status == 503


async def test_when_no_engine_comes_up_in_time_the_client_is_told():
    config = waiting_room(None, queue={"max_wait_seconds": 0.2})
    async with running(Engine(), config=config) as gateway:
        gateway.service.update_engines("tiny", [])
        answer = await gateway.ask()
        assert (answer.status, answer.error["code"]) == (503, "no_engine")
        assert answer.headers["retry-after"].isdigit()


# -- what a stream is told --


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


async def test_a_failed_request_waits_for_room_at_another_engine():
    gate = Gate()
    async with running(bad := Engine(fails(500)), good := Engine(gate), config=waiting_room()) as gateway:
        engines = gateway.service.targets["tiny"].pool.engines
        engines[f"127.0.0.1:{bad.port}"].in_flight += 1
        await send(gateway)
        await eventually(lambda: len(good.requests) == 1)
        engines[f"127.0.0.1:{bad.port}"].in_flight -= 1
        client = await send(gateway)
        await eventually(lambda: len(bad.requests) == 1)
        await waiting(gateway, 1)
        gate.open(2)
        assert (await reply(client)).status == 200
        assert len(good.requests) == 2


# -- engines that are full, drain or are away --


class Small:
    """An engine that works on `most` requests at a time and refuses more, as vLLM does with a bound on its queue."""

    def __init__(self, most: int, seconds: float = 0.1) -> None:
        self.most, self.seconds = most, seconds
        self.busy = self.refused = 0

    async def __call__(self, request: Request, wire: Wire) -> None:
        if self.busy >= self.most:
            self.refused += 1
            await fails(503, "full", "Service Unavailable")(request, wire)
            return
        self.busy += 1
        await asyncio.sleep(self.seconds)
        self.busy -= 1
        await wire.json(200, chat_reply())


async def test_requests_wait_for_an_engine_that_says_it_is_full_and_do_not_press_it():
    engine = Small(3)
    async with running(Engine(engine), config=waiting_room(None)) as gateway:
        gateway.service.budget = type(gateway.service.budget)(0.0, 0)
        replies = await asyncio.gather(*(gateway.ask() for _ in range(30)))
        assert {one.status for one in replies} == {200}
        assert engine.refused < 15, "after the first few about as many are sent as it takes"
        assert not gateway.service.exchanges


async def test_requests_wait_while_the_only_engine_drains_until_the_next_is_there():
    config = waiting_room(None)
    async with running(
        old := Engine(fails(500, "cannot schedule new futures after shutdown")), config=config
    ) as gateway:
        client = await send(gateway)
        await waiting(gateway, 1)
        await asyncio.sleep(0.4)
        assert len(old.requests) == 1
        fresh = Engine()
        await fresh.start()
        gateway.service.update_engines("tiny", [sighting(fresh)])
        assert (await reply(client)).status == 200
        await fresh.stop()


async def test_requests_wait_while_the_only_engine_cannot_be_reached():
    async with running(engine := Engine(), config=waiting_room(None)) as gateway:
        await engine.stop()
        clients = [await send(gateway) for _ in range(5)]
        await waiting(gateway, 5)
        await asyncio.sleep(0.3)
        await engine.start()
        assert {(await reply(client)).status for client in clients} == {200}
        assert await gateway.metric('penstock_retries_total{reason="connect"}') < 20


async def test_the_time_to_wait_is_that_of_all_waits_together():
    async with running(Engine(fails(503)), config=waiting_room(None, queue={"max_wait_seconds": 1.2})) as gateway:
        begun = time.monotonic()
        answer = await gateway.ask()
        assert (answer.status, answer.error["code"]) == (503, "queue_timeout")
        assert 1.1 < time.monotonic() - begun < 2


async def test_under_a_flood_every_request_is_answered_and_nothing_is_left():
    async def brief(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.002)
        await wire.json(200, chat_reply())

    engines = [Engine(brief) for _ in range(3)]
    async with running(*engines, config=waiting_room(4, queue={"max_waiting": 150})) as gateway:
        replies = await asyncio.gather(*(gateway.ask() for _ in range(300)))
        counts = {status: sum(one.status == status for one in replies) for status in (200, 503)}
        assert counts[200] + counts[503] == 300
        assert counts[200] >= 162
        assert all(one.error["code"] == "queue_full" for one in replies if one.status == 503)
        target = gateway.service.targets["tiny"]
        assert len(room(gateway)) == target.in_flight == target.at_engines == 0
        assert not room(gateway)._streams
