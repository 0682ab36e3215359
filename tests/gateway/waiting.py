"""A gateway with a waiting room, and an engine that answers when it is told to."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from app.gateway.config import GatewayConfig, KeyFile
from tests.gateway.harness import (
    CHAT,
    Client,
    Request,
    Running,
    Wire,
    chat_reply,
    event,
    eventually,
    make_config,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}
KEYS = {"flood": ("one", "interactive"), "quiet": ("two", "interactive"), "night": ("one", "batch")}


def waiting_room(most: int | None = 1, **changes: Any) -> GatewayConfig:
    """At most `most` requests at one engine, and a room before it."""
    rules = {"max_waiting": 50, "max_wait_seconds": 5} | changes.pop("queue", {})
    model = make_config().models[0].model_dump() | {"max_in_flight_per_engine": most, "queue": rules}
    return make_config(models=[model], **({"timeouts": {"idle_connection_seconds": 0.2}} | changes))


def keys() -> KeyFile:
    entries = [
        {"id": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": tenant, "priority": priority}
        for name, (tenant, priority) in KEYS.items()
    ]
    return KeyFile.model_validate({"keys": entries})


class Gate:
    """An engine that answers one request for each `open`."""

    def __init__(self) -> None:
        self._permits = asyncio.Semaphore(0)

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self._permits.release()

    async def __call__(self, request: Request, wire: Wire) -> None:
        await self._permits.acquire()
        if not request.body.get("stream"):
            await wire.json(200, chat_reply())
            return
        await wire.begin_stream()
        await wire.chunk(event("hi"))
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()


async def send(gateway: Running, body: object = CHAT, **headers: str) -> Client:
    client = await gateway.connect()
    await client.send(Client.request(body, **headers))
    return client


def room(gateway: Running) -> Any:
    return gateway.service.targets["tiny"].room


async def waiting(gateway: Running, count: int) -> None:
    await eventually(lambda: len(room(gateway)) == count)


async def reply(client: Client) -> Any:
    return await asyncio.wait_for(client.reply(), 4)
