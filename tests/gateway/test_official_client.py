"""The official `openai` client against a running gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.gateway.harness import KEY, Engine, Request, Running, Wire, event, running
from tests.gateway.simulators import simulated_engines

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with running(Engine()) as one:
        yield one


def client(gateway: Running, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=key, max_retries=0)


async def test_a_chat_and_a_stream(gateway: Running):
    async with client(gateway) as ai:
        reply = await ai.chat.completions.create(model="tiny", messages=MESSAGES)  # ty: ignore
        assert reply.choices[0].message.content == "hi"
        stream = await ai.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)  # ty: ignore
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello"
        assert all(chunk.usage is None for chunk in chunks)


async def test_usage_comes_where_it_is_asked_for(gateway: Running):
    async with client(gateway) as ai:
        stream = await ai.chat.completions.create(
            model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )  # ty: ignore
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 8


async def test_every_form_that_the_simulated_engine_serves_is_read_by_the_client():
    tool: Any = {"type": "function", "function": {"name": "f", "description": "x", "parameters": {"type": "object"}}}
    async with simulated_engines(1) as [(port, _)], running(port) as gateway, client(gateway) as ai:
        assert (await ai.models.retrieve("tiny")).id == "tiny"
        asked: Any = {"model": "tiny", "messages": MESSAGES, "max_tokens": 4, "seed": 1, "temperature": 0}
        raw = await ai.chat.completions.with_raw_response.create(**asked, tools=[tool], tool_choice="none")
        assert raw.headers["x-request-id"]
        chat: Any = raw.parse()
        assert chat.usage.completion_tokens == 4
        text = await ai.completions.create(model="tiny", prompt="The quick", max_tokens=4)
        assert text.choices[0].text
        pieces = await ai.completions.create(model="tiny", prompt="The quick", max_tokens=4, stream=True)
        assert "".join([piece.choices[0].text async for piece in pieces])
        with pytest.raises(openai.NotFoundError):  # this engine makes text, and says so in vLLM's words
            await ai.embeddings.create(model="tiny", input=["a", "b"], encoding_format="float")


@pytest.mark.parametrize("form", ["float", "base64", None])  # without one the client asks for base64 and decodes it
async def test_embeddings_come_as_the_client_reads_them(form: Any):
    wanted: Any = {"model": "tiny", "input": ["a river", "a turbine"]} | ({"encoding_format": form} if form else {})
    async with (
        simulated_engines(1, "--runner", "pooling") as [(port, _)],
        running(port) as gateway,
        client(gateway) as ai,
    ):
        reply = await ai.embeddings.create(**wanted)
        assert [one.index for one in reply.data] == [0, 1]
        assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0
        assert all(isinstance(one.embedding, str if form == "base64" else list) for one in reply.data)


async def test_errors_are_the_clients_own_exceptions(gateway: Running):
    async with client(gateway) as ai, client(gateway, "sk-wrong") as stranger:
        with pytest.raises(openai.NotFoundError) as missing:
            await ai.chat.completions.create(model="nope", messages=MESSAGES)  # ty: ignore
        assert missing.value.code == "model_not_found"
        assert missing.value.request_id
        with pytest.raises(openai.BadRequestError) as refused:
            await ai.chat.completions.create(model="tiny", messages=[], max_tokens=5)
        assert refused.value.param == "messages"
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
        assert [model.id async for model in await ai.models.list()] == ["tiny", "small"]


async def test_a_cut_stream_raises_in_the_client():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("half"))
        wire.cut()

    async with running(Engine(answer)) as gateway, client(gateway) as ai:
        stream = await ai.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)  # ty: ignore
        with pytest.raises(openai.APIError, match="broke in the middle"):
            async for _ in stream:
                pass
