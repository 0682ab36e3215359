"""The semantic cache of a stack without an own embedder: a model on Amazon Bedrock compares the questions."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from app.gateway.database.settings import Database
from tests.gateway.cache_cases import OTHER_KEY
from tests.gateway.embedding_providers import COHERE, KEYS, THROTTLED, TITAN, Bedrock, embedding_config
from tests.gateway.harness import Engine, Running
from tests.gateway.test_semantic_cache import ASKED, Models, answer, ask, caching_by, stored

OTHER_WORDS = "Please tell me how do I reset my password"
ANGLES = {ASKED: 0.0, OTHER_WORDS: 0.1}


def angled(text: str, size: int) -> list[float]:
    angle = ANGLES.get(text, 1.5)
    return [math.cos(angle), math.sin(angle)] + [0.0] * (size - 2)


@pytest.fixture
async def aws() -> AsyncIterator[Engine]:
    engine = Engine()
    await engine.start()
    yield engine
    await engine.stop()


@contextlib.asynccontextmanager
async def caching(database: Database, aws: Engine, folder: Path, upstream: str = TITAN) -> AsyncGenerator[Running]:
    """A gateway with engines for chats, and with the cache's embedder at `aws`."""
    semantic = {"model": "vectors", "threshold": 0.97, "lookup_seconds": 1.0}
    cache = {"enabled": True, "semantic": True, "semantic_cache": semantic}
    config = embedding_config(aws, folder, upstream, cache=cache)
    async with caching_by(config, database, Models()) as (gateway, _):
        yield gateway


@pytest.mark.parametrize("upstream", [TITAN, COHERE])
async def test_a_question_in_other_words_gets_the_answer_by_vectors_of_bedrock(
    empty_database: Database, aws: Engine, tmp_path: Path, upstream: str
):
    aws.answer = bedrock = Bedrock(make=angled)
    async with caching(empty_database, aws, tmp_path, upstream) as gateway:
        first = await ask(gateway, ASKED)
        assert first.headers["x-penstock-cache"] == "miss"
        await stored(gateway)
        again = await ask(gateway, OTHER_WORDS)
        assert (again.headers["x-penstock-cache"], again.headers["x-penstock-cache-similarity"]) == ("hit", "0.995")
        assert answer(again) == answer(first)
        other = await ask(gateway, "What is for lunch")
        assert other.headers["x-penstock-cache"] == "miss"
        stranger = await ask(gateway, ASKED, authorization=f"Bearer {OTHER_KEY}")
        assert stranger.headers["x-penstock-cache"] == "miss", "an answer is of one tenant"
        asked = [call.get("inputText") or call["texts"][0] for call in bedrock.calls]
        assert asked == [ASKED, OTHER_WORDS, "What is for lunch", ASKED], "each question once"
        assert {call.get("dimensions", 1024) for call in bedrock.calls} == {1024}
        assert all("Credential=AKIDEXAMPLE" in request.headers["authorization"] for request in aws.requests)
        assert await gateway.metric('penstock_cost_usd_total{model="embed"}') == 0, "no tenant pays for it"
        assert await gateway.metric('penstock_provider_in_flight{provider="bedrock"}') == 0
        said = str(gateway.log.events)
        assert KEYS["secret_access_key"] not in said
        assert ASKED not in said


async def test_a_throttled_embedder_costs_an_answer_nothing_and_is_left_alone(
    empty_database: Database, aws: Engine, tmp_path: Path
):
    aws.answer = bedrock = Bedrock(make=angled, refuse=lambda text, tries: (429, THROTTLED, {}))
    async with caching(empty_database, aws, tmp_path) as gateway:
        for number in range(6):
            reply = await ask(gateway, f"What is {number}?")
            assert (reply.status, reply.headers["x-penstock-cache"]) == (200, "miss")
        assert len(bedrock.calls) == 5, "nothing is asked again, and after five failures the cache rests"
        assert await gateway.metric('penstock_semantic_lookups_total{outcome="resting"}') == 1
        failure = gateway.log.of("semantic_cache")[-1]
        assert "EmbedError" in json.dumps(failure)


async def test_vectors_of_another_model_under_the_same_name_are_not_compared(
    empty_database: Database, aws: Engine, tmp_path: Path
):
    """A stack file may put another model behind `embed`, with as many dimensions and another meaning of each."""
    aws.answer = Bedrock(make=angled)
    async with caching(empty_database, aws, tmp_path, COHERE) as gateway:
        await ask(gateway, ASKED)
        await stored(gateway)
    async with caching(empty_database, aws, tmp_path, TITAN) as gateway:
        assert (await ask(gateway, OTHER_WORDS)).headers["x-penstock-cache"] == "miss"
    async with caching(empty_database, aws, tmp_path, COHERE) as gateway:
        assert (await ask(gateway, OTHER_WORDS)).headers["x-penstock-cache"] == "hit"
