"""Copies of requests to the other colour: compared, thrown away, and without any effect on the original."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.gateway.choose import Sighting
from app.gateway.shadow.compare import Answer, certain, compared, read_reply, read_stream
from app.gateway.shadow.mirror import Mirror
from tests.gateway.harness import (
    CHAT,
    Client,
    Engine,
    Request,
    Running,
    Wire,
    chat_reply,
    cut_at_once,
    event,
    eventually,
    fails,
    hang,
    make_config,
    running,
    usage_event,
)

SURE: dict[str, Any] = CHAT | {"temperature": 0}
STREAM: dict[str, Any] = SURE | {"stream": True}


def shadowed(**rules: Any) -> Any:
    target = {"model": "tiny", "selector": "penstock.dev/colour=green"}
    return make_config(shadow={"share_percent": 100, "targets": [target], "text": True, **rules})


def of(gateway: Running) -> Mirror:
    assert gateway.service.shadow is not None
    return gateway.service.shadow


@asynccontextmanager
async def mirrored(live: Engine, idle: Engine, **rules: Any) -> AsyncGenerator[Running]:
    await idle.start()
    try:
        async with running(live, config=shadowed(**rules)) as gateway:
            of(gateway).update("tiny", [Sighting("g", "green-1", "127.0.0.1", idle.port, "", True, False)])
            yield gateway
    finally:
        await idle.stop()


async def counts(gateway: Running, model: str = "tiny") -> dict[str, float]:
    found = {}
    for what in ("status", "length", "text"):
        for same in ("true", "false"):
            line = f'penstock_shadow_compared_total{{model="{model}",same="{same}",what="{what}"}}'
            if value := await gateway.metric(line):
                found[f"{what} {same}"] = value
    return found


async def dropped(gateway: Running, reason: str) -> float:
    return await gateway.metric(f'penstock_shadow_dropped_total{{model="tiny",reason="{reason}"}}')


def says(*words: str, usage: int | None = None) -> Any:
    async def answer(request: Request, wire: Wire) -> None:
        if not request.body.get("stream"):
            reply = chat_reply(completion=usage or len(words))
            reply["choices"][0]["message"]["content"] = "".join(words)
            await wire.json(200, reply)
            return
        await wire.begin_stream()
        for word in words:
            await wire.chunk(event(word))
        await wire.chunk(finish_event())
        await wire.chunk(usage_event(completion=usage or len(words)))
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()

    return answer


def finish_event() -> bytes:
    return (
        b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"tiny",'
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    )


@pytest.mark.parametrize("body", [SURE, STREAM], ids=["json", "stream"])
async def test_a_request_is_copied_marked_and_compared(body: dict[str, Any]):
    async with mirrored(live := Engine(says("a", "b")), idle := Engine(says("a", "b"))) as gateway:
        reply = await gateway.ask(body)
        assert reply.status == 200
        await eventually(lambda: idle.requests)
        copy = idle.requests[0]
        assert copy.headers["x-penstock-shadow"] == "copy"
        assert copy.headers["x-request-id"].startswith("shadow-")
        assert "authorization" not in copy.headers
        asked = live.requests[0].body
        asked.get("stream_options", {}).pop("continuous_usage_stats", None)  # a copy is not continued
        assert copy.body == asked, "what guards masked stays masked"
        assert await until(gateway, text_true=1) == {"status true": 1, "length true": 1, "text true": 1}


async def until(gateway: Running, **wanted: float) -> dict[str, float]:
    async with asyncio.timeout(15):
        while True:
            found = await counts(gateway)
            if all(found.get(name.replace("_", " ")) == value for name, value in wanted.items()):
                return found
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("body", [SURE, STREAM], ids=["json", "stream"])
async def test_differences_of_status_length_and_text_are_counted(body: dict[str, Any]):
    async with mirrored(Engine(says("a", "b")), Engine(says("a", "c", "d"))) as gateway:
        await gateway.ask(body)
        assert await until(gateway, status_true=1, text_false=1) == {
            "status true": 1,
            "length false": 1,
            "text false": 1,
        }


@pytest.mark.parametrize("answer", [fails(500), cut_at_once], ids=["error", "cut"])
async def test_a_copy_that_fails_is_told_and_nobody_else_notices(answer: Any):
    async with mirrored(Engine(says("a")), Engine(answer)) as gateway:
        assert (await gateway.ask(SURE)).status == 200
        assert await until(gateway, status_false=1) == {"status false": 1}
        assert (await gateway.ask(SURE)).status == 200


async def test_a_copy_that_hangs_ends_at_its_time_and_holds_nobody_up():
    async with mirrored(Engine(says("a")), Engine(hang), seconds=0.2, most_running=1) as gateway:
        for _ in range(3):
            assert (await gateway.ask(SURE)).status == 200
        assert await until(gateway, status_false=3) == {"status false": 3}
        assert not any(e.in_flight for e in of(gateway).pools["tiny"].engines.values())


async def test_copies_are_neither_billed_nor_counted_nor_logged():
    async with mirrored(Engine(says("a", "b")), idle := Engine(says("a", "b"))) as gateway:
        await gateway.ask(SURE)
        await until(gateway, status_true=1)
        assert await gateway.metric('penstock_requests_total{code="200",model="tiny",stream="false"}') == 1
        assert await gateway.metric('penstock_tokens_total{direction="output",model="tiny"}') == 2
        assert len(gateway.requests) == 1
        assert len(idle.requests) == 1
        assert not gateway.service.exchanges
        assert gateway.service.targets["tiny"].in_flight == 0


@pytest.mark.parametrize(
    ("headers", "rules"),
    [
        ({"x-penstock-shadow": "off"}, {}),
        ({"x-penstock-shadow": "copy"}, {}),
        ({}, {"tenants_left_out": ["default"]}),
    ],
    ids=["the client's wish", "a copy", "a tenant left out"],
)
async def test_what_must_not_be_copied_is_not(headers: dict[str, str], rules: dict[str, Any]):
    async with mirrored(Engine(says("a")), idle := Engine(says("a")), **rules) as gateway:
        assert (await gateway.ask(SURE, **headers)).status == 200
        assert not of(gateway)._running
        assert not idle.requests


async def test_answers_that_are_no_engines_own_are_not_copied():
    async with mirrored(Engine(fails(400)), idle := Engine(says("a"))) as gateway:
        assert (await gateway.ask(SURE)).status == 400
        assert (await gateway.ask({"input": "x", "model": "tiny"}, "/v1/embeddings")).status == 400
        assert not of(gateway)._running
        assert not idle.requests


async def test_a_share_is_copied():
    async with mirrored(Engine(says("a")), idle := Engine(says("a")), share_percent=25) as gateway:
        draws = iter([0.1, 0.3, 0.24, 0.9])
        of(gateway)._draw = lambda: next(draws)
        for _ in range(4):
            await gateway.ask(SURE)
        await until(gateway, status_true=2)
        assert len(idle.requests) == 2


async def test_what_has_no_room_is_dropped_and_counted():
    rules = {"most_running": 1, "most_waiting": 1, "seconds": 30}
    async with mirrored(Engine(says("a")), Engine(hang), **rules) as gateway:
        for _ in range(4):
            assert (await gateway.ask(SURE)).status == 200
        assert await dropped(gateway, "full") == 2
        of(gateway).update("tiny", [])
        assert (await gateway.ask(SURE)).status == 200
        assert await dropped(gateway, "no_engine") == 1


async def test_a_long_request_is_not_copied():
    body = SURE | {"messages": [{"role": "user", "content": "x" * 2000}]}
    async with mirrored(Engine(says("a")), idle := Engine(says("a")), most_bytes=1024) as gateway:
        assert (await gateway.ask(body)).status == 200
        assert await dropped(gateway, "too_long") == 1
        assert not idle.requests


async def test_texts_are_compared_at_temperature_0_alone():
    async with mirrored(Engine(says("a")), Engine(says("b"))) as gateway:
        await gateway.ask(CHAT)
        assert await until(gateway, status_true=1) == {"status true": 1, "length true": 1}


async def test_a_mistake_in_copying_is_logged_and_the_answer_stands(monkeypatch: pytest.MonkeyPatch):
    async with mirrored(Engine(says("a")), Engine(says("a"))) as gateway:
        monkeypatch.setattr(of(gateway), "_copy", None)
        client = await gateway.connect()
        for _ in range(2):
            await client.send(Client.request(SURE))
            assert (await client.reply()).status == 200
        assert len(gateway.log.of("shadow")) == 2


async def test_first_events_are_timed_on_both_sides():
    async with mirrored(Engine(says("a", "b")), Engine(says("a", "b"))) as gateway:
        await gateway.ask(STREAM)
        await until(gateway, status_true=1)
        for of in ("original", "copy"):
            assert await gateway.metric(f'penstock_shadow_ttft_seconds_count{{model="tiny",of="{of}"}}') == 1


def test_a_configuration_names_models_that_there_are():
    target = {"model": "other", "selector": "a=b"}
    with pytest.raises(ValueError, match=r"shadow.targets.0.model: there is no model `other`"):
        make_config(shadow={"share_percent": 1, "targets": [target]})


def test_only_what_is_known_of_both_is_compared():
    assert compared(Answer(200, tokens=3), Answer(0)) == {"status": False}
    assert compared(Answer(200, tokens=3), Answer(200)) == {"status": True}
    assert compared(Answer(200, text="a"), Answer(200, text="b")) == {"status": True, "text": False}


def test_a_stream_that_does_not_end_is_not_whole():
    whole = event("a") + finish_event() + usage_event(completion=1) + b"data: [DONE]\n\n"
    assert read_stream(whole, 1024) == (True, 1, "a")
    assert read_stream(whole[:-20], 1024)[0] is False
    assert read_stream(event("a") + b"data: [DONE]\n\n", 1024)[0] is False
    assert read_reply(b"{") == (False, None, None)


@pytest.mark.parametrize(
    ("body", "sure"),
    [(b'{"temperature":0}', True), (b'{"temperature":0,"n":2}', False), (b"{}", False), (b"[", False)],
)
def test_only_temperature_0_makes_the_same_text_again(body: bytes, sure: bool):
    assert certain(body) is sure
