"""The gateway before simulated engines, which answer and drain as vLLM does: an engine goes away under load."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import CHAT, Reply, Running, running

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
async def engines() -> AsyncIterator[list[tuple[int, asyncio.subprocess.Process]]]:
    """Two engines as processes, ready."""
    started = []
    for _ in range(2):
        port = free_port()
        flags = ["--served-model-name", "tiny", "small", "--host", "127.0.0.1", "--port", str(port)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.engine", "serve", "tiny", *flags, "--max-model-len", "2048",
            "--shutdown-timeout", "20",
            cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "PENSTOCK_SIM_LOAD_SECONDS": "0", "PENSTOCK_SIM_TEARDOWN_SECONDS": "0.1"},
        )  # fmt: skip
        started.append((port, process))
    for port, process in started:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None, "the engine did not start"
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                break
    yield started
    for _, process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


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
