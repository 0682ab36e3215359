"""Requests that no engine has room for: they wait, bounded and fairly, and are told where they stand."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.gateway.choose import Sighting
from tests.gateway.harness import (
    CHAT,
    Engine,
    Request,
    Wire,
    chat_reply,
    eventually,
    fails,
    hang,
    make_config,
    running,
)
from tests.gateway.waiting import STREAM, Gate, keys, reply, room, send, waiting, waiting_room

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
