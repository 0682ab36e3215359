"""What the tests of the cache share: a gateway with a cache, engines, and what is kept in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from app.gateway.cache.store import PREFIX
from app.gateway.config import KeyFile
from app.gateway.keys.ring import KeyRing
from tests.gateway.harness import (
    CHAT,
    DONE,
    KEY,
    Client,
    Engine,
    Reply,
    Request,
    Running,
    Wire,
    chat_reply,
    event,
    eventually,
    make_config,
    running,
    usage_event,
)
from tests.gateway.redis_server import RedisServer

OTHER_KEY = "sk-other-0123456789abcdef"
SURE: dict[str, Any] = CHAT | {"temperature": 0}
STREAM: dict[str, Any] = SURE | {"stream": True}
COUNTED: dict[str, Any] = STREAM | {"stream_options": {"include_usage": True}}


def keys() -> KeyRing:
    """The test's key, and one of another tenant."""
    entries = [
        {"id": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant}
        for name, key, tenant in (("test", KEY, "acme"), ("other", OTHER_KEY, "rival"))
    ]
    return KeyRing(KeyFile.model_validate({"keys": entries}).keys)


async def well(request: Request, wire: Wire) -> None:
    """A new answer each time, streamed as vLLM streams it."""
    Count.answers += 1
    text = f"answer {Count.answers}"
    if not request.body.get("stream"):
        reply = chat_reply()
        reply["choices"][0]["message"]["content"] = text
        await wire.json(200, reply)
        return
    await wire.begin_stream()
    for part in ("", *text):
        await wire.chunk(event(part))
    last = json.loads(event("")[6:])
    last["choices"][0] |= {"delta": {}, "finish_reason": "stop"}
    await wire.chunk(b"data: %b\n\n" % json.dumps(last).encode())
    await wire.chunk(usage_event())
    await wire.chunk(DONE)
    await wire.end_stream()


class Count:
    answers = 0


@contextlib.asynccontextmanager
async def caching(
    server: RedisServer | None, *engines: Engine, cache: dict[str, Any] | None = None, **more: Any
) -> AsyncGenerator[Running]:
    around = {} if server is None else {"cache_address": server.address}
    config = make_config(cache={"enabled": True, "lookup_seconds": 0.3, **(cache or {})}, **more.pop("config", {}))
    async with running(*(engines or (Engine(well),)), config=config, **around, **more) as gateway:
        gateway.service.keys = keys()
        if server is not None:
            await eventually(lambda: ready(gateway))
        yield gateway


def ready(gateway: Running) -> bool:
    store = gateway.service.cache.store if gateway.service.cache is not None else None
    return store is not None and store.link.up and store.room


async def kept(server: RedisServer, count: int = 1) -> list[bytes]:
    def names() -> list[bytes]:
        with server.client() as client:
            return client.keys(PREFIX + b"*")

    await eventually(lambda: len(names()) == count)
    return names()


def text(reply: Reply) -> str:
    if reply.headers["content-type"].startswith("application/json"):
        return reply.json["choices"][0]["message"]["content"]
    parts = [json.loads(one[6:]) for one in reply.events if one != DONE]
    return "".join(part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"])


def slowly(seconds: float, answer: Any = well) -> Any:
    async def later(request: Request, wire: Wire) -> None:
        await asyncio.sleep(seconds)
        await answer(request, wire)

    return later


class Gate:
    """An engine that streams a part, and the rest when it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.left = 0

    async def __call__(self, request: Request, wire: Wire) -> None:
        if not request.body.get("stream"):
            await self.open.wait()
            await well(request, wire)
            return
        await wire.begin_stream()
        for part in ("one ", "two "):
            await wire.chunk(event(part))
        gone = asyncio.ensure_future(wire.gone())
        opened = asyncio.ensure_future(self.open.wait())
        await asyncio.wait((gone, opened), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.left += 1
            opened.cancel()
            return
        gone.cancel()
        for part in ("three",):
            await wire.chunk(event(part))
        last = json.loads(event("")[6:])
        last["choices"][0] |= {"delta": {}, "finish_reason": "stop"}
        await wire.chunk(b"data: %b\n\n" % json.dumps(last).encode())
        await wire.chunk(usage_event())
        await wire.chunk(DONE)
        await wire.end_stream()
        request.headers["served"] = "yes"


async def begun(gateway: Running, body: dict[str, Any], words: bytes = b"two ") -> tuple[Client, dict[str, str], bytes]:
    """A stream of which the first words have come."""
    client = await gateway.connect()
    await client.send(Client.request(body))
    _, headers = await asyncio.wait_for(client.head(), 3)
    seen = b""
    while words not in seen:
        seen += await asyncio.wait_for(client.chunk(), 3)
    return client, headers, seen


async def rest(client: Client, seen: bytes) -> bytes:
    while part := await asyncio.wait_for(client.chunk(), 3):
        seen += part
    return seen
