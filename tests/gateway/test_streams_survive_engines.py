"""Streams over simulated engines that die: at temperature 0 the client gets the text of an undisturbed run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.broken_engines import Told, cut_before, told
from tests.gateway.harness import Engine, Running, make_config, running

ROOT = Path(__file__).parents[2]
QUESTION = "What do you know about streams, tokens and latency? Answer in 4 sentences."
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 60},
    "/v1/completions": {"prompt": "The quick brown fox", "max_tokens": 40},
}
COMMON = {"model": "tiny", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0}


@contextlib.asynccontextmanager
async def simulated(**knobs: float) -> AsyncGenerator[int]:
    """The port of a simulated engine that is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fast = {"load_seconds": 0, "teardown_seconds": 0, "decode_tokens_per_second": 2000}
    settings = {f"PENSTOCK_SIM_{name.upper()}": str(value) for name, value in (fast | knobs).items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.engine", "serve", "tiny", "--served-model-name", "tiny", "--host", "127.0.0.1",
        "--port", str(port), "--max-model-len", "2048",
        cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], **settings},
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None, "the engine did not start"
                with contextlib.suppress(ConnectionRefusedError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ask(gateway: Running, path: str, **more: Any) -> Told:
    return told(await gateway.ask(COMMON | BODIES[path] | more, path))


def same(found: Told, expected: Told) -> bool:
    return (
        found.text, found.finishes, found.usages, found.tokens, found.done, found.error, found.roles,
        len(found.identities),
    ) == (
        expected.text, expected.finishes, expected.usages, expected.usages[0][1], 1, None, expected.roles, 1,
    )  # fmt: skip


def is_part(chunk: dict[str, Any]) -> bool:
    """True for a token that is part of a character."""
    return any(
        choice.get("delta", {}).get("content") == "" and "role" not in choice["delta"] and not choice["finish_reason"]
        for choice in chunk["choices"]
    )


async def test_a_stream_that_is_cut_anywhere_has_the_text_and_usage_of_an_undisturbed_run():
    async with simulated() as port:
        one, two = Engine(cut_before(port, 0)), Engine(cut_before(port, 0))
        async with running(one, two) as gateway:
            for path in BODIES:
                expected = await ask(gateway, path)
                total = len(expected.chunks)
                assert any(map(is_part, expected.chunks)) or path == "/v1/completions", (
                    "the answer has a character of several tokens"
                )
                for after in range(1, total + 1):
                    pool = gateway.service.targets["tiny"].pool
                    pool.engines[f"127.0.0.1:{two.port}"].in_flight = 5
                    one.answer, two.answer = cut_before(port, after), cut_before(port, 0)
                    found = await ask(gateway, path)
                    assert same(found, expected), f"{path}, cut after event {after}: {found}"
                    pool.engines[f"127.0.0.1:{two.port}"].in_flight = 0
                    pool.succeeded(pool.engines[f"127.0.0.1:{one.port}"])


@pytest.mark.parametrize("knob", ["crash_after_tokens", "hang_after_tokens", "stream_error_rate"])
async def test_an_engine_dies_under_its_streams_and_each_is_whole(knob: str):
    # The simulator that hangs still answers probes: a stream that came too late for a token waits for its first byte.
    config = make_config(timeouts={"between_bytes_seconds": 0.5, "first_byte_seconds": 3})
    trouble = {knob: 1} if knob == "stream_error_rate" else {knob: 60, "decode_tokens_per_second": 400}
    async with simulated(**trouble) as broken, simulated() as good:
        async with running(good, config=config) as undisturbed:
            expected = {path: await ask(undisturbed, path) for path in BODIES}
        async with running(broken, good, config=config) as gateway:
            asked = [path for path in BODIES for _ in range(5)]
            found = await asyncio.gather(*(ask(gateway, path) for path in asked))
            for path, one in zip(asked, found, strict=True):
                assert same(one, expected[path]), f"{path}: {one}"
            resumed = [line for line in gateway.requests if line.get("resumed")]
            assert resumed, "no stream was on the engine that broke"
            assert max(line["stall_ms"] for line in resumed) < 2000
            assert await gateway.metric('penstock_resumed_streams_total{outcome="resumed"}') == len(resumed)
