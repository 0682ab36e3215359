"""The cache before an engine that answers as vLLM does, seen by the official `openai` client."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from tests.gateway.cache_cases import ready
from tests.gateway.harness import KEY, eventually, make_config, running
from tests.gateway.redis_server import RedisServer
from tests.gateway.simulators import simulated_engines

ASKED: dict[str, Any] = {"model": "tiny", "temperature": 0, "max_tokens": 40}
MESSAGES = [{"role": "user", "content": "Tell me of the sea"}]


async def test_the_official_client_reads_the_same_answer_in_every_form():
    server = RedisServer().start()
    config = make_config(cache={"enabled": True, "lookup_seconds": 0.5})
    try:
        async with (
            simulated_engines(1) as ((port, _),),
            running(port, config=config, cache_address=server.address) as gateway,
            openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=KEY, max_retries=0) as ai,
        ):
            await eventually(lambda: ready(gateway))
            chat: Any = ai.chat.completions

            async def plain() -> tuple[str, str, Any]:
                raw = await chat.with_raw_response.create(**ASKED, messages=MESSAGES)
                reply = raw.parse()
                assert reply.usage is not None
                choice = reply.choices[0]
                return raw.headers["x-penstock-cache"], choice.message.content or "", choice.finish_reason

            async def streamed() -> tuple[str, Any, Any]:
                options: Any = {"include_usage": True}
                stream = await chat.create(**ASKED, messages=MESSAGES, stream=True, stream_options=options)
                chunks = [chunk async for chunk in stream]
                assert chunks[-1].usage is not None
                told = [chunk.choices[0] for chunk in chunks if chunk.choices]
                text = "".join(choice.delta.content or "" for choice in told)
                return text, told[-1].finish_reason, chunks[-1].usage.completion_tokens

            # The first answer is streamed, and what is kept of it serves both forms.
            text, reason, tokens = await streamed()
            assert text
            await asyncio.sleep(0.1)
            assert await plain() == ("hit", text, reason)
            assert await streamed() == (text, reason, tokens)

            done = await ai.completions.create(model="tiny", prompt="the sea", temperature=0, max_tokens=20)
            await asyncio.sleep(0.1)
            parts = await ai.completions.create(
                model="tiny", prompt="the sea", temperature=0, max_tokens=20, stream=True
            )
            assert "".join([part.choices[0].text async for part in parts]) == done.choices[0].text
            outcomes = [line["cache"] for line in gateway.requests]
            assert outcomes == ["miss", "hit", "hit", "miss", "hit"]
    finally:
        server.stop()
