"""Limits, ceilings and prices where more than one model may answer: each model's own count for it alone."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from app.gateway.config import KeyFile
from tests.gateway.chain_cases import SMART, config, two
from tests.gateway.harness import (
    CHAT,
    KEY,
    eventually,
    fails,
    well,
)


async def test_a_request_is_held_to_the_ceiling_of_the_model_that_answers():
    settings = config(large={"max_output_tokens": 100})
    async with two(fails(500), well, settings) as both:
        await both.ask(SMART | {"max_tokens": 400})
        await both.ask(SMART | {"max_completion_tokens": 400})
        await both.ask(SMART)
        asked = [request.body for request in both.large.requests]
        assert [body["max_tokens"] for body in asked] == [100, 100, 100]
        assert asked[1]["max_completion_tokens"] == 100
        assert (await both.ask(SMART | {"max_tokens": 513})).status == 400, "no model of the route has so many"


async def test_rules_answer_without_a_model_and_limits_still_count():
    route = {"rules": [{"template": "hello", "pattern": "(?i)hello|hi"}]}
    settings = config(
        route, routing={"templates": {"hello": "Hello. Ask me anything."}}, limits={"requests_per_minute": 1}
    )
    async with two(well, well, settings) as both:
        begun = time.perf_counter()
        reply = await both.ask(SMART)
        assert time.perf_counter() - begun < 0.5
        assert reply.json["choices"][0]["message"]["content"] == "Hello. Ask me anything."
        assert reply.headers["x-penstock-route"] == "smart; to=none; reason=template; hello"
        assert not both.tiny.requests
        assert (await both.ask(SMART)).status == 429
        sample = 'penstock_routed_requests_total{name="smart",reason="template",to="none"}'
        assert await both.gateway.metric(sample) == 2


async def test_the_ceiling_of_cost_holds_for_plain_models_as_well():
    async with two(well, well, config()) as both:
        cheap = CHAT | {"max_tokens": 10}
        assert (await both.ask(cheap, x_penstock_max_cost_usd="0.01")).status == 200
        reply = await both.ask(cheap, x_penstock_max_cost_usd="0.000001")
        assert (reply.status, reply.error["code"]) == (400, "cost_ceiling_exceeded")
        assert (await both.ask(cheap, x_penstock_max_cost_usd="cheap")).error["code"] == "invalid_max_cost"
        assert len(both.tiny.requests) == 1


async def test_the_own_limits_of_each_model_of_a_chain_count_for_it_alone():
    one = {"requests_per_minute": 1, "burst_requests": 1}
    async with two(fails(500), well, config(large={"limits": one}, limits={"requests_per_minute": 600})) as found:
        first = await found.gateway.ask(SMART)
        assert (first.status, first.headers["x-penstock-model"]) == (200, "large")
        second = await found.gateway.ask(SMART)
        assert second.status == 429, "the model that it falls back to has no room for it"
        assert second.headers["x-penstock-limit"] == "model.requests_per_minute"
        assert "model `large`" in second.error["message"]
        assert int(second.headers["retry-after"]) > 0
        found.tiny.answer = well
        assert (await found.gateway.ask(SMART)).status == 200, "the first model's limits are its own"
        assert not found.gateway.service.limiter.held


async def test_a_model_whose_own_limits_are_reached_is_passed_over_in_a_chain():
    one = {"requests_per_minute": 1, "burst_requests": 1}
    async with two(well, well, config(tiny={"limits": one})) as found:
        replies = [await found.gateway.ask(SMART) for _ in range(2)]
        assert [reply.headers["x-penstock-model"] for reply in replies] == ["tiny", "large"]
        assert replies[1].headers["x-penstock-fallback"] == "model; to=large; after=tiny; reason=limit"
        breaker = found.gateway.service.router.breakers["tiny"]
        assert breaker.allows(time.monotonic()), "a limit says nothing against a model's health"


async def test_tokens_are_charged_to_the_limits_of_the_model_that_answered():
    tokens = {"tokens_per_minute": 100_000}
    async with two(fails(500), well, config(tiny={"limits": tokens}, large={"limits": tokens})) as found:
        assert (await found.gateway.ask(SMART)).status == 200
        states = found.gateway.service.limiter.book._states
        await eventually(lambda: not any(state.open for state in states.values()))
        used = 25 * 60_000_000 / 100_000  # microseconds until 25 tokens are free again
        begun = states["model:tiny"].free_at["t"]
        assert used * 0.9 < states["model:large"].free_at["t"] - begun < used + 2_000_000


def key_with(**fields: Any) -> KeyFile:
    return KeyFile.model_validate(
        {"keys": [{"id": "test", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), **fields}]}
    )


async def test_a_keys_ceiling_of_cost_holds_and_a_header_can_only_lower_it():
    async with two(well, well, config()) as both:
        file = key_with(max_usd_per_request=0.0001)
        both.gateway.service.keys.take_file(file.keys, file.admins)
        cheap = SMART | {"max_tokens": 10}
        assert (await both.ask(cheap)).status == 200
        assert (await both.ask(cheap, x_penstock_max_cost_usd="1000")).headers["x-penstock-model"] == "tiny"
        for body in (SMART, CHAT):
            assert (await both.ask(body | {"max_tokens": 400})).error["code"] == "cost_ceiling_exceeded"
        assert len(both.tiny.requests) == 2


async def test_a_keys_ceiling_on_a_model_holds_where_a_route_leads_to_it():
    async with two(fails(500), well, config()) as both:
        file = key_with(max_output_tokens_by_model={"large": 4})
        both.gateway.service.keys.take_file(file.keys, file.admins)
        assert (await both.ask(SMART | {"max_tokens": 9})).headers["x-penstock-model"] == "large"
        assert both.tiny.requests[0].body["max_tokens"] == 9
        assert both.large.requests[0].body["max_tokens"] == 4
