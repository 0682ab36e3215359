"""Embedding models of Amazon Bedrock behind /v1/embeddings: asked as they want to be, and survived when they fail."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from tests.gateway.embedding_providers import (
    COHERE,
    COHERE_4,
    KEYS,
    THROTTLED,
    TITAN,
    Bedrock,
    embedding_config,
    vector,
)
from tests.gateway.harness import CHAT, Client, Engine, Running, cut_at_once, eventually, hang, running

PATH = "/v1/embeddings"
TEXTS = [f"text number {number} of a long list" for number in range(20)]
WORDS = sum(len(text.split()) for text in TEXTS)


@pytest.fixture
async def aws():
    engine = Engine()
    await engine.start()
    yield engine
    await engine.stop()


def asked(texts: object, **more: Any) -> dict[str, Any]:
    return {"model": "embed", "input": texts, **more}


async def cost(gateway: Running) -> float:
    return await gateway.metric('penstock_cost_usd_total{model="embed"}')


def close(given: list[float], text: str, size: int = 1024) -> bool:
    return len(given) == size and all(abs(a - b) < 1e-6 for a, b in zip(given, vector(text, size), strict=True))


async def test_titan_is_asked_for_one_text_a_call_and_the_reply_is_openais(aws: Engine, tmp_path: Path):
    aws.answer = bedrock = Bedrock(seconds=0.02)
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(asked(TEXTS), PATH)
        assert reply.status == 200, reply.body
        content = reply.json
        assert (content["object"], content["model"]) == ("list", "embed")
        assert [one["index"] for one in content["data"]] == list(range(20))
        assert all(close(one["embedding"], text) for one, text in zip(content["data"], TEXTS, strict=True)), "in order"
        assert content["usage"] == {"prompt_tokens": WORDS, "total_tokens": WORDS}
        assert {request.path for request in aws.requests} == {"/model/amazon.titan-embed-text-v2%3A0/invoke"}
        assert bedrock.calls[0].keys() == {"inputText", "dimensions", "normalize"}
        assert 4 <= bedrock.most_at_once <= 8
        (line,) = gateway.requests
        assert (line["model"], line["engine"], line["input_tokens"]) == ("embed", "provider:bedrock", WORDS)
        assert await cost(gateway) == pytest.approx(WORDS * 20 / 1e6), "billed once, by the provider's own count"
        assert await gateway.metric('penstock_provider_in_flight{provider="bedrock"}') == 0
        assert KEYS["secret_access_key"] not in str(gateway.log.events)
        assert TEXTS[0] not in str(gateway.log.events)


async def test_each_call_is_signed_for_what_goes_out(aws: Engine, tmp_path: Path):
    aws.answer = Bedrock()
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        assert (await gateway.ask(asked(["one", "two"]), PATH)).status == 200
    signer = SigV4Auth(ReadOnlyCredentials(*KEYS.values()), "bedrock", "eu-central-1")
    for request in aws.requests:
        url = f"http://127.0.0.1:{aws.port}{request.path}"
        again = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=request.raw)
        again.context["timestamp"] = request.headers["x-amz-date"]
        again.headers["X-Amz-Date"] = request.headers["x-amz-date"]
        again.headers["X-Amz-Security-Token"] = "a-session"
        text = signer.string_to_sign(again, signer.canonical_request(again))
        assert request.headers["authorization"].endswith(signer.signature(text, again))


@pytest.mark.parametrize(("upstream", "size"), [(COHERE, 1024), (COHERE_4, 512)])
async def test_cohere_is_asked_for_96_texts_a_call(aws: Engine, tmp_path: Path, upstream: str, size: int):
    aws.answer = bedrock = Bedrock()
    texts = [f"t{number}" for number in range(100)]
    config = embedding_config(aws, tmp_path, upstream, model={"embedding_dimensions": size})
    async with running(Engine(), config=config) as gateway:
        reply = await gateway.ask(asked(texts, input_type="search_query"), PATH)
        assert reply.status == 200, reply.body
        assert all(close(one["embedding"], text, size) for one, text in zip(reply.json["data"], texts, strict=True))
        assert sorted(len(call["texts"]) for call in bedrock.calls) == [4, 96]
        assert {call["input_type"] for call in bedrock.calls} == {"search_query"}
        assert {call["truncate"] for call in bedrock.calls} == {"NONE"}, "a text that is cut is another text"
        assert {call.get("output_dimension") for call in bedrock.calls} == {None if size == 1024 else size}
        assert reply.json["usage"]["prompt_tokens"] == 100, "of the header, for the body has none"


async def test_base64_and_fewer_dimensions_come_as_they_were_asked_for(aws: Engine, tmp_path: Path):
    aws.answer = bedrock = Bedrock()
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(asked("one", dimensions=256, encoding_format="base64"), PATH)
        packed = base64.b64decode(reply.json["data"][0]["embedding"])
        assert close(list(struct.unpack("<256f", packed)), "one", 256)
        assert bedrock.calls[0]["dimensions"] == 256


async def test_tokens_are_guessed_where_the_provider_tells_none(aws: Engine, tmp_path: Path):
    aws.answer = Bedrock(count=False)
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(asked("x" * 400), PATH)
        assert reply.json["usage"]["prompt_tokens"] == 100


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (asked([1, 2, 3]), 400, "token numbers"),
        (asked([[1, 2], [3]]), 400, "token numbers"),
        (asked([]), 400, "`input`"),
        (asked({"a": 1}), 400, "`input`"),
        (asked(["a", 1]), 400, "`input`"),
        (asked(["a", "  "]), 400, "text 1"),
        (asked(["a"] * 257), 400, "at most 256 texts"),
        (asked("a" * 50_001), 400, "50000"),
        (asked("a", dimensions=300), 400, "256, 512, 1024"),
        (asked("a", encoding_format="int8"), 400, "`encoding_format`"),
        (asked("a", input_type="essay"), 400, "`input_type`"),
        (asked("a", dimensions=[1]), 400, "256, 512, 1024"),
    ],
)
async def test_what_cannot_be_carried_is_refused_clearly(
    aws: Engine, tmp_path: Path, body: dict[str, Any], status: int, said: str
):
    aws.answer = Bedrock()
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(body, PATH)
        assert (reply.status, said in reply.error["message"]) == (status, True), reply.body
        assert aws.requests == []
        assert await cost(gateway) == 0


async def test_a_chat_with_an_embedding_model_is_told_where_to_go(aws: Engine, tmp_path: Path):
    aws.answer = Bedrock()
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(CHAT | {"model": "vectors"})
        assert (reply.status, reply.error["code"]) == (404, "unsupported_route")
        assert "/v1/embeddings" in reply.error["message"]
        assert aws.requests == []


async def test_throttled_texts_are_asked_again_by_themselves(aws: Engine, tmp_path: Path):
    def refuse(text: str, tries: int) -> Any:
        throttled = text in TEXTS[3:5] and tries == 1
        return (429, THROTTLED, {"x_amzn_errortype": "ThrottlingException"}) if throttled else None

    aws.answer = bedrock = Bedrock(refuse=refuse)
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(asked(TEXTS), PATH)
        assert reply.status == 200, reply.body
        assert all(close(one["embedding"], text) for one, text in zip(reply.json["data"], TEXTS, strict=True))
        assert len(bedrock.calls) == 22
        assert await gateway.metric('penstock_retries_total{reason="rate_limited"}') == 2
        assert await cost(gateway) == pytest.approx(WORDS * 20 / 1e6)


async def test_retries_end_with_the_budget_and_the_request_gets_the_throttling(aws: Engine, tmp_path: Path):
    aws.answer = bedrock = Bedrock(refuse=lambda text, tries: (429, THROTTLED, {"retry_after": "1"}))
    config = embedding_config(aws, tmp_path, retries={"attempts": 10, "budget_ratio": 0.0})
    async with running(Engine(), config=config) as gateway:
        reply = await gateway.ask(asked(TEXTS), PATH)
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "overloaded", "1")
        assert len(bedrock.calls) <= 8 + 10, "eight at once, and ten retries of the budget's floor"
        assert await cost(gateway) == 0


async def test_a_provider_that_wants_a_long_rest_is_left_alone(aws: Engine, tmp_path: Path):
    aws.answer = bedrock = Bedrock(refuse=lambda text, tries: (429, THROTTLED, {"retry_after": "30"}))
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(asked("one"), PATH)
        assert (reply.status, reply.headers["retry-after"], len(bedrock.calls)) == (503, "30", 1)


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        ((400, {"message": "400 Bad Request: Too many input tokens. Max input tokens: 8192"}, {}), 400, "context"),
        ((403, {"message": "not authorized to perform bedrock:InvokeModel"}, {}), 502, "provider_refused"),
        ((404, {"message": "Could not resolve the foundation model"}, {}), 502, "provider_refused"),
        ((500, {"message": "boom"}, {}), 502, "provider_failed"),
    ],
)
async def test_one_text_that_fails_fails_the_request_and_bills_nothing(
    aws: Engine, tmp_path: Path, refusal: tuple[int, Any, dict[str, str]], status: int, code: str
):
    aws.answer = bedrock = Bedrock(refuse=lambda text, tries: refusal if text == TEXTS[7] else None)
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(asked(TEXTS), PATH)
        assert reply.status == status, reply.body
        assert reply.error["code"].startswith(code)
        assert await cost(gateway) == 0
        assert await gateway.metric('penstock_provider_in_flight{provider="bedrock"}') == 0
        assert bedrock.calls, "some were made"
        bedrock.refuse = lambda text, tries: None
        assert (await gateway.ask(asked("one"), PATH)).status == 200


@pytest.mark.parametrize(
    "make",
    [
        lambda text, size: vector(text, size // 2),
        lambda text, size: [0.0] * size,
        lambda text, size: [],
        lambda text, size: [*vector(text, size)[:-1], "one"],
    ],
)
async def test_vectors_that_are_none_or_of_another_length_reach_nobody(aws: Engine, tmp_path: Path, make: Any):
    aws.answer = Bedrock(make=make)
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        reply = await gateway.ask(asked(["one", "two"]), PATH)
        assert (reply.status, reply.error["code"]) == (502, "provider_failed")
        assert await cost(gateway) == 0
        assert await gateway.metric('penstock_provider_failures_total{provider="bedrock",reason="malformed"}') == 1


async def test_a_lost_connection_costs_one_text_and_not_the_batch(aws: Engine, tmp_path: Path):
    well, lost = Bedrock(), []

    async def answer(request: Any, wire: Any) -> None:
        if request.body["inputText"] == TEXTS[2] and not lost:
            lost.append(1)
            await cut_at_once(request, wire)
        else:
            await well(request, wire)

    aws.answer = answer
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        assert (await gateway.ask(asked(TEXTS), PATH)).status == 200
        assert len(well.calls) == 20


async def test_a_client_that_leaves_ends_all_calls(aws: Engine, tmp_path: Path):
    aws.answer = bedrock = Bedrock(seconds=0.5)
    async with running(Engine(), config=embedding_config(aws, tmp_path)) as gateway:
        client = await Client.connect(gateway.port)
        await client.send(client.request(asked(TEXTS), PATH))
        await eventually(lambda: len(bedrock.calls) == 8)
        client.close()
        await eventually(lambda: bedrock.left == 8)
        await asyncio.sleep(0.05)
        assert len(bedrock.calls) == 8, "no other was begun"
        assert await gateway.metric('penstock_provider_in_flight{provider="bedrock"}') == 0


async def test_a_silent_provider_ends_in_a_time_out(aws: Engine, tmp_path: Path):
    aws.answer = hang
    config = embedding_config(aws, tmp_path, provider={"first_byte_seconds": 0.3})
    async with running(Engine(), config=config) as gateway:
        begun = time.monotonic()
        reply = await gateway.ask(asked(["one", "two"]), PATH)
        assert (reply.status, reply.error["code"]) == (504, "timeout")
        assert time.monotonic() - begun < 3


async def test_calls_count_against_the_most_that_a_provider_may_have_under_way(aws: Engine, tmp_path: Path):
    aws.answer = bedrock = Bedrock(seconds=0.05)
    config = embedding_config(aws, tmp_path, provider={"most_requests": 3})
    async with running(Engine(), config=config) as gateway:
        assert (await gateway.ask(asked(TEXTS), PATH)).status == 200
        assert bedrock.most_at_once == 3


async def test_a_connection_that_opens_too_late_sends_nothing(tmp_path: Path):
    """What connects after its attempt's end is closed: the provider is not asked, and nobody pays for an answer."""
    aws = Engine()
    await aws.start()
    config = embedding_config(aws, tmp_path, provider={"connect_seconds": 0.2})
    async with running(Engine(), config=config) as gateway:
        outside = gateway.service.outside["embed"].outside
        assert outside is not None
        opened, connect = asyncio.Event(), outside.client._loop.create_connection

        class Slow:
            create_task = staticmethod(outside.client._loop.create_task)

            async def create_connection(self, *given: Any, **more: Any) -> Any:
                await asyncio.sleep(0.6)
                opened.set()
                return await connect(*given, **more)

        outside.client._loop = Slow()  # ty: ignore[invalid-assignment]
        reply = await gateway.ask(asked("one"), PATH)
        assert (reply.status, reply.error["code"]) == (502, "engine_unreachable")
        await asyncio.sleep(0.8)
        assert (opened.is_set(), aws.requests) == (False, [])
    await aws.stop()


def test_settings_say_which_models_make_embeddings(tmp_path: Path):
    engine = Engine(port=1)

    def refused(upstream: str, size: int | None) -> str:
        with pytest.raises(ValueError, match="outside_models") as caught:
            embedding_config(engine, tmp_path, upstream, model={"embedding_dimensions": size})
        return str(caught.value)

    assert "allowed: 256, 512, 1024" in refused(TITAN, 1536)
    assert "makes embeddings" in refused(TITAN, None)
    assert "allowed: 1024" in refused(COHERE, 512)
    assert "is asked for chats alone" in refused("anthropic.claude-3-haiku-20240307-v1:0", 1024)
    config = embedding_config(engine, tmp_path, cache={"semantic_cache": {"model": "embed"}})
    assert json.loads(config.model_dump_json())["outside_models"][0]["embedding_dimensions"] == 1024
