"""The simulated engine under `--runner pooling`: embeddings in vLLM's shapes, and vectors that carry some meaning."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from typing import Any

import openai
import pytest

from app.engine.vectors import SIZE, vector
from tests.gateway.harness import eventually

LEAVE = "Everybody at the company has thirty days of paid leave each year."


def alike(one: list[float], two: list[float]) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True))


async def embed(engine: Any, **body: Any) -> Any:
    return await engine.call("POST", "/v1/embeddings", {"model": "tiny"} | body)


def test_texts_that_share_words_are_near_and_others_are_not() -> None:
    near = alike(vector(LEAVE), vector("How many days of leave do I have?"))
    parts = alike(vector("pipelines are validated"), vector("validate the pipeline"))
    far = alike(vector(LEAVE), vector("Turbines need water under pressure."))
    assert near > 0.35 > 0.2 > abs(far)
    assert parts > 0.4, "forms of a word are near each other"


def test_a_vector_is_the_same_each_time_and_of_length_one() -> None:
    assert vector(LEAVE) == vector(LEAVE)
    for text in (LEAVE, "", "?!", "x" * 10_000, "\ud800 word"):
        assert math.isclose(math.hypot(*vector(text)), 1.0)
        assert math.isclose(math.hypot(*vector(text, 32)), 1.0)


async def test_a_reply_has_the_form_of_vllm_s(start_engine) -> None:
    engine = await start_engine("--runner", "pooling")
    reply = (await embed(engine, input=["hello world", LEAVE])).json()
    assert list(reply) == ["id", "object", "created", "model", "data", "usage"]
    assert reply["id"].startswith("embd-")
    assert (reply["object"], reply["model"]) == ("list", "tiny")
    assert [(one["index"], one["object"], len(one["embedding"])) for one in reply["data"]] == [
        (0, "embedding", SIZE), (1, "embedding", SIZE),
    ]  # fmt: skip
    count = (await engine.call("POST", "/tokenize", {"model": "tiny", "prompt": LEAVE})).json()["count"]
    assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] == count + 2
    assert reply["usage"]["completion_tokens"] == 0


async def test_texts_and_their_token_ids_have_one_vector(start_engine) -> None:
    engine = await start_engine("--runner", "pooling")
    ids = (await engine.call("POST", "/tokenize", {"model": "tiny", "prompt": LEAVE})).json()["tokens"]
    forms = (LEAVE, [LEAVE], ids, [ids])
    found = [(await embed(engine, input=form)).json()["data"][0]["embedding"] for form in forms]
    assert found[0] == found[1] == found[2] == found[3]


async def test_base64_holds_the_same_numbers_as_32_bit_floats(start_engine) -> None:
    engine = await start_engine("--runner", "pooling")
    plain = (await embed(engine, input=LEAVE)).json()["data"][0]["embedding"]
    packed = (await embed(engine, input=LEAVE, encoding_format="base64")).json()["data"][0]["embedding"]
    found = struct.unpack(f"<{SIZE}f", base64.b64decode(packed))
    assert found == pytest.approx(plain, abs=1e-7)


async def test_fewer_dimensions_are_the_first_ones_at_length_one(start_engine) -> None:
    engine = await start_engine("--runner", "pooling")
    whole = (await embed(engine, input=LEAVE)).json()["data"][0]["embedding"]
    part = (await embed(engine, input=LEAVE, dimensions=64)).json()["data"][0]["embedding"]
    norm = math.hypot(*whole[:64])
    assert part == pytest.approx([one / norm for one in whole[:64]])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": "a", "dimensions": SIZE + 1}, "dimensions must be between 1 and 256, got 257"),
        ({"input": "a", "dimensions": 0}, "dimensions must be between 1 and 256, got 0"),
        ({"input": "a", "encoding_format": "hex"}, "Input should be 'float' or 'base64'"),
        ({}, "Field required"),
        ({"input": []}, "at least 1 item"),
        ({"input": [1, "a"]}, "body.input"),
        ({"input": [999_999]}, "out of vocabulary"),
        ({"input": "water " * 3000}, "in the input for embedding generation"),
        ({"input": "a", "truncate_prompt_tokens": 100_000}, "greater than max_model_len"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_in_vllm_s_words(start_engine, body: Any, message: str) -> None:
    engine = await start_engine("--runner", "pooling")
    reply = await embed(engine, **body)
    assert reply.status == 400
    assert message in reply.json()["error"]["message"]


async def test_a_long_text_is_cut_where_the_client_asks_for_it(start_engine) -> None:
    engine = await start_engine("--runner", "pooling")
    reply = (await embed(engine, input="water " * 3000, truncate_prompt_tokens=16)).json()
    assert reply["usage"]["prompt_tokens"] == 16


async def test_a_pooling_engine_generates_nothing_and_a_generating_one_embeds_nothing(start_engine) -> None:
    pooling, plain = await start_engine("--runner", "pooling"), await start_engine()
    refused = await pooling.chat()
    assert (refused.status, refused.body) == (404, b'{"detail":"Not Found"}')
    assert (await embed(plain, input="a")).status == 404
    assert (await pooling.call("GET", "/health")).status == 200


async def test_a_drain_waits_for_embeddings_under_way_and_takes_no_more(start_engine) -> None:
    engine = await start_engine("--runner", "pooling", prefill_tokens_per_second=20.0)
    under_way = asyncio.ensure_future(embed(engine, input="the water of the river"))
    await eventually(lambda: engine.server.jobs)
    engine.server.draining = True
    refused = await embed(engine, input="a")
    assert (refused.status, refused.json()["error"]["type"]) == (500, "InternalServerError")
    assert (await under_way).status == 200
    assert not engine.server.jobs


async def test_a_client_that_leaves_leaves_nothing_behind(start_engine) -> None:
    engine = await start_engine("--runner", "pooling", prefill_tokens_per_second=0.1)
    _, writer = await engine.open("POST", "/v1/embeddings", {"input": "the water of the river"})
    await eventually(lambda: engine.server.jobs)
    writer.close()
    await eventually(lambda: not engine.server.jobs)


async def test_the_official_client_reads_the_vectors(start_engine) -> None:
    engine = await start_engine("--runner", "pooling")
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="-") as client:
        reply = await client.embeddings.create(model="tiny", input=[LEAVE], dimensions=128)
    assert len(reply.data[0].embedding) == 128
    assert reply.usage.prompt_tokens > 0
