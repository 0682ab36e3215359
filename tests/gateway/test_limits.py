"""Limits on the whole gateway, before a real Redis server and scripted engines."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.gateway.config import KeyFile
from app.gateway.keys.ring import KeyRing
from tests.gateway.harness import (
    CHAT,
    DONE,
    KEY,
    Client,
    Engine,
    Request,
    Running,
    Wire,
    event,
    eventually,
    hang,
    make_config,
    running,
    well,
)
from tests.gateway.redis_server import RedisServer

BATCH_KEY = "sk-batch-0123456789abcdef"


def keys(**fields: Any) -> KeyRing:
    """The test's key with these fields, and a batch key of the same tenant."""
    entries = [
        {"id": "test", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "tenant": "acme", **fields},
        {
            "id": "night",
            "sha256": hashlib.sha256(BATCH_KEY.encode()).hexdigest(),
            "tenant": "acme",
            "priority": "batch",
        },
    ]
    return KeyRing(KeyFile.model_validate({"keys": entries}).keys)


@contextlib.asynccontextmanager
async def limited(
    server: RedisServer | None, *engines: Engine, key: dict[str, Any] | None = None, **config: Any
) -> AsyncGenerator[Running]:
    around = {} if server is None else {"cache_address": server.address, "cache_token": server.token}
    async with running(*(engines or (Engine(),)), config=make_config(**config), **around) as gateway:
        gateway.service.keys = keys(**({} if key is None else {"limits": key}))
        if server is not None:
            await eventually(lambda: connected(gateway))
        yield gateway


def connected(gateway: Running) -> bool:
    link = gateway.service.limiter.link
    return link is not None and link.up


def open_reservations(server: RedisServer, scope: str = "key:test") -> int:
    with server.client() as client:
        return int(client.zcard(f"{{penstock:limits}}:{scope}:open"))


def state(server: RedisServer, scope: str = "key:test") -> dict[str, float]:
    with server.client() as client:
        found: Any = client.hgetall(f"{{penstock:limits}}:{scope}")
    return {name.decode(): float(value) for name, value in found.items()}


async def test_a_request_over_its_rate_is_refused_with_the_limit_and_the_time(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 6, "burst_requests": 1}) as gateway:
        first = await gateway.ask()
        refused = await gateway.ask()
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.status == 429
    assert refused.error["type"] == "requests"
    assert refused.error["code"] == "rate_limit_exceeded"
    assert "`requests_per_minute` of API key `test`" in refused.error["message"]
    assert refused.headers["x-penstock-limit"] == "key.requests_per_minute"
    assert refused.headers["retry-after"] in ("10", "9")
    assert 9_000 < int(refused.headers["retry-after-ms"]) <= 10_000
    assert "x-penstock-limits" not in refused.headers


