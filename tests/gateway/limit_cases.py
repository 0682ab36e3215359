"""Gateways with limits, for tests, and what Redis holds of them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator
from typing import Any

from app.gateway.config import KeyFile
from app.gateway.keys.ring import KeyRing
from tests.gateway.harness import (
    KEY,
    Engine,
    Running,
    eventually,
    make_config,
    running,
)
from tests.gateway.redis_server import RedisServer

BATCH_KEY = "sk-batch-0123456789abcdef"


def keys(**fields: Any) -> KeyRing:
    """The test's key with these fields, and a batch key of the same tenant."""
    entries = [
        {"id": "test", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "tenant": "acme", **fields},
        {
            "id": "night",
            "sha256": hashlib.sha256(BATCH_KEY.encode()).hexdigest(),
            "tenant": "acme",
            "priority": "batch",
        },
    ]
    return KeyRing(KeyFile.model_validate({"keys": entries}).keys)


@contextlib.asynccontextmanager
async def limited(
    server: RedisServer | None, *engines: Engine, key: dict[str, Any] | None = None, **config: Any
) -> AsyncGenerator[Running]:
    around = {} if server is None else {"cache_address": server.address, "cache_token": server.token}
    async with running(*(engines or (Engine(),)), config=make_config(**config), **around) as gateway:
        gateway.service.keys = keys(**({} if key is None else {"limits": key}))
        if server is not None:
            await eventually(lambda: connected(gateway))
        yield gateway


def connected(gateway: Running) -> bool:
    link = gateway.service.limiter.link
    return link is not None and link.up


def open_reservations(server: RedisServer, scope: str = "key:test") -> int:
    with server.client() as client:
        return int(client.zcard(f"{{penstock:limits}}:{scope}:open"))


def state(server: RedisServer, scope: str = "key:test") -> dict[str, float]:
    with server.client() as client:
        found: Any = client.hgetall(f"{{penstock:limits}}:{scope}")
    return {name.decode(): float(value) for name, value in found.items()}
