"""A short request that takes too long is sent to a second engine: the first answer counts, and counts once."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.balance.hedge import ENOUGH, WINDOW, Delays
from tests.gateway.harness import (
    CHAT,
    Answer,
    Client,
    Engine,
    Request,
    Running,
    Wire,
    chat_reply,
    eventually,
    fails,
    hang,
    make_config,
    running,
)

SHORT: dict[str, Any] = CHAT | {"max_tokens": 20}


def hedged(**rules: Any) -> Any:
    given_rules = {"max_output_tokens": 32, "delay_seconds": 0.1, "budget_ratio": 1.0} | rules
    model = make_config().models[0].model_dump() | {"hedge": given_rules}
    return make_config(models=[model], timeouts={"connect_seconds": 0.3})


def after(seconds: float, tokens: int = 8) -> Answer:
    async def answer(request: Request, wire: Wire) -> None:
        await asyncio.sleep(seconds)
        await wire.json(200, chat_reply(completion=tokens))

    return answer


def prefer(gateway: Running, engine: Engine) -> None:
    """The next request goes to `engine` first."""
    for one in gateway.service.targets["tiny"].pool.engines.values():
        one.in_flight = 0 if one.port == engine.port else 3


def release(gateway: Running) -> None:
    for one in gateway.service.targets["tiny"].pool.engines.values():
        one.in_flight -= 3 if one.in_flight >= 3 else 0


async def outcomes(gateway: Running) -> dict[str, float]:
    names = ("first", "second", "failed", "no_budget")
    found = {n: await gateway.metric(f'penstock_hedged_requests_total{{model="tiny",outcome="{n}"}}') for n in names}
    return {name: count for name, count in found.items() if count}


async def ask(gateway: Running, first: Engine, body: dict[str, Any] = SHORT) -> Client:
    prefer(gateway, first)
    client = await gateway.connect()
    await client.send(Client.request(body))
    await eventually(lambda: len(first.requests) == 1)
    release(gateway)
    return client


async def test_the_second_engines_answer_is_taken_and_the_first_one_stops():
    stopped = asyncio.Event()

    async def never(request: Request, wire: Wire) -> None:
        await wire.gone()
        stopped.set()

    async with running(slow := Engine(never), quick := Engine(after(0, 5)), config=hedged()) as gateway:
        begun = time.monotonic()
        client = await ask(gateway, slow)
        reply = await client.reply()
        assert (reply.status, reply.json) == (200, chat_reply(completion=5))
        assert 0.09 < time.monotonic() - begun < 1
        await asyncio.wait_for(stopped.wait(), 1)
        assert quick.requests[0].raw == slow.requests[0].raw
        assert await outcomes(gateway) == {"second": 1}
        line = gateway.requests[0]
        assert (line["hedged"], line["tries"], line["output_tokens"]) == (True, 1, 5)
        assert line["engine"].endswith(str(quick.port))
        assert not any(e.in_flight or e.failures for e in gateway.service.targets["tiny"].pool.engines.values())


async def test_the_first_engines_answer_is_taken_where_it_comes_first_and_billed_once():
    async with running(first := Engine(after(0.25, 7)), Engine(after(5)), config=hedged()) as gateway:
        client = await ask(gateway, first)
        assert (await client.reply()).json == chat_reply(completion=7)
        assert await outcomes(gateway) == {"first": 1}
        assert await gateway.metric('penstock_tokens_total{direction="output",model="tiny"}') == 7
        assert await gateway.metric('penstock_requests_total{code="200",model="tiny",stream="false"}') == 1
        assert not any(e.in_flight or e.failures for e in gateway.service.targets["tiny"].pool.engines.values())


@pytest.mark.parametrize(
    "body",
    [SHORT | {"stream": True}, CHAT | {"max_tokens": 33}, CHAT, SHORT | {"n": 2}],
    ids=["stream", "long", "no limit", "two choices"],
)
async def test_streams_and_long_requests_are_never_sent_twice(body: dict[str, Any]):
    async with running(first := Engine(hang), second := Engine(), config=hedged()) as gateway:
        client = await ask(gateway, first, body)
        await asyncio.sleep(0.3)
        assert not second.requests
        client.close()


async def test_quick_requests_are_sent_once():
    async with running(one := Engine(), two := Engine(), config=hedged()) as gateway:
        for _ in range(20):
            await gateway.ask(SHORT)
        await asyncio.sleep(0.15)
        assert len(one.requests) + len(two.requests) == 20


async def test_second_requests_keep_to_their_budget():
    engines = [Engine(after(0.2)) for _ in range(2)]
    async with running(*engines, config=hedged(budget_ratio=0.1, delay_seconds=0.05)) as gateway:
        replies = await asyncio.gather(*(gateway.ask(SHORT) for _ in range(40)))
        assert {reply.status for reply in replies} == {200}
        assert sum(len(engine.requests) for engine in engines) <= 40 + 1 + 4
        found = await outcomes(gateway)
        assert found["no_budget"] >= 35


async def test_when_the_first_engine_fails_the_second_is_waited_for():
    async def late_error(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.2)
        await fails(500)(request, wire)

    async with running(bad := Engine(late_error), good := Engine(after(0.3)), config=hedged()) as gateway:
        client = await ask(gateway, bad)
        assert (await client.reply()).status == 200
        assert len(bad.requests) == len(good.requests) == 1
        assert await gateway.metric('penstock_retries_total{reason="status_500"}') == 0


async def test_when_the_second_engine_fails_the_first_is_waited_for():
    async with running(first := Engine(after(0.4)), Engine(fails(500)), config=hedged()) as gateway:
        client = await ask(gateway, first)
        assert (await client.reply()).status == 200
        assert await outcomes(gateway) == {"failed": 1}


async def test_a_second_engine_that_never_connects_does_not_end_the_first():
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        async with running(first := Engine(after(0.9)), listener.getsockname()[1], config=hedged()) as gateway:
            client = await ask(gateway, first)
            assert (await client.reply()).status == 200
            assert await outcomes(gateway) == {"failed": 1}


async def test_a_refusal_of_either_engine_ends_the_request_once():
    async def refuse_late(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.2)
        await fails(400, "no", "BadRequestError")(request, wire)

    async with running(first := Engine(refuse_late), Engine(hang), config=hedged()) as gateway:
        client = await ask(gateway, first)
        assert (await client.reply()).status == 400
        assert len(gateway.requests) == 1
        assert not any(e.in_flight for e in gateway.service.targets["tiny"].pool.engines.values())


async def test_a_client_that_leaves_stops_both_engines():
    gone: list[int] = []

    async def never(request: Request, wire: Wire) -> None:
        await wire.gone()
        gone.append(1)

    async with running(first := Engine(never), second := Engine(never), config=hedged()) as gateway:
        client = await ask(gateway, first)
        await eventually(lambda: second.requests)
        client.close()
        await eventually(lambda: len(gone) == 2)
        assert not any(e.in_flight for e in gateway.service.targets["tiny"].pool.engines.values())


async def test_without_a_fixed_delay_the_p95_of_the_last_requests_is_waited_for():
    async with running(one := Engine(after(0.05)), two := Engine(after(0.05)), config=hedged(delay_seconds=None)) as gw:
        for _ in range(ENOUGH):
            await gw.ask(SHORT)
        assert len(one.requests) + len(two.requests) == ENOUGH
        hedger = gw.service.targets["tiny"].hedger
        assert hedger is not None
        assert hedger.delays.p95 == pytest.approx(0.055, abs=0.03)
        one.answer = hang
        one.requests.clear()
        client = await ask(gw, one)
        assert (await asyncio.wait_for(client.reply(), 2)).status == 200
        assert await outcomes(gw) == {"second": 1}


@given(st.lists(st.floats(0, 100), min_size=ENOUGH, max_size=400))
def test_the_p95_is_that_of_recent_durations_and_its_memory_is_fixed(seconds: list[float]):
    delays = Delays()
    for one in seconds:
        delays.add(one)
    assert len(delays._last) == WINDOW
    assert delays.p95 is not None
    assert min(seconds) <= delays.p95 <= max(seconds)


def test_the_p95_of_a_hundred_durations_is_the_95th():
    delays = Delays()
    for number in range(128):
        delays.add(float(number))
    assert delays.p95 == 121.0
