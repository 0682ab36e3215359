"""What requests leave behind: nothing that waits for the collector of cycles, which comes rarely."""

from __future__ import annotations

import asyncio
import gc

import pytest

from app.gateway import client as upstream
from app.gateway.attempt import Attempt
from app.gateway.exchange import Exchange
from app.gateway.protocol import Connection
from tests.gateway.harness import CHAT, Client, Engine, Request, Running, Wire, event, eventually, running, well

KINDS = (Exchange, Attempt, Connection, upstream.Connection)


async def endless(request: Request, wire: Wire) -> None:
    await wire.begin_stream()
    for _ in range(3):
        await wire.chunk(event("x"))
    await wire.gone()


async def leave(gateway: Running) -> None:
    client = await gateway.connect()
    await client.send(Client.request(CHAT | {"stream": True}))
    await client.head()
    await client.chunk()
    client.close()


async def finish(gateway: Running) -> None:
    client = await gateway.connect()
    await client.send(Client.request(CHAT))
    assert (await client.reply()).status == 200
    client.close()


def alive() -> dict[str, int]:
    found = [type(one) for one in gc.get_objects() if type(one) in KINDS]
    return {kind.__module__: found.count(kind) for kind in KINDS if kind in found}


@pytest.mark.parametrize("kind", ["stream that its client leaves", "answer that its client gets"])
async def test_a_request_that_is_over_is_freed_at_once(kind: str) -> None:
    leaves = kind.startswith("stream")
    async with running(Engine(endless if leaves else well)) as gateway:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await asyncio.gather(*(leave(gateway) if leaves else finish(gateway) for _ in range(10)))
            await eventually(lambda: not gateway.service.exchanges and not gateway.service.state.connections)
            gateway.service.client.close()
            await eventually(lambda: not alive())
        finally:
            gc.enable()
