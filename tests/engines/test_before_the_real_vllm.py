"""The gateway before two real vLLM engines on this machine's CPU: chat, streams, drain, death, metrics.

Run with `make test-vllm`: it installs the CPU build of vLLM (6 GB) and needs 6 GB of memory and several minutes. The
default tests hold the simulated engine to recordings of the same build.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.gateway.server import Gateway
from components.engines import ENGINES
from infra.local import vllm
from infra.ops import scrape
from tests.gateway.harness import CHAT, Client, Reply, Running, running
from tests.gateway.simulators import free_port

pytestmark = pytest.mark.vllm

READY_SECONDS = 400
TOKENS = 48
LETTERS = "agjmpsvyz"
"""The tiny model's tokenizer merges none of these: a text of them is the same tokens however it is cut, so that an
undisturbed run and one that went on elsewhere can be compared byte for byte."""


@dataclass
class Engine:
    port: int
    process: asyncio.subprocess.Process

    async def get(self, path: str) -> bytes:
        def read() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
                return reply.read()

        return await asyncio.to_thread(read)


@contextlib.asynccontextmanager
async def real_engines(count: int, logs: Path) -> AsyncGenerator[list[Engine]]:
    folder = await asyncio.to_thread(vllm.install, print)
    engines: list[Engine] = []
    try:
        for number in range(count):
            port = free_port()
            words = ["serve", "tiny", "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
            words += ["--max-model-len", "2048", "--shutdown-timeout", "30"]
            # Less than half the numbers' length would let two near answers change places between two runs.
            words += ["--dtype", "float32"]
            with (logs / f"engine-{number}.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "infra.local.tether", "--parent", str(os.getpid()), "--"),
                    *(sys.executable, "-m", "infra.local.vllm", str(folder), *words),
                    stdout=log,
                    stderr=log,
                    env={"PATH": os.environ["PATH"], "HOME": str(logs), "PYTHONPATH": str(Path(__file__).parents[2])},
                    start_new_session=True,
                )
            engines.append(Engine(port, process))
        async with asyncio.timeout(READY_SECONDS):
            for engine in engines:
                await _ready(engine, logs)
        yield engines
    finally:
        for engine in engines:
            # vLLM's workers are in its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(engine.process.pid, signal.SIGKILL)
            await engine.process.wait()


async def _ready(engine: Engine, logs: Path) -> None:
    while True:
        try:
            await engine.get("/v1/models")
            return
        except OSError:
            if engine.process.returncode is not None:
                pytest.fail(f"vLLM did not start:\n{await asyncio.to_thread(_last_words, logs)}")
            await asyncio.sleep(0.5)


def _last_words(logs: Path) -> str:
    return "\n".join(path.read_text()[-2000:] for path in sorted(logs.glob("*.log")))


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[list[Engine]]:
    async with real_engines(2, tmp_path) as started:
        yield started


async def letters(engine: Engine) -> list[int]:
    """The ids of LETTERS' tokens."""

    def ask() -> list[int]:
        body = json.dumps({"model": "tiny", "prompt": LETTERS, "add_special_tokens": False}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{engine.port}/tokenize", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - http to our own engine
            return json.load(reply)["tokens"]

    found = await asyncio.to_thread(ask)
    assert len(found) == len(LETTERS), "one token for each letter"
    return found


async def ask(gateway: Running, body: dict[str, Any]) -> Reply:
    """Patiently: a stream of a real engine takes seconds."""
    client = await gateway.connect()
    await client.send(Client.request(body))
    return await asyncio.wait_for(client.reply(), 120)


def chunks(reply: Reply) -> list[dict[str, Any]]:
    lines = [event.removeprefix(b"data: ").strip() for event in reply.events if event.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def text_of(reply: Reply) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks(reply) for choice in chunk["choices"])


def usage_of(reply: Reply) -> int:
    return [chunk["usage"] for chunk in chunks(reply) if chunk.get("usage")][-1]["completion_tokens"]


async def test_a_gateway_serves_drains_and_loses_real_engines(engines: list[Engine]):
    """One test, for the engines take minutes to start: each step leaves them as the next one needs them."""
    first, second = engines
    allowed = await letters(first)
    body: dict[str, Any] = CHAT | {
        "stream": True,
        "temperature": 0,
        "max_tokens": TOKENS,
        "min_tokens": TOKENS,
        "allowed_token_ids": allowed,
        "stream_options": {"include_usage": True},
    }
    async with running(first.port, second.port) as gateway:
        await _answers_like_vllm(gateway)
        undisturbed = await ask(gateway, body)
        assert undisturbed.status == 200
        assert len(text_of(undisturbed)) == TOKENS
        await _metrics_have_the_names_that_we_read(first)
        survivor = await _a_stream_survives_its_engine(gateway, engines, body, text_of(undisturbed))
        await _a_drain_lets_streams_end(gateway, survivor, body)


async def _answers_like_vllm(gateway: Running) -> None:
    reply = await gateway.ask(CHAT | {"max_tokens": 8})
    assert reply.status == 200
    assert reply.json["usage"]["completion_tokens"] == 8
    refused = await gateway.ask(CHAT | {"temperature": -3})
    assert (refused.status, refused.error["param"]) == (400, "temperature")


async def _metrics_have_the_names_that_we_read(engine: Engine) -> None:
    text = (await engine.get("/metrics")).decode()
    figures = scrape.engine(text)
    assert figures.running == 0
    for name in (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:request_success_total",
    ):
        assert f"\n{name}{{" in text, name
    named = ENGINES["vllm"].metrics  # what alarms, dashboard and collector read
    for name in (*named.watched, named.itl):
        assert f"# TYPE {name} " in text, name


async def _a_stream_survives_its_engine(
    gateway: Running, engines: list[Engine], body: dict[str, Any], expected: str
) -> Engine:
    # vLLM puts several tokens into one event where its own server falls behind. How many came, and how many are left,
    # the gateway knows from the usage that it asks for in each event, and keeps from the client.
    longer = body | {"max_tokens": 400, "min_tokens": 400}
    asking = asyncio.ensure_future(ask(gateway, longer))
    whole = await ask(gateway, longer)
    await asking
    assert text_of(whole).startswith(expected), "greedy text does not depend on where it ends"
    assert [bool(chunk["choices"]) for chunk in chunks(whole) if chunk.get("usage")] == [False], "once, at the end"
    long = asyncio.ensure_future(ask(gateway, longer))
    busy = await _serving(gateway, engines)
    os.killpg(busy.process.pid, signal.SIGKILL)
    await busy.process.wait()
    reply = await long
    assert reply.status == 200
    assert b"upstream_interrupted" not in reply.body
    assert len(text_of(reply)) == usage_of(reply) == 400, "each token once, and once only"
    assert text_of(reply) == text_of(whole), "the same text as an undisturbed run"
    assert any(line.get("resumed") for line in gateway.requests), "the engine died inside the stream"
    return next(engine for engine in engines if engine is not busy)


async def _serving(gateway: Running, engines: list[Engine]) -> Engine:
    """The engine whose stream has begun, by the gateway's own books: an engine's metrics take longer than a stream."""
    async with asyncio.timeout(120):
        while not any(one.first_event_at for one in gateway.service.exchanges):  # noqa: ASYNC110 - tokens do not tell
            await asyncio.sleep(0.001)
    busy = {key for key, one in gateway.service.targets["tiny"].pool.engines.items() if one.in_flight}
    (found,) = [engine for engine in engines if f"127.0.0.1:{engine.port}" in busy]
    return found


async def _a_drain_lets_streams_end(gateway: Running, engine: Engine, body: dict[str, Any]) -> None:
    asking = asyncio.ensure_future(ask(gateway, body | {"max_tokens": 500, "min_tokens": 500}))
    await _serving(gateway, [engine])
    engine.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    late = await gateway.ask(CHAT)
    assert late.status in (502, 503), "no other engine is left, and the client is told to come back"
    assert late.headers["retry-after"]
    reply = await asking
    assert reply.status == 200
    assert usage_of(reply) == 500
    assert isinstance(gateway.gateway, Gateway)
