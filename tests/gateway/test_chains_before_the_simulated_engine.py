"""A chain before simulated engines: a model is killed under load, and the one behind it and a provider take over."""

from __future__ import annotations

import asyncio
from typing import Any

from app.gateway.choose import Sighting
from tests.gateway.harness import CHAT, DONE, Reply, Running, make_config, running
from tests.gateway.simulators import simulated_engines

MODEL = {"context_tokens": 2048, "max_output_tokens": 512, "output_usd_per_million_tokens": 2.0}


async def test_a_model_dies_under_load_and_the_smaller_one_then_the_provider_answer_every_request():
    async with simulated_engines(3) as ((one, first), (two, second), (three, _)):
        config = make_config(
            models=[{**MODEL, "name": "tiny", "selector": "a=b"}, {**MODEL, "name": "small", "selector": "a=c"}],
            providers=[{"name": "out", "kind": "compatible", "base_url": f"http://127.0.0.1:{three}/v1"}],
            outside_models=[{**MODEL, "name": "outer", "provider": "out", "upstream": "tiny"}],
            routing={"routes": [{"name": "smart", "to": "tiny", "fallback": ["small", "outer"]}]},
            retries={"attempts": 1},
        )
        async with running(one, config=config) as gateway:
            place = f"127.0.0.1:{two}"
            seen = Sighting(place, place, "127.0.0.1", two, "", ready=True, draining=False)
            gateway.service.update_engines("small", [seen])
            assert {reply.headers["x-penstock-model"] for reply in await load(gateway)} == {"tiny"}
            first.kill()
            await first.wait()
            assert {reply.headers["x-penstock-model"] for reply in await load(gateway)} == {"small"}
            second.kill()
            await second.wait()
            assert {reply.headers["x-penstock-model"] for reply in await load(gateway)} == {"outer"}
            assert await gateway.metric('penstock_circuit_open{model="tiny"}') == 1
            last = gateway.requests[-1]
            assert (last["engine"], last["estimated"], last["output_tokens"]) == ("provider:out", False, 8)


async def load(gateway: Running) -> list[Reply]:
    """Twelve requests at once, half of them streams: each must be whole and have its text."""
    body: dict[str, Any] = CHAT | {"model": "smart", "max_tokens": 8, "ignore_eos": True}
    replies = await asyncio.gather(*(gateway.ask(body | {"stream": bool(n % 2)}) for n in range(12)))
    for number, reply in enumerate(replies):
        assert reply.status == 200
        if number % 2:
            assert reply.events[-1] == DONE
            assert b"upstream_interrupted" not in reply.body
        else:
            assert reply.json["choices"][0]["message"]["content"]
    return replies
