"""A mistake of the gateway's own, in whatever stage: the client is told, nothing hangs, the next request goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from app.gateway import engines, exchange, stages
from app.gateway.arrival import Arrival
from app.gateway.attempt import Attempt
from app.gateway.exchange import Exchange
from app.gateway.keys.ring import KeyRing
from tests.gateway.harness import CHAT, Client, Engine, Running, event, eventually, hang, make_config, running

SECRET = "what the client asked"


def fails(*_: Any, **__: Any) -> Any:
    raise KeyError(SECRET)


STAGES: dict[str, tuple[Any, str]] = {
    "reading the headers": (KeyRing, "authenticate"),
    "the turn": (Arrival, "_begin_turn"),
    "admission": (stages, "admit"),
    "limits": (stages.Stages, "_limit"),
    "the cache": (stages.Stages, "_look"),
    "placing": (stages.placing, "place"),
    "an attempt": (engines.AtEngines, "try_engine"),
    "the engine's head": (Attempt, "upstream_head"),
    "the engine's bytes": (Attempt, "upstream_data"),
    "the engine's end": (Attempt, "upstream_end"),
    "accounting": (Exchange, "_account"),
    "the ledger's row": (Exchange, "_settle"),
    "the reply": (Exchange, "_head"),
}


async def ask(gateway: Running) -> Any:
    client = await gateway.connect()
    await client.send(Client.request(CHAT))
    return await asyncio.wait_for(client.reply(), 10)


@pytest.mark.parametrize("stage", STAGES)
async def test_a_stage_that_fails_is_a_500_with_a_request_id(stage: str, monkeypatch: pytest.MonkeyPatch):
    async with running(Engine()) as gateway:
        with monkeypatch.context() as patch:
            patch.setattr(*STAGES[stage], fails)
            reply = await ask(gateway)
        if stage != "the ledger's row":  # by then the client has its answer
            assert (reply.status, reply.error["code"]) == (500, "internal_error")
        assert reply.headers["x-request-id"].startswith("req-")
        fault = next(line for line in gateway.log.events if line["event"] == "fault")
        assert (fault["request_id"], fault["error"]) == (reply.headers["x-request-id"], "KeyError")
        assert fault["where"][-1].endswith("fails")
        assert SECRET not in json.dumps(gateway.log.events)
        assert not gateway.service.exchanges
        assert (await ask(gateway)).status == 200


async def test_a_kept_connection_goes_on_after_a_fault(monkeypatch: pytest.MonkeyPatch):
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        with monkeypatch.context() as patch:
            patch.setattr(stages, "admit", fails)
            await client.send(Client.request(CHAT))
            assert (await asyncio.wait_for(client.reply(), 10)).status == 500
        await client.send(Client.request(CHAT))
        assert (await asyncio.wait_for(client.reply(), 10)).status == 200


async def test_a_stream_that_a_fault_cuts_ends_with_an_event(monkeypatch: pytest.MonkeyPatch):
    async def answer(_: Any, wire: Any) -> None:
        await wire.begin_stream()
        await wire.chunk(event("hi"))
        await eventually(lambda: any(one.first_event_at for one in gateway.service.exchanges))
        monkeypatch.setattr(Attempt, "_relay_events", fails)
        await wire.chunk(event("there"))
        await asyncio.sleep(10)

    async with running(engine := Engine(answer)) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(CHAT | {"stream": True}))
        reply = await asyncio.wait_for(client.reply(), 10)
        assert reply.status == 200
        assert b'"internal_error"' in reply.body
        assert b"[DONE]" not in reply.body
        assert len(engine.requests) == 1


async def test_one_fault_in_the_sweep_does_not_keep_others_from_their_end(monkeypatch: pytest.MonkeyPatch):
    real: Callable[..., bool] = exchange.placing.expired
    seen: list[Exchange] = []

    def fails_once(one: Exchange, now: float) -> bool:
        seen.append(one)
        return fails() if len(seen) == 1 else real(one, now)

    monkeypatch.setattr(exchange.placing, "expired", fails_once)
    config = make_config(timeouts={"total_seconds": 0.3, "first_byte_seconds": 0.3}, retries={"attempts": 1})
    async with running(Engine(hang), config=config) as gateway:
        replies = await asyncio.gather(ask(gateway), ask(gateway))
        assert sorted(reply.status for reply in replies) == [500, 504]
