"""Responses and tokens: routes that are passed through to the engine, counted and billed like the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from app.gateway.rewrite import TypedEventStream
from tests.gateway.harness import KEY, Engine, Request, Running, Wire, running
from tests.gateway.simulators import simulated_engines

ASKED: dict[str, Any] = {"model": "tiny", "input": "hello", "max_output_tokens": 12}


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with simulated_engines(1) as [(port, _)], running(port) as one:
        yield one


def logged(gateway: Running) -> dict[str, Any]:
    return gateway.log.of("request")[-1]


async def test_the_official_client_gets_a_response_and_streams_one(gateway: Running):
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=KEY, max_retries=0) as ai:
        response = await ai.responses.create(**ASKED)
        assert response.output_text
        assert response.usage is not None
        stream = await ai.responses.create(**ASKED, stream=True)
        events = [event async for event in stream]
    assert events[0].type == "response.created"
    last: Any = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    line = logged(gateway)
    used = last.response.usage
    assert (line["input_tokens"], line["output_tokens"]) == (used.input_tokens, used.output_tokens)
    assert (line["outcome"], line["estimated"]) == ("ok", False)


async def test_tokens_and_back_again(gateway: Running):
    counted = await gateway.ask({"model": "tiny", "prompt": "hello there"}, "/v1/tokenize")
    assert counted.status == 200
    assert counted.json["count"] == len(counted.json["tokens"]) > 0
    back = await gateway.ask({"model": "tiny", "tokens": counted.json["tokens"]}, "/v1/detokenize")
    assert back.json["prompt"] == "hello there"
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
    assert (await gateway.ask(chat, "/v1/tokenize")).json["count"] > 0
    assert logged(gateway)["cost_usd"] == 0


@pytest.mark.parametrize(
    ("path", "change", "param"),
    [
        ("/v1/responses", {"input": None}, "input"),
        ("/v1/responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("/v1/responses", {"background": True}, "background"),
        ("/v1/responses", {"max_output_tokens": 10**9}, "max_output_tokens"),
        ("/v1/tokenize", {}, "prompt"),
        ("/v1/detokenize", {}, "tokens"),
    ],
)
async def test_what_cannot_be_served_is_named_before_an_engine_is_asked(path: str, change: dict[str, Any], param: str):
    engine = Engine()
    async with running(engine) as gateway:
        reply = await gateway.ask(ASKED | change, path)
    assert (reply.status, reply.error["param"]) == (400, param)
    assert engine.requests == []


async def test_a_response_that_breaks_off_ends_with_an_error_event_and_is_not_resumed():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n')
        wire.cut()

    engine = Engine(answer)
    async with running(engine) as gateway:
        reply = await gateway.ask(ASKED | {"stream": True}, "/v1/responses")
    assert b"upstream_interrupted" in reply.events[-1]
    assert len(engine.requests) == 1


def test_text_that_looks_like_the_last_event_does_not_end_a_response():
    stream = TypedEventStream(strip_usage=False)
    stream.feed(
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","delta":"{\\"type\\": \\"response.completed\\"}"}\n\n'
    )
    assert not stream.complete
    stream.feed(b'data: {"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}\n\n')
    assert stream.complete
    assert stream.usage is not None
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (3, 4)
