"""A scripted engine, a gateway in the test's own event loop, and an HTTP client that shows each part as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from app.gateway.config import GatewayConfig, KeyFile
from app.gateway.log import Log
from app.gateway.server import Gateway
from app.gateway.surroundings import Surroundings

KEY = "sk-test-0123456789abcdef"
AUTHORIZATION = f"Bearer {KEY}"
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


def key_file(**keys: str) -> KeyFile:
    """A key file from id=key."""
    entries = [{"id": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in keys.items()]
    return KeyFile.model_validate({"keys": entries})


def make_config(**changes: Any) -> GatewayConfig:
    model = {
        "name": "tiny",
        "aliases": ["small"],
        "selector": "penstock.dev/model=tiny",
        "context_tokens": 2048,
        "max_output_tokens": 512,
        "input_usd_per_million_tokens": 1.0,
        "output_usd_per_million_tokens": 2.0,
    }
    content: dict[str, Any] = {"colour": "blue", "namespace": "penstock", "models": [model], "drain_seconds": 5}
    return GatewayConfig.model_validate(content | changes)


class KeptLog(Log):
    """Keeps the events instead of writing them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def line(self, fields: dict[str, Any]) -> None:
        self.events.append({name: value for name, value in fields.items() if name != "time"})

    def whole(self, line: bytes) -> None:
        self.line(json.loads(line))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]


# -- the engine --


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    raw: bytes
    connection: int

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


Answer = Callable[["Request", "Wire"], Awaitable[None]]


@dataclass
class Wire:
    """What a script writes to."""

    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def json(self, status: int, content: object, **headers: str) -> None:
        await self.raw(status, json.dumps(content).encode(), **headers)

    async def raw(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\nserver: uvicorn\r\ncontent-type: {kind}\r\n{more}"
        await self.send(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    async def begin_stream(self) -> None:
        await self.send(
            b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"vary: Origin\r\ntransfer-encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")

    def cut(self) -> None:
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Waits until the other side has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1024):
                pass


def event(content: str, **more: Any) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "tiny"}
    choices = [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    return b"data: %b\n\n" % json.dumps(chunk | {"choices": choices} | more, separators=(",", ":")).encode()


def usage_event(prompt: int = 17, completion: int = 8) -> bytes:
    usage = {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "tiny", "choices": [], "usage": usage}
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()


DONE = b"data: [DONE]\n\n"
BACKLOG = 2048
"""As uvicorn's, and so vLLM's: a crowd's connections are not left to the kernel's second try."""


def chat_reply(prompt: int = 17, completion: int = 8) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1795247999,
        "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion},
    }


async def well(request: Request, wire: Wire) -> None:
    """Answers as vLLM does: a JSON reply, or a stream with usage where it was asked for."""
    if not request.body.get("stream"):
        await wire.json(200, chat_reply())
        return
    await wire.begin_stream()
    for text in ("", "hel", "lo"):
        await wire.chunk(event(text))
    if (request.body.get("stream_options") or {}).get("include_usage"):
        await wire.chunk(usage_event())
    await wire.chunk(DONE)
    await wire.end_stream()


def fails(status: int, message: str = "boom", kind: str = "InternalServerError") -> Answer:
    async def answer(request: Request, wire: Wire) -> None:
        await wire.json(status, {"error": {"message": message, "type": kind, "param": None, "code": status}})

    return answer


draining = fails(500, "cannot schedule new futures after shutdown")


async def cut_at_once(request: Request, wire: Wire) -> None:
    wire.cut()


async def hang(request: Request, wire: Wire) -> None:
    await wire.gone()


async def healthy(request: Request, wire: Wire) -> None:
    await wire.raw(200, b"")


