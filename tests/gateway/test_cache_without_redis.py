"""What becomes of requests and kept answers while Redis is away, slow, full, or lies."""

from __future__ import annotations

import asyncio

import pytest

from app.gateway.cache.entry import Entry, pack
from app.gateway.cache.store import MARKS, PurgeError
from tests.gateway.cache_cases import (
    SURE,
    caching,
    kept,
    keys,
    ready,
    well,
)
from tests.gateway.harness import (
    Engine,
    eventually,
    make_config,
    running,
)
from tests.gateway.redis_server import RedisServer


@pytest.mark.parametrize(
    "value", [b"", b"x", b"PCA1" + b"0" * 40, pack(b"z" * 32, Entry(1, 2, "chat", b"{}", 1, 1, 0))]
)
async def test_a_corrupt_value_is_a_miss_and_is_removed(redis: RedisServer, value: bytes):
    async with caching(redis) as gateway:
        await gateway.ask(SURE)
        (name,) = await kept(redis)
        with redis.client() as client:
            client.set(name, value)
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "miss"
        await asyncio.sleep(0.05)
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "hit"


async def test_values_of_another_type_and_wrong_marks_are_misses(redis: RedisServer):
    async with caching(redis) as gateway:
        await gateway.ask(SURE)
        (name,) = await kept(redis)
        with redis.client() as client:
            client.set(MARKS + b"*:*", b"soon")
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "miss"
        with redis.client() as client:
            client.delete(name, MARKS + b"*:*")
            client.lpush(name, b"x")
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "miss"


async def test_a_redis_that_lies_is_not_asked_for_a_while(redis: RedisServer):
    async with caching(redis) as gateway:
        for number in range(6):
            body = SURE | {"seed": number}
            await gateway.ask(body)
            names = await kept(redis, 1)
            with redis.client() as client:
                client.set(names[0], b"nonsense")
            assert (await gateway.ask(body)).headers["x-penstock-cache"] == "miss"
            with redis.client() as client:
                await asyncio.sleep(0.03)
                client.flushall()
            if gateway.log.of("cache")[-1].get("usable") is False:
                break
        assert number == 4
        assert "corrupt" in gateway.log.of("cache")[-1]["reason"]
        assert await gateway.metric("penstock_cache_up") == 0
        before = await gateway.metric("penstock_cache_corrupt_total")
        assert (await gateway.ask(SURE)).status == 200
        assert await gateway.metric("penstock_cache_corrupt_total") == before


async def test_requests_go_on_while_redis_is_killed_and_comes_back():
    server = RedisServer().start()
    try:
        async with caching(server) as gateway:
            await gateway.ask(SURE)
            await kept(server)
            server.kill()
            replies = [await gateway.ask(SURE | {"seed": number}) for number in range(5)]
            assert [reply.status for reply in replies] == [200] * 5
            cache = gateway.service.cache
            assert cache is not None
            with pytest.raises(PurgeError):
                await cache.purge()
            server.start()
            await eventually(lambda: ready(gateway))
            await gateway.ask(SURE)
            await kept(server)
            assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "hit"
    finally:
        server.stop()


async def test_a_frozen_redis_costs_one_short_wait():
    server = RedisServer().start()
    try:
        async with caching(server, cache={"lookup_seconds": 0.05}) as gateway:
            server.freeze()
            loop = asyncio.get_running_loop()
            begun = loop.time()
            replies = [await gateway.ask(SURE | {"seed": number}) for number in range(10)]
            assert [reply.status for reply in replies] == [200] * 10
            assert loop.time() - begun < 0.5
    finally:
        server.stop()


async def test_a_redis_that_is_nearly_full_is_read_and_not_written(redis: RedisServer):
    async with caching(redis) as gateway:
        await gateway.ask(SURE)
        await kept(redis)
    config = make_config(cache={"enabled": True, "max_memory_share": 0.0001})
    async with running(Engine(well), config=config, cache_address=redis.address) as gateway:
        gateway.service.keys = keys()
        cache = gateway.service.cache
        assert cache is not None
        assert cache.store is not None
        store = cache.store
        await eventually(lambda: store.link.up)
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "hit"
        assert (await gateway.ask(SURE | {"seed": 1})).headers["x-penstock-cache"] == "miss"
        assert await gateway.metric('penstock_cache_answers_total{outcome="memory"}') == 1
    await kept(redis, 1)
