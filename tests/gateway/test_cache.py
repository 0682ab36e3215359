"""The exact cache on the whole gateway, before a real Redis server and scripted engines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.gateway.cache.store import PREFIX
from app.gateway.database.settings import Database
from app.gateway.ledger.settings import LedgerSettings
from tests.gateway.cache_cases import (
    COUNTED,
    OTHER_KEY,
    STREAM,
    SURE,
    caching,
    kept,
    slowly,
    text,
    well,
)
from tests.gateway.harness import (
    CHAT,
    DONE,
    Client,
    Engine,
    Request,
    Wire,
    chat_reply,
    event,
    eventually,
    fails,
    make_config,
)
from tests.gateway.real_postgres import rows
from tests.gateway.redis_server import RedisServer


@pytest.mark.parametrize("first", [SURE, STREAM, COUNTED])
async def test_an_answer_serves_later_requests_in_every_form(redis: RedisServer, first: dict[str, Any]):
    engine = Engine(well)
    async with caching(redis, engine) as gateway:
        made = await gateway.ask(first)
        assert made.headers["x-penstock-cache"] == "miss"
        await kept(redis)
        for body in (SURE, STREAM, COUNTED):
            reply = await gateway.ask(body)
            assert (reply.status, reply.headers["x-penstock-cache"], reply.headers["age"]) == (200, "hit", "0")
            assert text(reply) == text(made)
            assert reply.whole
            if body is not SURE:
                assert reply.events[-1] == DONE
                assert (b'"usage"' in reply.body) == (body is COUNTED)
            else:
                assert reply.json["usage"]["completion_tokens"] == 8
        assert len(engine.requests) == 1


async def test_an_alias_and_another_spelling_hit_and_another_question_misses(redis: RedisServer):
    async with caching(redis) as gateway:
        await gateway.ask(SURE)
        await kept(redis)
        spelled = b'{"temperature": 0.0,"user":"me","messages":[{"content":"hello","role":"user"}],"model":"small"}'
        assert (await gateway.ask(spelled)).headers["x-penstock-cache"] == "hit"
        other = SURE | {"messages": [{"role": "user", "content": "hello!"}]}
        assert (await gateway.ask(other)).headers["x-penstock-cache"] == "miss"


async def test_completions_and_embeddings_are_kept_and_other_routes_are_not(redis: RedisServer):
    async def embed(request: Request, wire: Wire) -> None:
        if request.path == "/v1/embeddings":
            await wire.json(200, {"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}})
        elif request.path == "/tokenize":
            await wire.json(200, {"tokens": [1]})
        else:
            choice = {"index": 0, "text": "so", "finish_reason": "length"}
            await wire.json(200, {"id": "c", "choices": [choice], "usage": chat_reply()["usage"]})

    async with caching(redis, Engine(embed)) as gateway:
        for path, body, later in (
            ("/v1/completions", {"model": "tiny", "prompt": "x", "temperature": 0}, "hit"),
            ("/v1/embeddings", {"model": "tiny", "input": "x"}, "hit"),
            ("/v1/tokenize", {"model": "tiny", "prompt": "x"}, "bypass"),
        ):
            first = await gateway.ask(body, path)
            await asyncio.sleep(0.05)
            again = await gateway.ask(body, path)
            assert (again.headers["x-penstock-cache"], again.body) == (later, first.body)
        streamed = await gateway.ask(
            {"model": "tiny", "prompt": "x", "temperature": 0, "stream": True}, "/v1/completions"
        )
        assert streamed.headers["x-penstock-cache"] == "hit"
        assert b'"text":"so"' in streamed.body


async def test_a_tenant_never_gets_another_tenants_answer(redis: RedisServer):
    engine = Engine(well)
    async with caching(redis, engine) as gateway:
        own = await gateway.ask(SURE)
        await kept(redis)
        foreign = await gateway.ask(SURE, authorization=f"Bearer {OTHER_KEY}")
        assert foreign.headers["x-penstock-cache"] == "miss"
        assert text(foreign) != text(own)
        await kept(redis, 2)
        # Even where Redis mixes them up.
        with redis.client() as client:
            one, other = client.keys(PREFIX + b"*")
            value = client.get(one)
            client.set(one, client.get(other))
            client.set(other, value)
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "miss"
        assert (await gateway.get("/metrics")).body.count(b"penstock_cache_corrupt_total 1.0") == 1
        assert len(engine.requests) == 3


async def test_tenants_do_not_share_a_request_under_way(redis: RedisServer):
    engine = Engine(slowly(0.2))
    async with caching(redis, engine) as gateway:
        replies = await asyncio.gather(gateway.ask(SURE), gateway.ask(SURE, authorization=f"Bearer {OTHER_KEY}"))
        assert [reply.headers["x-penstock-cache"] for reply in replies] == ["miss", "miss"]
        assert len(engine.requests) == 2


async def test_another_revision_of_the_engines_does_not_use_the_answer(redis: RedisServer):
    async with caching(redis, cache={"revisions": {"tiny": "1"}}) as gateway:
        await gateway.ask(SURE)
        await kept(redis)
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "hit"
    async with caching(redis, cache={"revisions": {"tiny": "2"}}) as gateway:
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "miss"


async def test_sampled_answers_are_kept_only_where_policy_or_client_say_so(redis: RedisServer):
    async with caching(redis) as gateway:
        assert (await gateway.ask(CHAT)).headers["x-penstock-cache"] == "bypass"
        assert (await gateway.ask(CHAT, x_penstock_cache="allow")).headers["x-penstock-cache"] == "miss"
        await kept(redis)
        assert (await gateway.ask(CHAT, x_penstock_cache="allow")).headers["x-penstock-cache"] == "hit"
        assert (await gateway.ask(CHAT)).headers["x-penstock-cache"] == "bypass"
    async with caching(redis, cache={"models": {"tiny": {"sampled": "always"}}}) as gateway:
        assert (await gateway.ask(CHAT)).headers["x-penstock-cache"] == "hit"
    async with caching(redis, cache={"keys": {"test": {"exact": False}}}) as gateway:
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "bypass"


async def test_clients_can_refuse_refresh_and_insist(redis: RedisServer):
    engine = Engine(well)
    async with caching(redis, engine) as gateway:
        absent = await gateway.ask(SURE, x_penstock_cache="only")
        assert (absent.status, absent.error["code"]) == (504, "not_cached")
        assert not engine.requests
        assert (await gateway.ask(SURE, cache_control="no-store")).headers["x-penstock-cache"] == "bypass"
        first = await gateway.ask(SURE)
        await kept(redis)
        assert text(await gateway.ask(SURE, cache_control="only-if-cached")) == text(first)
        fresh = await gateway.ask(SURE, x_penstock_cache="refresh")
        assert fresh.headers["x-penstock-cache"] == "miss"
        await asyncio.sleep(0.05)
        assert text(await gateway.ask(SURE)) == text(fresh) != text(first)
        assert (await gateway.ask(SURE, cache_control="max-age=100")).headers["x-penstock-cache"] == "hit"
        await asyncio.sleep(0.01)
        assert (await gateway.ask(SURE, cache_control="max-age=0")).headers["x-penstock-cache"] == "miss"
        wrong = await gateway.ask(SURE, x_penstock_cache="perhaps")
        assert (wrong.status, wrong.error["code"]) == (400, "invalid_cache_header")


async def test_an_answer_is_forgotten_after_its_time(redis: RedisServer):
    async with caching(redis, cache={"ttl_seconds": 1}) as gateway:
        await gateway.ask(SURE)
        await kept(redis)
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "hit"
        await kept(redis, 0)
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "miss"


@pytest.mark.parametrize("limits", [{"max_answer_bytes": 1024}, {"max_request_bytes": 1024}])
async def test_what_is_too_long_is_not_kept(redis: RedisServer, limits: dict[str, int]):
    async def long(request: Request, wire: Wire) -> None:
        reply = chat_reply()
        reply["choices"][0]["message"]["content"] = "x" * 2000
        await wire.json(200, reply)

    body = SURE | {"messages": [{"role": "user", "content": "y" * 2000}]}
    async with caching(redis, Engine(long), cache=limits) as gateway:
        for _ in range(2):
            assert (await gateway.ask(body)).headers["x-penstock-cache"] != "hit"
        await kept(redis, 0)


async def test_errors_and_cut_streams_are_not_kept(redis: RedisServer):
    async def breaks(request: Request, wire: Wire) -> None:
        if not request.body.get("stream"):
            await wire.json(400, {"error": {"message": "no", "type": "BadRequestError", "code": 400}})
            return
        await wire.begin_stream()
        await wire.chunk(event("half"))
        wire.cut()

    async with caching(redis, Engine(breaks), config={"resume": {"enabled": False}}) as gateway:
        assert (await gateway.ask(SURE)).status == 400
        assert b"upstream_interrupted" in (await gateway.ask(STREAM)).body
        await asyncio.sleep(0.05)
        await kept(redis, 0)


async def test_hits_cost_nothing_and_are_seen_in_log_and_metrics(redis: RedisServer):
    async with caching(redis) as gateway:
        await gateway.ask(SURE)
        await kept(redis)
        await gateway.ask(SURE)
        await gateway.ask(CHAT)
        miss, hit, bypass = gateway.requests
        assert [line["cache"] for line in (miss, hit, bypass)] == ["miss", "hit", "bypass"]
        assert (hit["input_tokens"], hit["output_tokens"], hit["cost_usd"], hit["engine"]) == (17, 8, 0, None)
        assert miss["cost_usd"] == pytest.approx(33e-6)
        for outcome in ("hit", "miss", "bypass"):
            line = f'penstock_cache_requests_total{{model="tiny",outcome="{outcome}"}}'
            assert await gateway.metric(line) == 1
        assert await gateway.metric('penstock_cache_saved_tokens_total{model="tiny"}') == 25
        assert await gateway.metric('penstock_cache_saved_usd_total{model="tiny"}') == pytest.approx(33e-6)
        assert await gateway.metric('penstock_tokens_total{direction="input",model="tiny"}') == 34  # not 51
        assert await gateway.metric("penstock_cache_up") == 1


async def test_hits_have_rows_of_their_own(redis: RedisServer, empty_database: Database, tmp_path: Path):
    async with caching(redis, ledger=LedgerSettings(empty_database, tmp_path, 1_000_000)) as gateway:
        await gateway.ask(SURE)
        await kept(redis)
        for body in (SURE, STREAM):
            await gateway.ask(body)
        await gateway.ask(CHAT)
    found = await rows(empty_database, more="ORDER BY ended_at")
    assert [row["cache"] for row in found] == ["miss", "hit", "hit", "bypass"]
    assert [(row["input_tokens"], row["output_tokens"]) for row in found] == [(17, 8)] * 4
    assert [float(row["cost_usd"]) > 0 for row in found] == [True, False, False, True]
    assert [row["engine"] is None for row in found] == [False, True, True, False]


async def test_hits_use_up_no_tokens_of_a_limit(redis: RedisServer):
    limits = {"tokens_per_minute": 600}
    async with caching(redis, config={"tenant_limits": limits}) as gateway:
        await eventually(lambda: gateway.service.limiter.link is not None and gateway.service.limiter.link.up)
        await gateway.ask(SURE | {"max_tokens": 500})
        await kept(redis)
        for _ in range(20):  # 25 tokens each would be 500, and one reservation would not fit any more
            reply = await gateway.ask(SURE | {"max_tokens": 500})
            assert (reply.status, reply.headers["x-penstock-cache"]) == (200, "hit")
            await asyncio.sleep(0.005)


async def test_a_purge_takes_a_tenants_answers_and_those_under_way(redis: RedisServer):
    engine = Engine(slowly(0.2))
    async with caching(redis, engine) as gateway:
        cache = gateway.service.cache
        assert cache is not None
        await gateway.ask(SURE)
        await gateway.ask(SURE, authorization=f"Bearer {OTHER_KEY}")
        await kept(redis, 2)
        body = SURE | {"messages": [{"role": "user", "content": "under way"}]}
        under_way = asyncio.ensure_future(gateway.ask(body))
        await eventually(lambda: len(engine.requests) == 3)
        assert await cache.purge(tenant="acme") == 1
        await under_way
        await kept(redis, 2)
        assert (await gateway.ask(body)).headers["x-penstock-cache"] == "miss"
        assert (await gateway.ask(SURE)).headers["x-penstock-cache"] == "miss"
        spared = await gateway.ask(SURE, authorization=f"Bearer {OTHER_KEY}")
        assert spared.headers["x-penstock-cache"] == "hit"
        await cache.purge(model="tiny")
        assert (await gateway.ask(SURE, authorization=f"Bearer {OTHER_KEY}")).headers["x-penstock-cache"] == "miss"


async def test_gateways_share_answers_and_purges(redis: RedisServer):
    async with caching(redis) as one, caching(redis) as other:
        made = await one.ask(SURE)
        await kept(redis)
        found = await other.ask(SURE)
        assert (found.headers["x-penstock-cache"], text(found)) == ("hit", text(made))
        cache = other.service.cache
        assert cache is not None
        await cache.purge(tenant="acme", model="tiny")
        assert (await one.ask(SURE)).headers["x-penstock-cache"] == "miss"


# -- beside other stages --


def chained(**route: Any) -> dict[str, Any]:
    base = make_config().models[0].model_dump()
    models = [base | {"aliases": []}, base | {"name": "spare", "aliases": []}]
    return {
        "models": models,
        "routing": {"routes": [{"name": "smart", "to": "tiny", "fallback": ["spare"], **route}]},
        "retries": {"attempts": 1},
    }


async def test_an_answer_of_a_fallback_model_is_shared_but_not_kept(redis: RedisServer):
    async def tiny_fails(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.05)
        await (fails(500) if request.body["model"] == "tiny" else well)(request, wire)

    async with caching(redis, Engine(tiny_fails), config=chained()) as gateway:
        replies = await asyncio.gather(*(gateway.ask(SURE | {"model": "smart"}) for _ in range(3)))
        assert [reply.status for reply in replies] == [200] * 3
        assert len({text(reply) for reply in replies}) == 1
        assert all("to=spare" in reply.headers["x-penstock-fallback"] for reply in replies)
        assert await gateway.metric('penstock_cache_answers_total{outcome="other_model"}') == 1
    await kept(redis, 0)


async def test_a_leader_that_leaves_hands_over_a_fallback_models_answer():
    async def tiny_fails(request: Request, wire: Wire) -> None:
        await (fails(500) if request.body["model"] == "tiny" else slowly(0.2))(request, wire)

    engine = Engine(tiny_fails)
    async with caching(None, engine, config=chained()) as gateway:
        leader = await gateway.connect()
        await leader.send(Client.request(SURE | {"model": "smart"}))
        await eventually(lambda: len(engine.requests) == 2)
        others = [asyncio.ensure_future(gateway.ask(SURE | {"model": "smart"})) for _ in range(2)]
        await asyncio.sleep(0.05)
        leader.close()
        replies = await asyncio.gather(*others)
        assert [reply.status for reply in replies] == [200, 200]
        assert len(engine.requests) == 2
        assert all("to=spare" in reply.headers["x-penstock-fallback"] for reply in replies)
        assert [target.in_flight for target in gateway.service.targets.values()] == [0, 0]


async def test_a_stale_answer_serves_where_all_models_fail(redis: RedisServer):
    engine = Engine(well)
    cache = {"ttl_seconds": 1, "stale_seconds": 60}
    async with caching(redis, engine, cache=cache, config=chained(cached=True, fallback=[])) as gateway:
        first = await gateway.ask(SURE | {"model": "smart"})
        await kept(redis)
        await asyncio.sleep(1.01)
        engine.answer = fails(500)
        again = await gateway.ask(SURE | {"model": "smart"})
        assert (again.status, again.headers["x-penstock-cache"]) == (200, "miss")
        assert "to=cache" in again.headers["x-penstock-fallback"]
        assert text(again) == text(first)
    await kept(redis, 1)
