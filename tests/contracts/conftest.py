"""For the simulated engine's contract tests: an engine in this process, a small HTTP client, the recordings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.engine.flags import parse
from app.engine.protocol import Connection
from app.engine.routes import dispatch
from app.engine.server import EngineServer
from app.engine.settings import SimulatorSettings
from app.engine.tokens import Tokenizer

HELLO = [{"role": "user", "content": "hello"}]
CONTINUED = [*HELLO, {"role": "assistant", "content": "hello"}]

Json = dict[str, Any]


@dataclass
class EngineReply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    chunks: list[bytes] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Json]:
        """The JSON events of a stream; the frames must be exactly `data: ...` and a blank line, [DONE] the last."""
        frames = self.body.decode().split("\n\n")
        assert frames[-1] == "", "a stream must end with a blank line"
        assert frames[-2] == "data: [DONE]", "a stream must end with [DONE]"
        assert all(frame.startswith("data: ") for frame in frames[:-1])
        return [json.loads(frame[6:]) for frame in frames[:-2]]

    def text(self) -> str:
        return "".join(event["choices"][0]["delta"].get("content", "") for event in self.events() if event["choices"])


@dataclass
class EngineUnderTest:
    """An engine on a port of its own, and requests to it."""

    server: EngineServer
    port: int

    async def open(
        self, method: str, path: str, body: Json | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Sends a request and leaves the connection to the caller."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {path} HTTP/1.1", "host: engine", "connection: close"]
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return reader, writer

    async def call(
        self, method: str, path: str, body: Json | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> EngineReply:
        reader, writer = await self.open(method, path, body, headers)
        try:
            raw = await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
        return parse_reply(raw)

    async def chat(self, **body: Any) -> EngineReply:
        return await self.call("POST", "/v1/chat/completions", {"model": "tiny", "messages": HELLO, **body})

    async def metric(self, line: str) -> float:
        """The value of the series whose line begins so."""
        page = (await self.call("GET", "/metrics")).body.decode()
        (found,) = [row for row in page.splitlines() if row.startswith(line + " ")]
        return float(found.rsplit(" ", 1)[1])


def parse_reply(raw: bytes) -> EngineReply:
    """Splits a reply; the bodies of recordings are not chunked although their header says so."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    reply = EngineReply(int(first.split(" ")[1]), headers, body)
    if ("transfer-encoding", "chunked") in headers and not body.startswith((b"data:", b"event:")):
        rest = body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            reply.chunks.append(rest[:length])
            assert rest[length : length + 2] == b"\r\n", "a chunk must end with CRLF"
            rest = rest[length + 2 :]
        assert reply.chunks.pop() == b"", "the last chunk must be empty"
        reply.body = b"".join(reply.chunks)
    return reply


StartEngine = Callable[..., Awaitable[EngineUnderTest]]


@pytest.fixture
async def start_engine(engine_tokenizer: Tokenizer) -> AsyncIterator[StartEngine]:
    """Starts engines in this process: `await start_engine("--max-num-seqs", "2", decode_tokens_per_second=100)`."""
    started: list[tuple[asyncio.Server, EngineServer]] = []
    loop = asyncio.get_running_loop()

    async def start(*flags: str, **settings: Any) -> EngineUnderTest:
        base = ["./tiny", "--served-model-name", "tiny", "--max-model-len", "2048", "--disable-uvicorn-access-log"]
        quick: Json = {"decode_tokens_per_second": 5000.0, "prefill_tokens_per_second": 1e6, **settings}
        engine = EngineServer(parse([*base, *flags]), SimulatorSettings(**quick), loop, dispatch, engine_tokenizer)
        server = await loop.create_server(lambda: Connection(engine, loop), "127.0.0.1", 0)
        started.append((server, engine))
        return EngineUnderTest(engine, server.sockets[0].getsockname()[1])

    yield start
    for server, engine in started:
        server.close()
        for connection in list(engine.connections):
            connection.abort()
    await asyncio.sleep(0)


@pytest.fixture(scope="session")
def engine_tokenizer() -> Tokenizer:
    """Made once: its vocabulary takes longer than most tests."""
    return Tokenizer()


@pytest.fixture(scope="session")
def engine_recordings() -> Path:
    return Path(__file__).parent / "fixtures" / "vllm-0.32"


@pytest.fixture(scope="session")
def engine_replays() -> dict[str, tuple[str, str, Json | bytes | None]]:
    """Recording -> the request that leads to it: method, path, body. Generations stand first."""
    chat, plain = "/v1/chat/completions", "/v1/completions"
    eight = {"model": "tiny", "max_tokens": 8, "temperature": 0}
    continued = {"continue_final_message": True, "add_generation_prompt": False, "max_tokens": 4}
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    return {
        "chat": ("POST", chat, {**eight, "messages": HELLO}),
        "chat-stream": ("POST", chat, {**eight, "messages": HELLO, "stream": True}),
        "chat-stream-usage": ("POST", chat, {**eight, "messages": HELLO, **usage}),
        "chat-continue-final": ("POST", chat, {**eight, "messages": CONTINUED, **continued}),
        "completion": ("POST", plain, {**eight, "prompt": "hello"}),
        "completion-stream": ("POST", plain, {**eight, "prompt": "hello", "stream": True}),
        "responses": ("POST", "/v1/responses", {"model": "tiny", "input": "hello", "max_output_tokens": 8}),
        "messages-anthropic": ("POST", "/v1/messages", {**eight, "messages": HELLO}),
        "models": ("GET", "/v1/models", None),
        "version": ("GET", "/version", None),
        "health": ("GET", "/health", None),
        "tokenize": ("POST", "/tokenize", {"model": "tiny", "prompt": "hello world"}),
        "embeddings": ("POST", "/v1/embeddings", {"model": "tiny", "input": "hello"}),
        "error-bad-json": ("POST", chat, b'{"model":'),
        "error-bad-temperature": ("POST", chat, {"model": "tiny", "messages": HELLO, "temperature": -3}),
        "error-no-messages": ("POST", chat, {"model": "tiny"}),
        "error-too-long": ("POST", chat, {"model": "tiny", "messages": HELLO, "max_tokens": 999999}),
        "error-unknown-model": ("POST", chat, {"model": "nope", "messages": HELLO}),
    }
