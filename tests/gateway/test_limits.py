"""Limits on the whole gateway, before a real Redis server and scripted engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.gateway.admit import ROUTES
from tests.gateway.harness import (
    CHAT,
    DONE,
    Client,
    Engine,
    Request,
    Wire,
    event,
    eventually,
    hang,
    make_config,
    well,
)
from tests.gateway.limit_cases import BATCH_KEY, keys, limited, open_reservations, state
from tests.gateway.redis_server import RedisServer


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


@pytest.mark.parametrize("path", [path.decode() for path in ROUTES])
async def test_no_route_escapes_the_limits(redis: RedisServer, path: str) -> None:
    body = CHAT | {"input": "hello", "prompt": "hello", "tokens": [1]}
    async with limited(redis, key={"requests_per_minute": 1, "burst_requests": 1, "usd_per_day": 1}) as gateway:
        replies = [await gateway.ask(body, path) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 429]
    assert replies[1].headers["x-penstock-limit"] == "key.requests_per_minute"


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
