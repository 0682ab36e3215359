"""Single flight while clients come and go and engines fail at random, and the edges of what is shared."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from app.gateway.cache import flight
from tests.gateway.cache_cases import STREAM, SURE, Gate, begun, caching, slowly, text
from tests.gateway.harness import DONE, Client, Engine, Request, Wire, chat_reply, event, eventually, usage_event
from tests.gateway.redis_server import RedisServer


class Moody:
    """Answers each request with a text of its own, after a while, or not at all."""

    def __init__(self, noise: random.Random) -> None:
        self.noise = noise
        self.made = 0

    async def __call__(self, request: Request, wire: Wire) -> None:
        self.made += 1
        words = [f"{self.made}-{number} " for number in range(self.noise.randint(1, 6))]
        mood = self.noise.random()
        await asyncio.sleep(self.noise.random() * 0.02)
        if mood < 0.15:
            await wire.json(500, {"error": {"message": "x", "type": "InternalServerError", "code": 500}})
            return
        if not request.body.get("stream"):
            reply = chat_reply()
            reply["choices"][0]["message"]["content"] = "".join(words)
            await wire.json(200, reply)
            return
        await wire.begin_stream()
        for word in words:
            await wire.chunk(event(word))
            await asyncio.sleep(self.noise.random() * 0.01)
        if mood < 0.3:
            wire.cut()
            return
        last = json.loads(event("")[6:])
        last["choices"][0] |= {"delta": {}, "finish_reason": "stop"}
        await wire.chunk(b"data: %b\n\n" % json.dumps(last).encode())
        await wire.chunk(usage_event())
        await wire.chunk(DONE)
        await wire.end_stream()


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_stays_gets_one_whole_answer_or_one_error_and_nothing_is_left_over(seed: int):
    noise = random.Random(seed)
    engines = [Engine(Moody(noise)) for _ in range(2)]
    statuses: list[int] = []

    async with caching(None, *engines, config={"resume": {"enabled": False}}) as gateway:

        async def client() -> None:
            body = noise.choice([SURE, STREAM]) | {"seed": noise.randint(0, 2)}
            await asyncio.sleep(noise.random() * 0.3)
            if noise.random() < 0.3:
                leaving = await gateway.connect()
                await leaving.send(Client.request(body))
                await asyncio.sleep(noise.random() * 0.04)
                leaving.close()
                return
            reply = await gateway.ask(body)
            statuses.append(reply.status)
            if reply.status != 200:
                assert reply.error["code"]
                return
            assert reply.whole
            if b"upstream_interrupted" in reply.body:
                return
            assert not reply.headers["content-type"].startswith("text/event-stream") or reply.events[-1] == DONE
            words = text(reply).split()
            assert words == [f"{words[0].partition('-')[0]}-{number}" for number in range(len(words))]

        await asyncio.gather(*(client() for _ in range(120)))
        await eventually(lambda: not gateway.service.exchanges)
        target = gateway.service.targets["tiny"]
        assert target.in_flight == 0
        assert [engine.in_flight for engine in target.pool.engines.values()] == [0, 0]
        assert await gateway.metric("penstock_cache_flights") == 0
        assert statuses.count(200) > 60
        outcomes = {line["cache"] for line in gateway.requests}
        assert outcomes == {"miss", "coalesced"}
        # Each answer is paid once: 33 micro-dollars where its usage came, events and a guessed prompt where it did not.
        whole = [line for line in gateway.requests if line["outcome"] == "ok" and line["cost_usd"]]
        assert len(whole) <= sum(len(engine.requests) for engine in engines)


async def test_followers_of_an_answer_that_is_too_long_to_share_go_alone():
    async def long(request: Request, wire: Wire) -> None:
        reply = chat_reply()
        reply["choices"][0]["message"]["content"] = "x" * 1_200_000
        await asyncio.sleep(0.05)
        await wire.json(200, reply)

    engine = Engine(long)
    async with caching(None, engine) as gateway:
        replies = await asyncio.gather(*(gateway.ask(SURE) for _ in range(3)))
        assert [len(text(reply)) for reply in replies] == [1_200_000] * 3
        assert len(engine.requests) == 3


async def test_a_follower_that_reads_too_slowly_is_cut_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flight, "MOST_BEHIND_BYTES", 64 * 1024)
    go = asyncio.Event()

    async def much(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("two "))
        await go.wait()
        for _ in range(300):
            await wire.chunk(event("x" * 40_000))
        await wire.chunk(DONE)
        await wire.end_stream()

    async with caching(None, Engine(much)) as gateway:
        leader, _, seen = await begun(gateway, STREAM)
        await begun(gateway, STREAM)  # and reads no more
        go.set()
        while part := await asyncio.wait_for(leader.chunk(), 5):
            seen = part
        assert seen.endswith(DONE)
        await eventually(lambda: len(gateway.requests) == 2)
        assert {line["outcome"] for line in gateway.requests} == {"ok", "client_too_slow"}


async def test_a_stream_too_long_to_be_replayed_takes_no_more_followers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flight, "MOST_REPLAY_BYTES", 100)
    gate = Gate()
    engine = Engine(gate)
    async with caching(None, engine) as gateway:
        _, first, _ = await begun(gateway, STREAM)
        _, second, _ = await begun(gateway, STREAM)
        assert (first["x-penstock-cache"], second["x-penstock-cache"]) == ("miss", "miss")
        assert len(engine.requests) == 2


async def test_a_client_that_leaves_while_redis_is_asked_leaves_nothing_behind():
    server = RedisServer().start()
    engine = Engine(slowly(0.01))
    try:
        async with caching(server, engine) as gateway:
            server.freeze()
            leaving = await gateway.connect()
            await leaving.send(Client.request(SURE))
            await eventually(lambda: gateway.service.exchanges)
            staying = asyncio.ensure_future(gateway.ask(SURE))
            await asyncio.sleep(0.03)
            leaving.close()
            reply: Any = await staying
            assert (reply.status, reply.headers["x-penstock-cache"]) == (200, "miss")
            await eventually(lambda: not gateway.service.exchanges)
            assert len(engine.requests) == 1
            assert await gateway.metric("penstock_cache_flights") == 0
    finally:
        server.stop()


async def test_pipelined_requests_hit_one_after_the_other():
    server = RedisServer().start()
    try:
        async with caching(server) as gateway:
            first = await gateway.ask(SURE)
            await asyncio.sleep(0.05)
            client = await gateway.connect()
            await client.send(Client.request(SURE) * 3 + Client.request(STREAM))
            replies = [await asyncio.wait_for(client.reply(), 3) for _ in range(4)]
            assert [reply.headers["x-penstock-cache"] for reply in replies] == ["hit"] * 4
            assert {text(reply) for reply in replies} == {text(first)}
    finally:
        server.stop()