async def test_a_refused_request_succeeds_after_retry_after_and_not_before(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_second": 4, "burst_requests": 1}) as gateway:
        await gateway.ask()
        refused = await gateway.ask()
        wait = int(refused.headers["retry-after-ms"]) / 1000
        await asyncio.sleep(wait - 0.06)
        assert (await gateway.ask()).status == 429
        await asyncio.sleep(0.06)
        assert (await gateway.ask()).status == 200


@pytest.mark.parametrize("scope", ["tenant", "tenants", "model", "all"])
async def test_each_scope_has_its_own_limit(redis: RedisServer, scope: str) -> None:
    limits = {"requests_per_minute": 1, "burst_requests": 1}
    config: dict[str, Any] = {
        "tenant": {"tenant_limits": limits},
        "tenants": {"tenants": {"acme": limits}, "tenant_limits": {"requests_per_minute": 1000}},
        "model": {"models": [make_config().models[0].model_dump() | {"limits": limits}]},
        "all": {"limits": limits},
    }[scope]
    async with limited(redis, **config) as gateway:
        assert (await gateway.ask()).status == 200
        refused = await gateway.ask(authorization=f"Bearer {BATCH_KEY}")
    assert refused.status == 429
    assert refused.headers["x-penstock-limit"] == f"{scope.removesuffix('s')}.requests_per_minute"


async def test_the_real_usage_is_settled_and_the_reservation_given_back(redis: RedisServer) -> None:
    async with limited(redis, key={"tokens_per_minute": 1000, "usd_per_day": 1}) as gateway:
        reply = await gateway.ask(CHAT | {"max_tokens": 500})
        assert reply.status == 200
        assert int(reply.headers["x-ratelimit-remaining-tokens"]) < 500
        await eventually(lambda: open_reservations(redis) == 0)
        await eventually(lambda: state(redis)["ds"] == 33_000)  # 17 tokens at 1000 nano-dollars and 8 at 2000
        assert state(redis)["ht"] == 0
        again = await gateway.ask(CHAT | {"max_tokens": 500})
        assert again.status == 200


async def test_a_stream_is_settled_with_its_usage_event(redis: RedisServer) -> None:
    async with limited(redis, key={"tokens_per_minute": 1000, "usd_per_month": 1}) as gateway:
        reply = await gateway.ask(CHAT | {"stream": True})
        assert reply.events[-1] == DONE
        await eventually(lambda: state(redis).get("os") == 33_000)


async def test_a_client_that_leaves_a_stream_is_charged_for_what_it_got(redis: RedisServer) -> None:
    async def endless(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for _ in range(5):
            await wire.chunk(event("x"))
        await wire.gone()

    async with limited(redis, Engine(endless), key={"tokens_per_minute": 10_000, "usd_per_day": 1}) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(CHAT | {"stream": True}))
        await client.head()
        got = b""
        while got.count(b"data:") < 5:
            got += await client.chunk()
        assert open_reservations(redis) == 1
        client.close()
        await eventually(lambda: open_reservations(redis) == 0)
        spent = state(redis)["ds"]
    assert 5 * 2000 < spent < 5 * 2000 + 100 * 1000  # five tokens out, and a guess of the prompt


async def test_a_client_that_leaves_an_unstreamed_answer_is_charged_its_prompt(redis: RedisServer) -> None:
    engine = Engine(hang)
    async with limited(redis, engine, key={"usd_per_day": 1}) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(CHAT))
        await eventually(lambda: engine.requests)
        client.close()
        await eventually(lambda: state(redis).get("ds", 0) > 0)
        assert open_reservations(redis) == 0


async def test_a_failed_request_gives_all_back(redis: RedisServer) -> None:
    async def broken(request: Request, wire: Wire) -> None:
        await wire.json(400, {"error": {"message": "no", "type": "BadRequestError", "param": None, "code": 400}})

    async with limited(redis, Engine(broken), key={"usd_per_day": 1, "concurrent_requests": 1}) as gateway:
        for _ in range(3):
            assert (await gateway.ask()).status == 400
        await eventually(lambda: open_reservations(redis) == 0)
        assert state(redis)["ds"] == 0


async def test_concurrent_requests_are_capped_over_all_gateways(redis: RedisServer) -> None:
    engine = Engine(hang)
    limits = {"concurrent_requests": 3}
    async with limited(redis, engine, key=limits) as one, limited(redis, engine, key=limits) as other:
        clients = []
        for gateway in (one, other, one):
            client = await gateway.connect()
            await client.send(Client.request(CHAT))
            clients.append(client)
        await eventually(lambda: len(engine.requests) == 3)
        refused = await other.ask()
        assert refused.status == 429
        assert refused.headers["x-penstock-limit"] == "key.concurrent_requests"
        clients[0].close()
        await eventually(lambda: open_reservations(redis) == 2)
        engine.answer = well
        assert (await other.ask()).status == 200


async def test_concurrent_requests_never_spend_more_than_the_budget(redis: RedisServer) -> None:
    async with limited(redis, key={"usd_per_day": 0.001}) as gateway:
        body = CHAT | {"max_tokens": 100}  # reserves about 0.00022 USD
        replies = await asyncio.gather(*(gateway.ask(body) for _ in range(12)))
        assert {reply.status for reply in replies} == {200, 429}
        assert sum(reply.status == 200 for reply in replies) >= 4
        await eventually(lambda: open_reservations(redis) == 0)
        assert state(redis)["ds"] <= 0.001 * 1e9


