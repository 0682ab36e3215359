"""The semantic cache on the whole gateway, before a real PostgreSQL with pgvector and a scripted embeddings model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from app.gateway.cache import semantic as semantic_cache
from app.gateway.cache.schema import CACHE
from app.gateway.cache.semantic import Semantic, SemanticError
from app.gateway.config import GatewayConfig
from app.gateway.database import __main__ as command
from app.gateway.database import connection as connection_module
from app.gateway.database.connection import connect
from app.gateway.database.migrations import migrate
from app.gateway.database.settings import Database
from tests.gateway.cache_cases import OTHER_KEY, keys
from tests.gateway.harness import Engine, Reply, Request, Running, Wire, chat_reply, eventually, make_config, running
from tests.gateway.real_postgres import Proxy, execute

VECTORS = {
    "how do i reset my password?": 0.0,
    "please tell me how do i reset my password": 0.1,
    "how do i reset my admin password": 0.2,
    "how do i reset my password in 2024?": 0.1,
    "what is for lunch": 1.5,
}
"""Angles in the plane: their cosine is the similarity."""


Cached = tuple[Running, Semantic]


class Models:
    """One engine for both models. Each chat answer is new."""

    def __init__(self) -> None:
        self.answers = 0
        self.embedded: list[str] = []
        self.delay = 0.0
        self.status = 200

    async def __call__(self, request: Request, wire: Wire) -> None:
        if request.path == "/v1/embeddings":
            text = request.body["input"]
            self.embedded.append(text)
            await asyncio.sleep(self.delay)
            angle = VECTORS.get(text.lower(), 3.0)
            vector = [math.cos(angle), math.sin(angle), 0.0]
            await wire.json(self.status, {"data": [{"embedding": vector}]})
            return
        self.answers += 1
        reply = chat_reply()
        reply["choices"][0]["message"]["content"] = f"answer {self.answers}"
        await wire.json(200, reply)


def config(**semantic: Any) -> Any:
    base = make_config().models[0].model_dump()
    models = [base, base | {"name": "embedder", "aliases": []}]
    settings = {"model": "embedder", "threshold": 0.97, "lookup_seconds": 1.0} | semantic
    return make_config(models=models, cache={"enabled": True, "semantic": True, "semantic_cache": settings})


def caching(database: Database, models: Models, **semantic: Any) -> AbstractAsyncContextManager[Cached]:
    return caching_by(config(**semantic), database, models)


@contextlib.asynccontextmanager
async def caching_by(settings: GatewayConfig, database: Database, models: Models) -> AsyncGenerator[Cached]:
    """A gateway whose semantic cache is there."""
    async with running(Engine(models), config=settings, keys=database) as gateway:
        gateway.service.keys = keys()
        cache = gateway.service.cache
        assert cache is not None
        found = cache.semantic
        assert found is not None
        await eventually(lambda: found.up)
        yield gateway, found


async def ask(gateway: Running, text: str, *before: dict[str, str], **headers: str) -> Reply:
    messages = [*before, {"role": "user", "content": text}]
    body = {"model": "tiny", "messages": messages, "temperature": 0}
    return await gateway.ask(body, **headers)


async def stored(gateway: Running, count: int = 1) -> None:
    cache = gateway.service.cache
    assert cache is not None
    metric = cache.metrics.semantic["stored"]
    await eventually(lambda: next(iter(metric.collect())).samples[0].value >= count)


def answer(reply: Reply) -> str:
    return reply.json["choices"][0]["message"]["content"]


ASKED = "How do I reset my password?"


async def test_a_question_in_other_words_gets_the_answer(empty_database: Database):
    async with caching(empty_database, Models()) as (gateway, _):
        first = await ask(gateway, ASKED)
        assert first.headers["x-penstock-cache"] == "miss"
        await stored(gateway)
        again = await ask(gateway, "Please tell me how do I reset my password")
        assert (again.headers["x-penstock-cache"], again.headers["x-penstock-cache-similarity"]) == ("hit", "0.995")
        assert answer(again) == answer(first)
        assert gateway.requests[-1]["cache"] == "semantic"
        assert gateway.requests[-1]["cost_usd"] == 0
        assert await gateway.metric('penstock_cache_requests_total{model="tiny",outcome="semantic"}') == 1
        streamed = await gateway.ask(
            {"model": "tiny", "messages": [{"role": "user", "content": ASKED}], "temperature": 0, "stream": True}
        )
        assert streamed.headers["x-penstock-cache"] == "hit"
        assert b'"content":"answer 1"' in streamed.body


async def test_other_questions_facts_contexts_and_tenants_miss(empty_database: Database):
    async with caching(empty_database, Models()) as (gateway, _):
        await ask(gateway, ASKED)
        await stored(gateway)
        system = {"role": "system", "content": "Answer in German."}
        for reply in (
            await ask(gateway, "What is for lunch"),
            await ask(gateway, "How do I reset my password in 2024?"),
            await ask(gateway, "How do I reset my admin password"),
            await ask(gateway, ASKED, system),
            await ask(gateway, ASKED, authorization=f"Bearer {OTHER_KEY}"),
        ):
            assert reply.headers["x-penstock-cache"] == "miss"
        assert await gateway.metric('penstock_semantic_lookups_total{outcome="guarded"}') == 1


async def test_the_guard_can_be_widened_to_words_on_top(empty_database: Database):
    async with caching(empty_database, Models(), guard="words") as (gateway, _):
        await ask(gateway, ASKED)
        await stored(gateway)
        assert (await ask(gateway, "How do I reset my admin password")).headers["x-penstock-cache"] == "hit"


async def test_the_wish_not_to_be_served_is_heard(empty_database: Database):
    async with caching(empty_database, Models()) as (gateway, _):
        await ask(gateway, ASKED)
        await stored(gateway)
        assert (await ask(gateway, ASKED, x_penstock_cache="refresh")).headers["x-penstock-cache"] == "miss"
        assert (await ask(gateway, ASKED, x_penstock_cache="no-store")).headers["x-penstock-cache"] == "bypass"
        assert (await ask(gateway, ASKED, x_penstock_cache="only")).headers["x-penstock-cache"] == "hit"
        absent = await ask(gateway, "What is for lunch", x_penstock_cache="only")
        assert (absent.status, absent.error["code"]) == (504, "not_cached")


async def test_a_purge_removes_answers_for_good(empty_database: Database):
    async with caching(empty_database, Models()) as (gateway, semantic):
        await ask(gateway, ASKED)
        await ask(gateway, ASKED, authorization=f"Bearer {OTHER_KEY}")
        await stored(gateway, 2)
        assert await semantic.purge(tenant="acme") == 1
        assert (await ask(gateway, ASKED)).headers["x-penstock-cache"] == "miss"
        spared = await ask(gateway, ASKED, authorization=f"Bearer {OTHER_KEY}")
        assert spared.headers["x-penstock-cache"] == "hit"
        # What began before the purge and is stored after it is not served either.
        await stored(gateway, 3)
        assert (await ask(gateway, ASKED)).headers["x-penstock-cache"] == "miss"


async def test_no_more_answers_are_kept_than_set_and_old_ones_go(empty_database: Database):
    async with caching(empty_database, Models(), max_answers=2) as (gateway, _):
        for number in range(4):
            await ask(gateway, f"What is {number}?")
        await stored(gateway, 4)
    connection = await connect(empty_database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM penstock_cache.answers") == 2
    finally:
        await connection.close()


@pytest.mark.parametrize("wrong", ["late", "refused"])
async def test_without_an_embedding_in_time_the_engine_answers(empty_database: Database, wrong: str):
    models = Models()
    async with caching(empty_database, models, lookup_seconds=0.05) as (gateway, _):
        models.delay, models.status = (0.5, 200) if wrong == "late" else (0.0, 500)
        begun = time.monotonic()
        reply = await ask(gateway, ASKED)
        assert (reply.status, reply.headers["x-penstock-cache"]) == (200, "miss")
        assert time.monotonic() - begun < 0.4
        for number in range(4):
            await ask(gateway, f"What is {number}?")
        assert await gateway.metric('penstock_semantic_lookups_total{outcome="resting"}') == 0
        await ask(gateway, "Now it rests")
        assert await gateway.metric('penstock_semantic_lookups_total{outcome="resting"}') == 1


@pytest.mark.parametrize("how", ["silent", "away"])
async def test_a_database_that_is_lost_costs_little_and_comes_back(
    proxy: Proxy, how: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(semantic_cache, "STORE_SECONDS", 0.5)
    monkeypatch.setattr(connection_module, "CONNECT_SECONDS", 1.5)
    async with caching(proxy.before, Models(), lookup_seconds=0.25) as (gateway, semantic):
        await ask(gateway, ASKED)
        await stored(gateway)
        if how == "silent":
            proxy.mode = "silent"
        else:
            await proxy.stop()
        begun = time.monotonic()
        for _ in range(3):
            assert (await ask(gateway, ASKED)).status == 200
        assert time.monotonic() - begun < 3
        with pytest.raises(SemanticError):
            await asyncio.wait_for(semantic.purge(), 10)
        proxy.mode = "on"
        if how == "away":
            await proxy.start()
        await eventually(lambda: semantic.up)
        async with asyncio.timeout(20):  # a busy machine may be late now and then
            while (await ask(gateway, ASKED)).headers["x-penstock-cache"] != "hit":
                pass


async def test_vectors_of_other_weights_under_the_same_name_are_not_compared(empty_database: Database):
    settings, seen = config(), []
    for revision in ("small:1", "small:2", "small:1"):
        cache = settings.cache.model_copy(update={"revisions": {"embedder": revision}})
        async with caching_by(settings.model_copy(update={"cache": cache}), empty_database, Models()) as (gateway, _):
            seen.append((await ask(gateway, ASKED)).headers["x-penstock-cache"])
            if seen[-1] == "miss":
                await stored(gateway)
    assert seen == ["miss", "miss", "hit"]


async def test_a_corrupt_answer_is_a_miss(empty_database: Database):
    async with caching(empty_database, Models()) as (gateway, _):
        await ask(gateway, ASKED)
        await stored(gateway)
        await execute(empty_database, "UPDATE penstock_cache.answers SET entry = set_byte(entry, 9, 7)")
        assert (await ask(gateway, ASKED)).headers["x-penstock-cache"] == "miss"
        assert await gateway.metric("penstock_cache_corrupt_total") == 1


async def test_the_gateways_role_may_read_add_and_remove_and_no_more(empty_database: Database):
    owner = await connect(empty_database)
    try:
        await migrate(owner, CACHE)
        await owner.execute("SET ROLE penstock_cache_gateway")
        await owner.fetch("SELECT 1 FROM penstock_cache.answers")
        await owner.execute("DELETE FROM penstock_cache.answers")
        for statement in ("UPDATE penstock_cache.answers SET tenant = 'x'", "DROP TABLE penstock_cache.answers"):
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                await owner.execute(statement)
    finally:
        await owner.close()


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="no `semantic_cache`"):
        make_config(cache={"semantic": True})
    with pytest.raises(ValueError, match="nobody is none of `models`"):
        make_config(cache={"semantic_cache": {"model": "nobody"}})
    assert json.loads(make_config().model_dump_json())["cache"]["enabled"] is False


async def test_the_command_makes_the_tables_where_they_are_asked_for(
    as_owner: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PENSTOCK_DATABASE_LOGIN_PASSWORD", "pass")
    arguments = ["migrate", "--login", "semantic_hand", "--semantic-cache"]
    assert await asyncio.to_thread(command.main, arguments) == 0
    assert "cache: applied 1; semantic_hand may use all" in capsys.readouterr().out
    hand = await connect(replace(as_owner, user="semantic_hand", password="pass"))
    try:
        assert await hand.fetch("SELECT 1 FROM penstock_cache.answers") == []
    finally:
        await hand.close()
    await execute(as_owner, "DROP OWNED BY semantic_hand; DROP ROLE semantic_hand")