@dataclass
class Engine:
    answer: Answer = well
    requests: list[Request] = field(default_factory=list)
    health: Answer = healthy
    probes: int = 0
    """Requests of /health, which are not in `requests`."""
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *fields = head.strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in fields)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Request(line.split(" ")[1], headers, body, number)
                if request.path == "/health":
                    self.probes += 1
                    await self.health(request, Wire(writer, reader))
                    continue
                self.requests.append(request)
                await self.answer(request, Wire(writer, reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


# -- the client --


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    parts: list[tuple[float, bytes]]
    """Chunks of the reply with the monotonic time at which each came."""
    whole: bool
    """False when the connection ended before the reply did."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def events(self) -> list[bytes]:
        return [part + b"\n\n" for part in self.body.split(b"\n\n") if part]


class Client:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    @staticmethod
    def request(body: object = CHAT, path: str = "/v1/chat/completions", method: str = "POST", **headers: str) -> bytes:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"host": "gateway", "authorization": AUTHORIZATION, "content_length": str(len(raw))} | headers
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value)
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + raw

    async def head(self) -> tuple[int, dict[str, str]]:
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = text.strip().split("\r\n")
        return int(line.split(" ")[1]), {
            name.lower(): value for name, _, value in (one.partition(": ") for one in fields)
        }

    async def chunk(self) -> bytes:
        """The next chunk of a chunked reply; empty at its end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def reply(self, *, no_body: bool = False) -> Reply:
        status, headers = await self.head()
        parts: list[tuple[float, bytes]] = []
        whole = True
        if no_body:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            try:
                while part := await self.chunk():
                    parts.append((time.monotonic(), part))
            except (asyncio.IncompleteReadError, ConnectionError):
                whole = False
        elif "content-length" in headers:
            parts.append((time.monotonic(), await self.reader.readexactly(int(headers["content-length"]))))
        else:
            parts.append((time.monotonic(), await self.reader.read()))
        return Reply(status, headers, b"".join(part for _, part in parts), parts, whole)

    async def ended(self) -> bool:
        """True when the gateway has closed this connection (waits for it)."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 3) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()


# -- the gateway --


class Running:
    def __init__(self, gateway: Gateway, port: int, log: KeptLog) -> None:
        self.gateway = gateway
        self.service = gateway.service
        self.port = port
        self.log = log
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        client = await Client.connect(self.port)
        self._clients.append(client)
        return client

    async def ask(self, body: object = CHAT, path: str = "/v1/chat/completions", **headers: str) -> Reply:
        client = await self.connect()
        await client.send(Client.request(body, path, **headers))
        return await asyncio.wait_for(client.reply(), 10)

    async def get(self, path: str, **headers: str) -> Reply:
        client = await self.connect()
        await client.send(Client.request(b"", path, "GET", **headers))
        return await asyncio.wait_for(client.reply(), 10)

    async def metric(self, line: str) -> float:
        """A sample's value; 0 where it is absent."""
        for text in (await self.get("/metrics")).body.decode().splitlines():
            if text.startswith(f"{line} "):
                return float(text.rpartition(" ")[2])
        return 0.0

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self.log.of("request")

    async def stop(self) -> None:
        for client in self._clients:
            client.close()
        await self.gateway.stop()


@contextlib.asynccontextmanager
async def running(
    *engines: Engine | int, config: GatewayConfig | None = None, **around: Any
) -> AsyncGenerator[Running]:
    """A gateway before `engines` (an integer is a port where nobody listens)."""
    for engine in engines:
        if isinstance(engine, Engine) and not engine.port:
            await engine.start()
    ports = [engine if isinstance(engine, int) else engine.port for engine in engines]
    log = KeptLog()
    key_path = around.pop("key_file", None)
    surroundings = Surroundings(engines=tuple(("127.0.0.1", port) for port in ports), **around)
    gateway = Gateway(config or make_config(), key_file(test=KEY), surroundings, log, key_path)
    port = await gateway.start("127.0.0.1", 0)
    handle = Running(gateway, port, log)
    try:
        yield handle
    finally:
        await handle.stop()
        for engine in engines:
            if isinstance(engine, Engine):
                await engine.stop()


async def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Waits until the condition holds; fails when it does not in time, which is long: the machine may be busy."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the conditions are plain state, which no event announces
            await asyncio.sleep(0.005)
