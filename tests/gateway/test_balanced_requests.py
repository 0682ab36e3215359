"""Requests through a gateway whose model has a policy of its own: who gets them, and what the client is told."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from app.gateway.choose import Sighting
from app.gateway.watch import Pod, sighting
from tests.gateway.harness import CHAT, Engine, make_config, running


def model(**rules: Any) -> Any:
    given = make_config().models[0].model_dump() | rules
    return make_config(models=[given])


def chat(text: str, **more: Any) -> dict[str, Any]:
    return CHAT | {"messages": [{"role": "system", "content": text}, {"role": "user", "content": "and?"}]} | more


def counts(*engines: Engine) -> list[int]:
    return [len(engine.requests) for engine in engines]


async def test_round_robin_takes_engines_in_turn():
    async with running(*(three := [Engine() for _ in range(3)]), config=model(balance={"policy": "round-robin"})) as gw:
        for _ in range(9):
            assert (await gw.ask()).status == 200
        assert counts(*three) == [3, 3, 3]


async def test_prompts_that_begin_alike_meet_one_engine_and_others_are_spread():
    config = model(balance={"policy": "prefix", "prefix_bytes": 512})
    async with running(*(four := [Engine() for _ in range(4)]), config=config) as gateway:
        prompt = "You are a patient teacher of physics. " * 20
        for number in range(8):
            await gateway.ask(chat(prompt + str(number)))
        assert sorted(counts(*four)) == [0, 0, 0, 8]
        for number in range(60):
            await gateway.ask(chat(f"{number} {prompt}"))
        assert min(counts(*four)) >= 5
        assert await gateway.metric('penstock_affine_requests_total{model="tiny",place="home"}') == 68
        assert await gateway.metric('penstock_affine_requests_total{model="tiny",place="moved"}') == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "tiny", "prompt": "once upon a time"}),
        ("/v1/embeddings", {"model": "tiny", "input": "once upon a time"}),
        ("/v1/responses", {"model": "tiny", "input": "once upon a time"}),
    ],
)
async def test_every_route_has_a_prefix(path: str, body: dict[str, Any]):
    config = model(balance={"policy": "prefix"})
    async with running(*(three := [Engine() for _ in range(3)]), config=config) as gateway:
        for _ in range(12):
            assert (await gateway.ask(body, path)).status == 200
        assert sorted(counts(*three)) == [0, 0, 12]


async def test_a_session_named_by_a_header_stays_at_one_engine_and_moves_only_when_that_goes():
    config = model(sticky={"source": "header", "name": "x-session-id"})
    async with running(*(three := [Engine() for _ in range(3)]), config=config) as gateway:
        homes: dict[str, Engine] = {}
        for number in range(60):  # ports differ in each run: with 12, one run in forty gave an engine nobody
            for _ in range(3):
                reply = await gateway.ask(x_session_id=f"s{number}")
                assert "set-cookie" not in reply.headers
            homes[f"s{number}"] = next(engine for engine in three if len(engine.requests) == 3)
            assert sum(counts(*three)) == 3
            for engine in three:
                engine.requests.clear()
        assert len({id(engine) for engine in homes.values()}) == 3
        pool = gateway.service.targets["tiny"].pool
        gone = three[0]
        gateway.service.update_engines("tiny", [engine for engine in _sightings(pool) if engine.port != gone.port])
        for name, home in homes.items():
            await gateway.ask(x_session_id=name)
            if home is not gone:
                assert len(home.requests) == 1, "a session whose engine is there has moved"
                home.requests.clear()
            for engine in three:
                engine.requests.clear()


def _sightings(pool: Any) -> list[Any]:
    return [Sighting(e.key, e.name, e.host, e.port, e.zone, e.ready, e.draining) for e in pool.engines.values()]


async def test_a_client_without_the_cookie_is_given_one_that_says_nothing_and_keeps_its_engine_with_it():
    config = model(sticky={"source": "cookie", "name": "lane"})
    async with running(*(three := [Engine() for _ in range(3)]), config=config) as gateway:
        given = [(await gateway.ask()).headers["set-cookie"] for _ in range(2)]
        cookies = []
        for line in given:
            found = re.fullmatch(r"lane=([0-9a-f]{32}); Path=/v1; Max-Age=86400; HttpOnly; SameSite=Lax", line)
            assert found, line
            cookies.append(found[1])
        assert cookies[0] != cookies[1]
        for engine in three:
            engine.requests.clear()
        for _ in range(6):
            reply = await gateway.ask(cookie=f"other=1; lane={cookies[0]}; more=2")
            assert "set-cookie" not in reply.headers
        assert sorted(counts(*three)) == [0, 0, 6]
        assert all("cookie" not in request.headers for engine in three for request in engine.requests)


async def test_any_cookie_of_a_client_is_only_a_name():
    """Whatever is sent chooses an engine of the model by its hash; it cannot name one, nor break anything."""
    config = model(sticky={"source": "cookie", "name": "lane"})
    async with running(*(two := [Engine() for _ in range(2)]), config=config) as gateway:
        for value in ("127.0.0.1:1", "x" * 5000, "%00", "=;=", "lane", ";;"):
            assert (await gateway.ask(cookie=f"lane={value}")).status == 200
        assert sum(counts(*two)) == 6


async def test_without_the_header_the_policy_chooses():
    config = model(sticky={"source": "header", "name": "x-session-id"}, balance={"policy": "round-robin"})
    async with running(*(two := [Engine() for _ in range(2)]), config=config) as gateway:
        for _ in range(4):
            await gateway.ask()
        assert counts(*two) == [2, 2]


@pytest.mark.parametrize(
    ("annotation", "weight"),
    [("5", 5), (None, 1), ("0", 1), ("1001", 1), ("two", 1), ("-3", 1), ("²", 1), ("9" * 400, 1)],
)
def test_a_pods_weight_is_read_from_its_annotation(annotation: str | None, weight: float):
    seen = sighting(_pod(annotation), 8000)
    assert seen is not None
    assert seen.weight == weight


def _pod(annotation: str | None) -> Pod:
    metadata: dict[str, Any] = {"name": "p", "uid": "u"}
    if annotation is not None:
        metadata["annotations"] = {"penstock.dev/weight": annotation}
    return msgspec.convert({"metadata": metadata, "status": {"phase": "Running", "podIP": "10.0.0.1"}}, Pod)