async def test_a_request_larger_than_its_limit_is_told_so_and_not_to_wait(redis: RedisServer) -> None:
    async with limited(redis, key={"tokens_per_minute": 100}) as gateway:
        refused = await gateway.ask(CHAT | {"max_tokens": 200})
    assert refused.status == 429
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
    assert "larger than the limit `tokens_per_minute`" in refused.error["message"]


async def test_pipelined_requests_are_answered_in_order_while_redis_is_asked(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 60, "burst_requests": 2}) as gateway:
        client = await gateway.connect()
        await client.send(b"".join(Client.request(CHAT, x_request_id=f"n{number}") for number in range(4)))
        replies = [await asyncio.wait_for(client.reply(), 5) for _ in range(4)]
    assert [reply.headers["x-request-id"] for reply in replies] == ["n0", "n1", "n2", "n3"]
    assert [reply.status for reply in replies] == [200, 200, 429, 429]


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


async def test_batch_is_refused_before_interactive_when_the_gateway_is_full() -> None:
    engine = Engine(hang)
    async with limited(None, engine, max_concurrent_requests=4, batch_share=0.5) as gateway:
        for _ in range(2):
            client = await gateway.connect()
            await client.send(Client.request(CHAT))
        await eventually(lambda: len(engine.requests) == 2)
        refused = await gateway.ask(authorization=f"Bearer {BATCH_KEY}")
        assert refused.status == 503
        assert "retry-after" in refused.headers
        engine.answer = well
        assert (await gateway.ask()).status == 200
        assert await gateway.metric('penstock_refused_requests_total{reason="batch_concurrency"}') == 1


async def test_batch_leaves_room_under_a_shared_concurrency_limit(redis: RedisServer) -> None:
    engine = Engine(hang)
    async with limited(redis, engine, tenant_limits={"concurrent_requests": 4}, batch_share=0.5) as gateway:
        for _ in range(2):
            client = await gateway.connect()
            await client.send(Client.request(CHAT, authorization=f"Bearer {BATCH_KEY}"))
        await eventually(lambda: len(engine.requests) == 2)
        engine.answer = well
        refused = await gateway.ask(authorization=f"Bearer {BATCH_KEY}")
        assert refused.headers["x-penstock-limit"] == "tenant.concurrent_requests"
        assert (await gateway.ask()).status == 200


async def test_a_key_with_new_limits_is_held_to_them_at_once(redis: RedisServer) -> None:
    async with limited(redis, key={"requests_per_minute": 6, "burst_requests": 1}) as gateway:
        await gateway.ask()
        assert (await gateway.ask()).status == 429
        gateway.service.keys = keys(limits={"requests_per_minute": 600, "burst_requests": 200})
        assert (await gateway.ask()).status == 200


# -- the ceiling on output --


async def test_a_request_without_max_tokens_is_held_to_the_models_ceiling() -> None:
    engine = Engine()
    async with limited(None, engine) as gateway:
        await gateway.ask()
        await gateway.ask(CHAT | {"stream": True, "max_tokens": None})
        await gateway.ask(CHAT | {"max_completion_tokens": 7})
        await gateway.ask({"model": "tiny", "prompt": "x"}, "/v1/completions")
    bodies = [request.body for request in engine.requests]
    assert [body.get("max_tokens") for body in bodies] == [512, 512, None, None]
    assert bodies[1]["stream_options"] == {"include_usage": True}
    assert engine.requests[0].raw == json.dumps(CHAT)[:-1].encode() + b',"max_tokens":512}'


async def test_a_prompt_that_fits_only_without_the_ceiling_is_sent_without_it() -> None:
    async def full(request: Request, wire: Wire) -> None:
        if "max_tokens" in request.body:
            message = "This model's maximum context length is 2048 tokens. However, you requested 512 output tokens."
            error = {"message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}
            await wire.json(400, {"error": error})
        else:
            await well(request, wire)

    engine = Engine(full)
    async with limited(None, engine) as gateway:
        assert (await gateway.ask()).status == 200
        refused = await gateway.ask(CHAT | {"max_tokens": 500})
    assert refused.error["code"] == "context_length_exceeded"
    assert len(engine.requests) == 3
