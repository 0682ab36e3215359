"""Identical requests under way share one answer, whatever happens to the one that leads."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.cache_cases import (
    COUNTED,
    STREAM,
    SURE,
    Gate,
    begun,
    caching,
    kept,
    rest,
    slowly,
    text,
    well,
)
from tests.gateway.harness import (
    DONE,
    Client,
    Engine,
    Request,
    Wire,
    event,
    eventually,
    fails,
    make_config,
    running,
)
from tests.gateway.redis_server import RedisServer


@pytest.mark.parametrize("with_redis", [True, False])
async def test_identical_requests_under_way_share_one_answer(redis: RedisServer, with_redis: bool):
    engine = Engine(slowly(0.1))
    async with caching(redis if with_redis else None, engine) as gateway:
        replies = await asyncio.gather(*(gateway.ask(SURE) for _ in range(8)))
        assert len({text(reply) for reply in replies}) == 1
        outcomes = sorted(reply.headers["x-penstock-cache"] for reply in replies)
        assert outcomes == ["coalesced"] * 7 + ["miss"]
        assert len(engine.requests) == 1
        assert sum(line["cost_usd"] for line in gateway.requests) == pytest.approx(33e-6)
        assert await gateway.metric('penstock_cache_saved_tokens_total{model="tiny"}') == 7 * 25
        assert await gateway.metric("penstock_cache_flights") == 0


async def test_a_stream_that_joins_late_gets_it_from_its_beginning_as_it_goes():
    gate = Gate()
    engine = Engine(gate)
    async with caching(None, engine) as gateway:
        leader, _, seen = await begun(gateway, STREAM)
        follower, headers, more = await begun(gateway, STREAM)
        assert headers["x-penstock-cache"] == "coalesced"
        plain = asyncio.ensure_future(gateway.ask(SURE))
        await asyncio.sleep(0.02)
        gate.open.set()
        assert await rest(leader, seen) == await rest(follower, more)
        assert text(await plain) == "one two three"
        assert len(engine.requests) == 1
        assert [line["output_tokens"] for line in gateway.requests] == [8, 8, 8]
        assert sorted(line["cost_usd"] for line in gateway.requests) == [0, 0, pytest.approx(33e-6)]


async def test_streams_with_and_without_usage_do_not_mix():
    gate = Gate()
    gate.open.set()
    engine = Engine(gate)
    async with caching(None, engine) as gateway:
        one, other = await asyncio.gather(gateway.ask(STREAM), gateway.ask(COUNTED))
        assert b'"usage"' not in one.body
        assert b'"usage"' in other.body


async def test_a_leader_that_leaves_hands_its_stream_over():
    gate = Gate()
    engine = Engine(gate)
    async with caching(None, engine) as gateway:
        leader, _, _ = await begun(gateway, STREAM)
        follower, _, seen = await begun(gateway, STREAM)
        third, _, more = await begun(gateway, STREAM)
        leader.close()
        await eventually(lambda: len(gateway.requests) == 1)
        gate.open.set()
        assert await rest(follower, seen) == await rest(third, more)
        assert len(engine.requests) == 1
        assert gate.left == 0
        await eventually(lambda: len(gateway.requests) == 3)
        gone, *others = gateway.requests
        assert (gone["status"], gone["cost_usd"], gone["output_tokens"]) == (499, 0, 0)
        assert sorted(line["cost_usd"] for line in others) == [0, pytest.approx(33e-6)]
        assert {line["outcome"] for line in others} == {"ok"}


async def test_a_plain_leader_that_leaves_hands_over_too():
    engine = Engine(slowly(0.15))
    async with caching(None, engine) as gateway:
        leader = await gateway.connect()
        await leader.send(Client.request(SURE))
        await eventually(lambda: engine.requests)
        others = [asyncio.ensure_future(gateway.ask(SURE)) for _ in range(3)]
        await asyncio.sleep(0.03)
        leader.close()
        replies = await asyncio.gather(*others)
        assert [reply.status for reply in replies] == [200] * 3
        assert len(engine.requests) == 1


async def test_plain_followers_of_a_stream_whose_client_leaves_ask_anew():
    gate = Gate()
    engine = Engine(gate)
    async with caching(None, engine) as gateway:
        leader, _, _ = await begun(gateway, STREAM)
        others = [asyncio.ensure_future(gateway.ask(SURE)) for _ in range(2)]
        await asyncio.sleep(0.03)
        leader.close()
        await eventually(lambda: gate.left == 1 and len(engine.requests) == 2)
        gate.open.set()
        replies = await asyncio.gather(*others)
        assert len({text(reply) for reply in replies}) == 1
        assert len(engine.requests) == 2


async def test_a_leaders_failure_does_not_fail_its_followers():
    engine = Engine()

    async def first_fails(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.05)
        await (fails(500) if len(engine.requests) == 1 else well)(request, wire)

    engine.answer = first_fails
    async with caching(None, engine, config={"retries": {"attempts": 1}}) as gateway:
        replies = await asyncio.gather(*(gateway.ask(SURE) for _ in range(4)))
        assert sorted(reply.status for reply in replies) == [200, 200, 200, 500]
        assert len(engine.requests) == 2


@pytest.mark.parametrize(("status", "asked"), [(400, 1), (500, 3)])
async def test_an_error_of_the_request_is_everybodys_and_other_errors_end_after_three(status: int, asked: int):
    engine = Engine(slowly(0.05, fails(status, "no")))
    async with caching(None, engine, config={"retries": {"attempts": 1}}) as gateway:
        for one in gateway.service.targets["tiny"].pool.engines.values():
            one.failures = 0
        replies = await asyncio.gather(*(gateway.ask(SURE) for _ in range(6)))
        assert {reply.status for reply in replies} <= {status, 503}
        assert len(engine.requests) <= asked


async def test_a_stream_that_breaks_tells_all_who_read_it():
    async def breaks(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("half"))
        await asyncio.sleep(0.1)
        wire.cut()

    async with caching(None, Engine(breaks), config={"resume": {"enabled": False}}) as gateway:
        leader, _, seen = await begun(gateway, STREAM, b"half")
        follower, _, more = await begun(gateway, STREAM, b"half")
        for client, start in ((leader, seen), (follower, more)):
            assert b"upstream_interrupted" in await rest(client, start)


async def test_followers_are_bounded():
    engine = Engine(slowly(0.1))
    async with caching(None, engine, cache={"max_followers": 2}) as gateway:
        await asyncio.gather(*(gateway.ask(SURE) for _ in range(5)))
        assert len(engine.requests) == 3


async def test_a_follower_that_leaves_changes_nothing():
    gate = Gate()
    engine = Engine(gate)
    async with caching(None, engine) as gateway:
        leader, _, seen = await begun(gateway, STREAM)
        follower, _, _ = await begun(gateway, STREAM)
        follower.close()
        await eventually(lambda: len(gateway.requests) == 1)
        gate.open.set()
        assert DONE in await rest(leader, seen)
        assert [line["cost_usd"] for line in gateway.requests] == [0, pytest.approx(33e-6)]


async def test_a_drain_ends_leaders_and_followers():
    gate = Gate()
    async with caching(None, Engine(gate), config={"drain_seconds": 0.1}) as gateway:
        leader, _, seen = await begun(gateway, STREAM)
        follower, _, more = await begun(gateway, STREAM)
        waiting = asyncio.ensure_future(gateway.ask(SURE))
        await asyncio.sleep(0.02)
        await gateway.gateway.drain()
        assert b"shutting_down" in await rest(leader, seen)
        assert b"shutting_down" in await rest(follower, more)
        assert (await waiting).status == 503


async def test_nothing_is_cached_and_nothing_said_where_the_cache_is_off(redis: RedisServer):
    engine = Engine(well)
    async with running(engine, config=make_config(), cache_address=redis.address) as gateway:
        for _ in range(2):
            assert "x-penstock-cache" not in (await gateway.ask(SURE)).headers
        assert len(engine.requests) == 2
        await kept(redis, 0)
