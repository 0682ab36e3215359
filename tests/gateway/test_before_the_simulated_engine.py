"""The gateway before simulated engines, which answer and drain as vLLM does: an engine goes away under load."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.harness import CHAT, Reply, Running, running
from tests.gateway.simulators import simulated_engines


@pytest.fixture
async def engines() -> AsyncIterator[list[tuple[int, asyncio.subprocess.Process]]]:
    async with simulated_engines(2) as started:
        yield started


async def test_an_engine_drains_under_load_and_not_one_request_fails(
    engines: list[tuple[int, asyncio.subprocess.Process]],
):
    stream: dict[str, Any] = CHAT | {"stream": True, "max_tokens": 40}
    replies: list[Reply] = []
    going = True

    async def load(gateway: Running, body: dict[str, Any]) -> None:
        while going:
            replies.append(await gateway.ask(body))

    (port, leaving), (other, _) = engines
    async with running(port, other) as gateway:
        listed = await gateway.ask(CHAT | {"temperature": -3})
        assert (listed.status, listed.error["param"]) == (400, "temperature")
        workers = [asyncio.ensure_future(load(gateway, body)) for body in [stream, CHAT | {"max_tokens": 5}] * 5]
        await asyncio.sleep(0.3)
        leaving.send_signal(signal.SIGTERM)
        await asyncio.wait_for(leaving.wait(), 20)
        await asyncio.sleep(0.3)
        going = False
        await asyncio.gather(*workers)
        assert len(replies) > 10
        assert {reply.status for reply in replies} == {200}
        streams = [reply for reply in replies if reply.headers["content-type"].startswith("text/event-stream")]
        assert streams
        for reply in streams:
            assert reply.whole
            assert reply.body.endswith(b"data: [DONE]\n\n")
            assert b"upstream_interrupted" not in reply.body
            assert b'"usage"' not in reply.body
        accounted = [line["output_tokens"] for line in gateway.requests if line["stream"]]
        assert set(accounted) <= set(range(1, 41))
        assert not any(line.get("estimated") for line in gateway.requests if line["status"] == 200)
