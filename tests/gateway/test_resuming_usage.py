"""What a stream that changes its engine may use, and what it is told to have used."""

from __future__ import annotations

import pytest

from tests.gateway.broken_engines import Model, cut
from tests.gateway.harness import CHAT, Engine, make_config, running
from tests.gateway.resuming_cases import BODIES, CHAT_STREAM, PROMPT_STREAM, TOKENS, ask, check_whole


@pytest.mark.parametrize("limit", [1, 2, 7, 12])
@pytest.mark.parametrize("route", ["chat", "completions"])
async def test_a_limit_holds_over_both_engines(route: str, limit: int):
    model = Model(TOKENS)
    async with running(Engine(model), Engine(model)) as gateway:
        body = BODIES[route] | {"max_tokens": limit}
        expected = await ask(gateway, body)
        for after in range(1, len(model.events(body, 0))):
            model.breaks = [(after, cut)]
            found = await ask(gateway, body)
            assert (found.text, found.finishes) == (expected.text, ["length"])
            assert found.usages == expected.usages == [(model.prompt_tokens, limit)]


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "not asked for"])
@pytest.mark.parametrize("route", ["chat", "completions"])
async def test_usage_is_exact_however_many_tokens_an_event_has(route: str, asked: bool):
    """vLLM puts several tokens into one event where its own server falls behind."""
    model = Model([token.encode() for token in ["one", "two", "three", "four", "five", "six", "seven"]], together=3)
    body = BODIES[route] | ({} if asked else {"stream_options": None})
    async with running(Engine(model), Engine(model)) as gateway:
        finished = len(model.events(BODIES[route], 0)) - 2
        for after in range(1, finished + 1):
            model.breaks = [(after, cut)]
            found = await ask(gateway, body)
            check_whole(found, model, usage=asked)
            assert all("usage" not in chunk for chunk in found.chunks if chunk["choices"]), "nobody asked for that"
            line = gateway.requests[-1]
            assert (line["input_tokens"], line["output_tokens"]) == (model.prompt_tokens, 7)
            assert line["resumed"] == (1 if asked or after < finished else 0), "the last event told it all"
            assert not line["estimated"]


async def test_an_engine_that_does_not_count_has_its_events_counted():
    model = Model(TOKENS, counts=False)
    async with running(Engine(model), Engine(model)) as gateway:
        for after in (1, 4, 9):
            model.breaks = [(after, cut)]
            check_whole(await ask(gateway), model)


async def test_an_engine_that_may_not_know_the_option_is_not_asked_to_count():
    config = make_config()
    plain = config.models[0].model_copy(update={"usage_in_events": False})
    model = Model(TOKENS, breaks=[(4, cut)])
    async with running(Engine(model), Engine(model), config=config.model_copy(update={"models": (plain,)})) as gateway:
        check_whole(await ask(gateway), model)
        assert [body["stream_options"] for body in model.bodies] == [{"include_usage": True}] * 2


async def test_a_limit_is_shared_by_tokens_and_not_by_events():
    model = Model(TOKENS[:9], together=4, breaks=[(2, cut)])
    async with running(Engine(model), Engine(model)) as gateway:
        await ask(gateway, CHAT_STREAM | {"max_tokens": 8})
        assert [body["max_tokens"] for body in model.bodies] == [8, 4]


async def test_what_a_broken_stream_used_is_told_in_tokens_and_not_in_events():
    model = Model(TOKENS[:9], together=4, breaks=[(2, cut)])
    async with running(Engine(model)) as gateway:
        found = await ask(gateway, CHAT_STREAM | {"stream_options": None})
        assert found.error is not None
        assert found.error["usage"] == {"prompt_tokens": 17, "total_tokens": 21, "completion_tokens": 4}
        line = gateway.requests[0]
        assert (line["input_tokens"], line["output_tokens"], line["estimated"]) == (17, 4, False)


async def test_a_client_that_asks_for_usage_in_each_event_gets_it():
    model = Model(TOKENS, breaks=[(5, cut)])
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with running(Engine(model), Engine(model)) as gateway:
        found = await ask(gateway, CHAT_STREAM | {"stream_options": options})
        told = [chunk["usage"]["completion_tokens"] for chunk in found.chunks]
        assert told == [*range(len(TOKENS) + 1), len(TOKENS)]


async def test_a_completion_without_a_limit_keeps_the_engines_default():
    model = Model(TOKENS, breaks=[(6, cut)])
    body = {key: value for key, value in PROMPT_STREAM.items() if key != "max_tokens"}
    async with running(Engine(model), Engine(model)) as gateway:
        assert (await ask(gateway, body)).usages == [(model.prompt_tokens, 16)]


async def test_usage_that_nobody_asked_for_is_accounted_and_not_shown():
    model = Model(TOKENS, breaks=[(9, cut)])
    async with running(Engine(model), Engine(model)) as gateway:
        check_whole(await ask(gateway, CHAT | {"stream": True}), model, usage=False)
        line = gateway.requests[0]
        assert (line["input_tokens"], line["output_tokens"]) == (model.prompt_tokens, len(TOKENS))
