"""What tests of keys share: a key file with an admin, gateways on one database, and admin requests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator
from typing import Any

from app.gateway.config import GatewayConfig, KeyFile
from app.gateway.database.settings import Database
from tests.gateway import harness
from tests.gateway.harness import CHAT, KEY, Client, Engine, Reply, Running, eventually

ADMIN_KEY = "ak-test-0123456789abcdef"
NOBODY = "Bearer pk-nobody"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def file_with_admin(**first: Any) -> KeyFile:
    """The harness's key with these fields, and one admin."""
    return KeyFile.model_validate(
        {
            "keys": [{"id": "test", "sha256": digest(KEY), **first}],
            "admins": [{"id": "ops", "sha256": digest(ADMIN_KEY)}],
        }
    )


@contextlib.asynccontextmanager
async def gateway_on(
    database: Database | None, *, config: GatewayConfig | None = None, wait: bool = True, **first: Any
) -> AsyncGenerator[Running]:
    """A gateway with an engine, whose keys are in `database` and in a file."""
    async with harness.running(Engine(), config=config, keys=database) as gateway:
        file = file_with_admin(**first)
        gateway.service.keys.take_file(file.keys, file.admins)
        if wait and database is not None:
            await eventually(lambda: gateway.service.keys.loaded)
        yield gateway


async def send(gateway: Running, method: str, path: str, body: object = b"", **headers: str) -> Reply:
    client = await gateway.connect()
    await client.send(Client.request(body, path, method, **headers))
    return await asyncio.wait_for(client.reply(), 15)


async def admin(gateway: Running, method: str, path: str, body: object = b"", **headers: str) -> Reply:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"} | headers
    return await send(gateway, method, f"/admin/v1/{path}", body, **headers)


async def make_key(gateway: Running, **fields: Any) -> tuple[str, str]:
    """Id and key."""
    reply = await admin(gateway, "POST", "keys", {"name": "a test"} | fields)
    assert reply.status == 201, reply.body
    return reply.json["id"], reply.json["key"]


async def chat(gateway: Running, key: str, **fields: Any) -> Reply:
    return await gateway.ask(CHAT | fields, authorization=f"Bearer {key}")


async def status_within(gateway: Running, key: str, status: int, seconds: float) -> float:
    """How long it takes until a key is answered so, in seconds; fails when it takes longer."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while (await chat(gateway, key)).status != status:
        assert loop.time() - begun < seconds, f"not {status} within {seconds} s"
        await asyncio.sleep(0.01)
    return loop.time() - begun
