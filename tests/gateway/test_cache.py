"""The exact cache and single flight on the whole gateway, before a real Redis server and scripted engines."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.gateway.cache.entry import Entry, pack
from app.gateway.cache.store import MARKS, PREFIX, PurgeError
from app.gateway.config import KeyFile
from app.gateway.database.settings import Database
from app.gateway.keys.ring import KeyRing
from app.gateway.ledger.settings import LedgerSettings
from tests.gateway.harness import (
    CHAT,
    DONE,
    KEY,
    Client,
    Engine,
    Reply,
    Request,
    Running,
    Wire,
    chat_reply,
    event,
    eventually,
    fails,
    make_config,
    running,
    usage_event,
)
from tests.gateway.real_postgres import rows
from tests.gateway.redis_server import RedisServer

OTHER_KEY = "sk-other-0123456789abcdef"
SURE: dict[str, Any] = CHAT | {"temperature": 0}
STREAM: dict[str, Any] = SURE | {"stream": True}
COUNTED: dict[str, Any] = STREAM | {"stream_options": {"include_usage": True}}


def keys() -> KeyRing:
    """The test's key, and one of another tenant."""
    entries = [
        {"id": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant}
        for name, key, tenant in (("test", KEY, "acme"), ("other", OTHER_KEY, "rival"))
    ]
    return KeyRing(KeyFile.model_validate({"keys": entries}).keys)


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture
def redis(shared_redis: RedisServer) -> RedisServer:
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis


async def well(request: Request, wire: Wire) -> None:
    """A new answer each time, streamed as vLLM streams it."""
    Count.answers += 1
    text = f"answer {Count.answers}"
    if not request.body.get("stream"):
        reply = chat_reply()
        reply["choices"][0]["message"]["content"] = text
        await wire.json(200, reply)
        return
    await wire.begin_stream()
    for part in ("", *text):
        await wire.chunk(event(part))
    last = json.loads(event("")[6:])
    last["choices"][0] |= {"delta": {}, "finish_reason": "stop"}
    await wire.chunk(b"data: %b\n\n" % json.dumps(last).encode())
    await wire.chunk(usage_event())
    await wire.chunk(DONE)
    await wire.end_stream()


class Count:
    answers = 0


@contextlib.asynccontextmanager
async def caching(
    server: RedisServer | None, *engines: Engine, cache: dict[str, Any] | None = None, **more: Any
) -> AsyncGenerator[Running]:
    around = {} if server is None else {"cache_address": server.address}
    config = make_config(cache={"enabled": True, "lookup_seconds": 0.3, **(cache or {})}, **more.pop("config", {}))
    async with running(*(engines or (Engine(well),)), config=config, **around, **more) as gateway:
        gateway.service.keys = keys()
        if server is not None:
            await eventually(lambda: ready(gateway))
        yield gateway


def ready(gateway: Running) -> bool:
    store = gateway.service.cache.store if gateway.service.cache is not None else None
    return store is not None and store.link.up and store.room


async def kept(server: RedisServer, count: int = 1) -> list[bytes]:
    def names() -> list[bytes]:
        with server.client() as client:
            return client.keys(PREFIX + b"*")

    await eventually(lambda: len(names()) == count)
    return names()


def text(reply: Reply) -> str:
    if reply.headers["content-type"].startswith("application/json"):
        return reply.json["choices"][0]["message"]["content"]
    parts = [json.loads(one[6:]) for one in reply.events if one != DONE]
    return "".join(part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"])


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


# -- Redis fails --


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
            await eventually(lambda: ready(gateway), 8)
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


# -- single flight --


def slowly(seconds: float, answer: Any = well) -> Any:
    async def later(request: Request, wire: Wire) -> None:
        await asyncio.sleep(seconds)
        await answer(request, wire)

    return later


class Gate:
    """An engine that streams a part, and the rest when it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.left = 0

    async def __call__(self, request: Request, wire: Wire) -> None:
        if not request.body.get("stream"):
            await self.open.wait()
            await well(request, wire)
            return
        await wire.begin_stream()
        for part in ("one ", "two "):
            await wire.chunk(event(part))
        gone = asyncio.ensure_future(wire.gone())
        opened = asyncio.ensure_future(self.open.wait())
        await asyncio.wait((gone, opened), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.left += 1
            opened.cancel()
            return
        gone.cancel()
        for part in ("three",):
            await wire.chunk(event(part))
        last = json.loads(event("")[6:])
        last["choices"][0] |= {"delta": {}, "finish_reason": "stop"}
        await wire.chunk(b"data: %b\n\n" % json.dumps(last).encode())
        await wire.chunk(usage_event())
        await wire.chunk(DONE)
        await wire.end_stream()
        request.headers["served"] = "yes"


async def begun(gateway: Running, body: dict[str, Any], words: bytes = b"two ") -> tuple[Client, dict[str, str], bytes]:
    """A stream of which the first words have come."""
    client = await gateway.connect()
    await client.send(Client.request(body))
    _, headers = await asyncio.wait_for(client.head(), 3)
    seen = b""
    while words not in seen:
        seen += await asyncio.wait_for(client.chunk(), 3)
    return client, headers, seen


async def rest(client: Client, seen: bytes) -> bytes:
    while part := await asyncio.wait_for(client.chunk(), 3):
        seen += part
    return seen


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
