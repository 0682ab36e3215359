"""How limits use Redis: in few calls, and each gateway alone while it is away or answers nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from tests.gateway.harness import (
    CHAT,
    KEY,
    Client,
    Engine,
    eventually,
    make_config,
    running,
)
from tests.gateway.limit_cases import connected, keys, limited, open_reservations, state
from tests.gateway.redis_server import RedisServer


async def test_a_client_that_leaves_while_redis_is_asked_leaves_nothing_behind(redis: RedisServer) -> None:
    engine = Engine()
    async with limited(redis, engine, key={"concurrent_requests": 1}) as gateway:
        redis.freeze()
        try:
            client = await gateway.connect()
            await client.send(Client.request(CHAT))
            await eventually(lambda: gateway.service.limiter.held)
            client.writer.transport.abort()
            await eventually(lambda: gateway.requests)
        finally:
            redis.thaw()
        assert gateway.requests[0]["status"] == 499
        await eventually(lambda: connected(gateway))
        await eventually(lambda: open_reservations(redis) == 0)
        assert engine.requests == []
        assert not gateway.service.limiter.held
        assert (await gateway.ask()).status == 200


async def test_a_killed_redis_leaves_each_gateway_its_share_and_is_used_again() -> None:
    server = RedisServer().start()
    limits = {"requests_per_minute": 1, "burst_requests": 4, "usd_per_day": 1}
    try:
        async with limited(server, key=limits, replicas=2) as gateway:
            server.kill()
            await eventually(lambda: not connected(gateway))
            replies = [await gateway.ask() for _ in range(3)]
            assert [reply.status for reply in replies] == [200, 200, 429]  # half of four
            assert all(reply.headers["x-penstock-limits"] == "local" for reply in replies)
            assert await gateway.metric("penstock_limits_local") == 1
            assert await gateway.metric("penstock_limit_backlog") == 2
            server.start()
            await eventually(lambda: connected(gateway))
            assert await gateway.metric("penstock_limits_local") == 0
            await eventually(lambda: state(server).get("ds") == 66_000)  # what was used meanwhile is charged
            assert "x-penstock-limits" not in (await gateway.ask()).headers
    finally:
        server.stop()


async def test_a_frozen_redis_costs_a_request_a_moment_and_the_next_ones_nothing(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 1000}) as gateway:
        loop = asyncio.get_running_loop()
        redis.freeze()
        try:
            begun = loop.time()
            first = await gateway.ask()
            waited = loop.time() - begun
            begun = loop.time()
            second = await gateway.ask()
            after = loop.time() - begun
        finally:
            redis.thaw()
        assert first.status == second.status == 200
        assert first.headers["x-penstock-limits"] == second.headers["x-penstock-limits"] == "local"
        assert 0.05 <= waited < 0.5
        assert after < 0.05
        await eventually(lambda: connected(gateway))
        assert "x-penstock-limits" not in (await gateway.ask()).headers


LIES = [
    b"+OK\r\n",
    b"*1\r\n:0\r\n",
    b":1\r\n",
    b"hello\r\n",
    b"*4\r\n:7\r\n:0\r\n:1\r\n:1\r\n",
    b"-OOM no\r\n",
    b"$-1\r\n",
]


@pytest.mark.parametrize("lie", LIES)
async def test_a_redis_that_answers_nonsense_is_not_believed(lie: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while line := await reader.readline():
                parts = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readline())[1:])
                    parts.append((await reader.readexactly(size + 2))[:-2])
                reply = {b"PING": b"+PONG\r\n", b"SCRIPT": b"+x\r\n"}.get(parts[0], lie)
                writer.write(reply)
        writer.close()

    fake = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = fake.sockets[0].getsockname()[1]
    async with running(Engine(), config=make_config(), cache_address=f"127.0.0.1:{port}") as gateway:
        gateway.service.keys = keys(limits={"requests_per_minute": 60, "burst_requests": 1})
        await eventually(lambda: connected(gateway))
        replies = [await gateway.ask() for _ in range(2)]
    fake.close()
    assert [reply.status for reply in replies] == [200, 429]
    assert replies[0].headers["x-penstock-limits"] == "local"


async def test_redis_with_a_password_is_used_and_the_password_not_logged() -> None:
    server = RedisServer(token="s3cret-token").start()
    try:
        async with limited(server, key={"requests_per_minute": 60}) as gateway:
            assert (await gateway.ask()).status == 200
            assert "s3cret" not in json.dumps(gateway.log.events) + repr(gateway.gateway.surroundings)
        async with running(Engine(), cache_address=server.address, cache_token="wrong") as gateway:
            await eventually(lambda: gateway.log.of("limits"))
            assert gateway.log.of("limits")[0] == {"event": "limits", "redis": False, "reason": "AUTH is refused"}
    finally:
        server.stop()


async def test_scripts_that_redis_forgot_are_sent_again(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 60, "usd_per_day": 1}) as gateway:
        with redis.client() as client:
            client.script_flush()
        reply = await gateway.ask()
        assert reply.status == 200
        assert "x-penstock-limits" not in reply.headers
        await eventually(lambda: open_reservations(redis) == 0 and state(redis)["ds"] == 33_000)


async def test_without_limits_redis_is_not_asked(redis: RedisServer) -> None:
    async with limited(redis) as gateway:
        reply = await gateway.ask()
        assert not [name for name in reply.headers if name.startswith("x-ratelimit")]
        assert await gateway.metric('penstock_limit_checks_total{where="redis"}') == 0
    with redis.client() as client:
        assert client.dbsize() == 0


async def test_without_a_cache_each_gateway_enforces_its_share() -> None:
    async with limited(None, key={"requests_per_minute": 60, "burst_requests": 2}, replicas=2) as gateway:
        assert [(await gateway.ask()).status for _ in range(2)] == [200, 429]


async def test_a_share_follows_the_number_of_gateways() -> None:
    async with limited(None, key={"requests_per_minute": 60, "burst_requests": 6}, replicas=3) as gateway:
        assert (await gateway.ask()).status == 200
        gateway.service.limiter.share_among(1)
        # A third of the rate made one request cost three of the whole one's.
        assert [(await gateway.ask()).status for _ in range(4)] == [200, 200, 200, 429]


async def test_one_request_is_one_call_to_redis_before_and_one_after(redis: RedisServer) -> None:
    limits = {"requests_per_minute": 600, "tokens_per_minute": 100_000, "usd_per_day": 1, "concurrent_requests": 9}
    async with limited(redis, key=limits, limits=limits, tenant_limits=limits) as gateway:
        with redis.client() as client:
            client.config_resetstat()
            await gateway.ask()
            await eventually(lambda: open_reservations(redis) == 0)
            calls: Any = client.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 2


async def test_requests_that_come_together_share_a_call_and_each_gets_its_own_verdict(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 60, "burst_requests": 3, "usd_per_day": 1}) as gateway:
        limiter, route = gateway.service.limiter, gateway.service.config.models[0]
        key = gateway.service.keys.authenticate(f"Bearer {KEY}".encode())
        plan = limiter.plan(key, route)
        assert plan is not None
        permits = [limiter.permit(plan, 10, 1000) for _ in range(5)]
        said: list[Any] = []
        with redis.client() as client:
            client.config_resetstat()
            for permit in permits:
                permit.ask(said.append)
            await eventually(lambda: len(said) == 5)
            assert [None if problem is None else problem.status for problem in said] == [None, None, None, 429, 429]
            for permit in permits:
                permit.settle(5, 700)
            await eventually(lambda: open_reservations(redis) == 0)
            calls: Any = client.info("commandstats")
        assert state(redis)["ds"] == 3 * 700
        assert calls["cmdstat_evalsha"]["calls"] == 2


async def test_a_request_that_ends_before_redis_is_asked_is_never_sent(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 60, "usd_per_day": 1}) as gateway:
        limiter = gateway.service.limiter
        key = gateway.service.keys.authenticate(f"Bearer {KEY}".encode())
        plan = limiter.plan(key, gateway.service.config.models[0])
        assert plan is not None
        permit = limiter.permit(plan, 10, 1000)
        permit.ask(lambda problem: pytest.fail(f"it left before: {problem}"))
        permit.settle(0, 0)
        assert (await gateway.ask()).status == 200
        await eventually(lambda: open_reservations(redis) == 0)
        assert state(redis)["ds"] == 33_000


async def test_what_waits_for_the_next_write_is_decided_here_when_redis_goes_away(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 60, "burst_requests": 2, "usd_per_day": 1}) as gateway:
        limiter = gateway.service.limiter
        key = gateway.service.keys.authenticate(f"Bearer {KEY}".encode())
        plan, link = limiter.plan(key, gateway.service.config.models[0]), limiter.link
        assert plan is not None
        assert link is not None
        said: list[Any] = []
        permits = [limiter.permit(plan, 10, 1000) for _ in range(3)]
        for permit in permits:
            permit.ask(said.append)
        link.distrust("test")
        assert [None if problem is None else problem.status for problem in said] == [None, None, 429]
        for permit in permits:
            permit.settle(5, 700)
        await eventually(lambda: state(redis).get("ds") == 2 * 700)  # told once Redis is there again


async def test_requests_of_one_turn_of_the_loop_go_out_in_one_write(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 600}) as gateway:
        link = gateway.service.limiter.link
        assert link is not None
        connection = link._connection
        assert connection is not None
        answered: list[Any] = []
        for _ in range(20):
            link.call(b"*1\r\n$4\r\nPING\r\n", answered.append)
        assert len(connection._out) == 20
        await eventually(lambda: len(answered) == 20)
        assert connection._out == []


async def test_where_scripts_cannot_be_kept_they_go_along_with_each_call(redis: RedisServer) -> None:
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-script", "-evalsha")
    try:
        limits = {"requests_per_minute": 60, "burst_requests": 2, "usd_per_day": 1}
        async with limited(redis, key=limits) as one, limited(redis, key=limits) as other:
            replies = [await gateway.ask() for gateway in (one, other, one)]
            assert [reply.status for reply in replies] == [200, 200, 429]  # counted together
            assert all("x-penstock-limits" not in reply.headers for reply in replies)
            await eventually(lambda: open_reservations(redis) == 0 and state(redis)["ds"] == 66_000)
    finally:
        with redis.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+script", "+evalsha")


async def test_a_redis_that_runs_no_scripts_is_said_to_be_away(redis: RedisServer) -> None:
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-@scripting")
    try:
        limits = {"requests_per_minute": 60, "burst_requests": 2}
        async with limited(redis, key=limits, replicas=2) as gateway:
            replies = [await gateway.ask() for _ in range(2)]
            assert [reply.status for reply in replies] == [200, 429]  # half of two
            assert all(reply.headers["x-penstock-limits"] == "local" for reply in replies)
            assert gateway.log.of("limits")[-1]["redis"] is False
    finally:
        with redis.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+@scripting")


async def test_a_connection_that_something_between_has_dropped_costs_no_request(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 1000, "usd_per_day": 1}) as gateway:
        for round_ in range(1, 4):
            assert (await gateway.ask()).status == 200
            with redis.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert (await gateway.ask()).status == 200
            await eventually(lambda: connected(gateway))
            await eventually(lambda round_=round_: state(redis).get("ds") == 66_000 * round_)
