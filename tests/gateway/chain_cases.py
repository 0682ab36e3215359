"""A gateway with two models and a route from one to the other, for tests of chains."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from app.gateway.choose import Sighting
from app.gateway.config import GatewayConfig
from tests.gateway.harness import (
    CHAT,
    Answer,
    Engine,
    Request,
    Running,
    Wire,
    chat_reply,
    make_config,
    running,
    well,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}
SMART = CHAT | {"model": "smart"}
SMART_STREAM = STREAM | {"model": "smart"}
CANNED = {"sorry": "We are busy. Your request for {model} was not answered."}


def model(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "selector": f"model={name}",
        "context_tokens": 2048,
        "max_output_tokens": 512,
        "input_usd_per_million_tokens": 1.0,
        "output_usd_per_million_tokens": 2.0,
        **changes,
    }


def config(
    route: dict[str, Any] | None = None,
    /,
    large: dict[str, Any] | None = None,
    tiny: dict[str, Any] | None = None,
    **more: Any,
) -> GatewayConfig:
    routing = {
        "routes": [{"name": "smart", "to": "tiny", "fallback": ["large"], **(route or {})}],
        "templates": CANNED,
        **more.pop("routing", {}),
    }
    expensive = {"input_usd_per_million_tokens": 10.0, "output_usd_per_million_tokens": 20.0, "context_tokens": 8192}
    models = [model("tiny", aliases=["small"], **(tiny or {})), model("large", **expensive | (large or {}))]
    return make_config(models=models, routing=routing, **more)


@contextlib.asynccontextmanager
async def two(tiny: Answer | None, large: Answer | None, settings: GatewayConfig) -> AsyncGenerator[Two]:
    """A gateway with an engine for each model; None: no engine is ready."""
    one, other = Engine(tiny or well), Engine(large or well)
    await other.start()
    async with running(one, config=settings) as gateway:
        place = f"127.0.0.1:{other.port}"
        seen = [Sighting(place, place, "127.0.0.1", other.port, "", ready=True, draining=False)]
        gateway.service.update_engines("large", [] if large is None else seen)
        if tiny is None:
            gateway.service.update_engines("tiny", [])
        try:
            yield Two(gateway, one, other)
        finally:
            await other.stop()


class Two:
    def __init__(self, gateway: Running, tiny: Engine, large: Engine) -> None:
        self.gateway, self.tiny, self.large = gateway, tiny, large
        self.ask = gateway.ask


def says(content: Any, finish: str | None = "stop") -> Answer:
    async def answer(request: Request, wire: Wire) -> None:
        reply = chat_reply()
        reply["choices"][0]["message"]["content"] = content
        reply["choices"][0]["finish_reason"] = finish
        await wire.json(200, reply)

    return answer


async def begins_and_is_cut(request: Request, wire: Wire) -> None:
    await wire.begin_stream()
    await asyncio.sleep(0.02)
    wire.cut()


class Last:
    """A cache that finds something, nothing, or hangs."""

    def __init__(self, found: bytes | None, *, late: bool = False, never: bool = False) -> None:
        self.answer, self.late, self.never = found, late, never

    def look_up(self, exchange: Any, found: Callable[[bytes | None], None]) -> None:
        if self.late:
            asyncio.get_running_loop().call_later(0.05, found, self.answer)
        elif not self.never:
            found(self.answer)
