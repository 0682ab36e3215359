"""What a request leaves in memory: nothing that only Python's search for cycles would find, as that is made rarely."""

from __future__ import annotations

import gc

import pytest

from tests.gateway.harness import CHAT, Client, Engine, running


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_leaves_no_cycle_behind(stream: bool):
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        request = Client.request(CHAT | {"stream": stream})
        for _ in range(20):  # what is made once is no garbage
            await client.send(request)
            assert (await client.reply()).status == 200
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await client.send(request)
                await client.reply()
            assert gc.collect() < 50  # a cycle for each request would be at least that
        finally:
            gc.enable()
