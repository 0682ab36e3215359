"""A model fails, and what stands behind it in its chain answers; the client is told which, and why."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.gateway.settings import SettingsError
from tests.gateway.chain_cases import CANNED, SMART, SMART_STREAM, Last, begins_and_is_cut, config, says, two
from tests.gateway.harness import (
    CHAT,
    DONE,
    Answer,
    Client,
    Request,
    Wire,
    chat_reply,
    cut_at_once,
    eventually,
    fails,
    hang,
    running,
    well,
)


@pytest.mark.parametrize(
    ("answer", "reason", "body"),
    [
        (None, "no_engine", SMART),
        (None, "no_engine", SMART_STREAM),
        (fails(500), "status_500", SMART),
        (fails(503), "overloaded", SMART_STREAM),
        (cut_at_once, "connection_lost", SMART),
        (begins_and_is_cut, "connection_lost", SMART_STREAM),
        (hang, "first_byte_timeout", SMART_STREAM),
        (hang, "first_byte_timeout", SMART),
        (says(""), "empty_output", SMART),
        (says("half a", None), "cut_output", SMART),
        (says("no json"), "wrong_format", SMART | {"response_format": {"type": "json_object"}}),
    ],
)
async def test_the_next_model_of_the_chain_answers(answer: Answer | None, reason: str, body: dict[str, Any]):
    settings = config({"first_byte_seconds": 0.2, "answer_seconds": 0.2})
    good = says('{"a": 1}') if "response_format" in body else well
    async with two(answer, good, settings) as both:
        reply = await both.ask(body)
        assert reply.status == 200
        assert reply.headers["x-penstock-model"] == "large"
        assert reply.headers["x-penstock-route"] == "smart; to=tiny; reason=default"
        assert reply.headers["x-penstock-fallback"] == f"model; to=large; after=tiny; reason={reason}"
        assert both.large.requests[0].body["model"] == "large"
        sample = f'penstock_fallbacks_total{{name="smart",reason="{reason}",to="large"}}'
        assert await both.gateway.metric(sample) == 1
        line = both.gateway.requests[0]
        assert (line["model"], line["asked"], line["outcome"]) == ("large", "smart", "ok")
        assert line["cost_usd"] == pytest.approx((17 * 10 + 8 * 20) / 1e6), "at large's prices"
        assert all(target.in_flight == 0 for target in both.gateway.service.targets.values())


async def test_the_responses_route_falls_back_as_well():
    async with two(fails(500), well, config()) as both:
        reply = await both.ask({"model": "smart", "input": "hi"}, "/v1/responses")
        assert (reply.status, reply.headers["x-penstock-model"]) == (200, "large")


async def test_an_error_of_the_client_goes_to_nobody_else_and_trips_no_breaker():
    async with two(fails(400, "bad"), well, config(routing={"breaker": {"least_calls": 1}})) as both:
        for _ in range(5):
            assert (await both.ask(SMART)).status == 400
        assert not both.large.requests
        assert len(both.tiny.requests) == 5
        assert await both.gateway.metric('penstock_circuit_open{model="tiny"}') == 0


async def test_what_does_not_fit_goes_to_a_wider_model_alone():
    too_long = fails(400, "This model's maximum context length is 2048 tokens.", "BadRequestError")
    async with two(too_long, well, config()) as both:
        reply = await both.ask(SMART)
        assert reply.headers["x-penstock-fallback"] == "model; to=large; after=tiny; reason=refused"
    async with two(too_long, well, config(large={"context_tokens": 2048})) as both:
        assert (await both.ask(SMART)).error["code"] == "context_length_exceeded"
        assert not both.large.requests


async def test_a_client_may_refuse_every_fallback():
    settings = config({"canned": "sorry"})
    async with two(fails(500), well, settings) as both:
        reply = await both.ask(SMART, x_penstock_fallback="off")
        assert (reply.status, reply.error["code"]) == (500, "engine_failed")
        assert not both.large.requests
        assert (await both.ask(SMART, x_penstock_fallback="maybe")).error["code"] == "invalid_fallback"


async def test_the_last_error_is_a_status_and_never_a_200_when_all_models_fail():
    async with two(fails(500), cut_at_once, config()) as both:
        reply = await both.ask(SMART)
        assert (reply.status, reply.error["code"]) == (502, "engine_failed")
        assert reply.headers["x-penstock-fallback"].startswith("model; to=large")


async def test_a_bad_answer_is_passed_on_where_nothing_better_comes_and_is_counted():
    async with two(says(""), fails(500), config()) as both:
        reply = await both.ask(SMART)
        assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, "")
        assert reply.headers["x-penstock-model"] == "tiny"
        assert reply.headers["x-penstock-fallback"] == "model; to=tiny; after=large; reason=nothing_better"
        assert both.gateway.requests[0]["cost_usd"] == pytest.approx((17 + 8 * 2) / 1e6), (
            "at the price of what answered"
        )
        assert await both.gateway.metric('penstock_discarded_cost_usd_total{model="tiny"}') == 0
        assert await both.gateway.metric('penstock_discarded_answers_total{model="tiny",reason="empty_output"}') == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_at_the_end_of_a_chain_stands_a_canned_answer_that_costs_nothing(stream: bool):
    async with two(fails(500), None, config({"canned": "sorry"})) as both:
        reply = await both.ask(SMART | {"stream": stream})
        text = CANNED["sorry"].replace("{model}", "smart")
        assert reply.status == 200
        assert reply.headers["x-penstock-fallback"] == "canned; to=canned; after=tiny; reason=status_500"
        assert reply.headers["x-penstock-model"] == "none"
        if stream:
            chunks = [json.loads(part[6:]) for part in reply.events if part != DONE]
            assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == text
            assert reply.events[-1] == DONE
        else:
            assert reply.json["choices"][0]["message"]["content"] == text
            assert reply.json["usage"]["total_tokens"] == 0
        line = both.gateway.requests[0]
        assert (line["model"], line["cost_usd"], line["status"]) == ("none", 0, 200)


async def test_the_knowledge_file_answers_before_the_canned_text(tmp_path: Path):
    path = tmp_path / "knowledge.json"
    path.write_text(json.dumps({"entries": [{"phrases": ["hello"], "answer": "Hello from the file."}]}))
    settings = config({"canned": "sorry", "knowledge": True}, routing={"knowledge_file": str(path)})
    async with two(None, None, settings) as both:
        reply = await both.ask(SMART)
        assert reply.json["choices"][0]["message"]["content"] == "Hello from the file."
        assert reply.headers["x-penstock-fallback"].startswith("knowledge;")
        other = await both.ask(SMART | {"messages": [{"role": "user", "content": "unheard of"}]})
        assert other.headers["x-penstock-fallback"].startswith("canned;")


@pytest.mark.parametrize("late", [False, True])
async def test_a_kept_answer_stands_before_the_canned_one(late: bool):
    async with two(None, None, config({"cached": True, "canned": "sorry"})) as both:
        both.gateway.service.last_answers = Last(json.dumps(chat_reply()).encode(), late=late)
        reply = await both.ask(SMART_STREAM)
        assert reply.headers["x-penstock-fallback"].startswith("cache; to=cache; after=tiny; reason=no_engine")
        assert b'"content":"hi"' in reply.body
        both.gateway.service.last_answers = Last(None, late=late)
        assert (await both.ask(SMART)).headers["x-penstock-fallback"].startswith("canned;")


async def test_a_cache_that_hangs_holds_nobody_up():
    async with two(None, None, config({"cached": True})) as both:
        both.gateway.service.last_answers = Last(None, never=True)
        reply = await both.ask(SMART)
        assert (reply.status, reply.error["code"]) == (503, "no_engine")


async def test_what_a_discarded_answer_cost_is_known_and_charged_to_nobody():
    async with two(says(""), well, config()) as both:
        assert (await both.ask(SMART)).headers["x-penstock-model"] == "large"
        assert await both.gateway.metric('penstock_discarded_cost_usd_total{model="tiny"}') == pytest.approx(33e-6)
        assert both.gateway.requests[0]["cost_usd"] == pytest.approx(33e-5)


async def test_a_stream_that_has_begun_does_not_change_its_model():
    async def half(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
        await asyncio.sleep(0.02)
        wire.cut()

    async with two(half, well, config(resume={"enabled": False})) as both:
        reply = await both.ask(SMART_STREAM)
        assert b"upstream_interrupted" in reply.body
        assert not both.large.requests


async def test_a_model_whose_breaker_is_open_is_passed_over_until_it_answers_again():
    breaker = {"least_calls": 2, "open_seconds": 0.2, "probes": 1}
    async with two(fails(500), well, config(routing={"breaker": breaker})) as both:
        for _ in range(4):
            assert (await both.ask(SMART)).status == 200
        assert len(both.tiny.requests) == 2
        assert await both.gateway.metric('penstock_circuit_open{model="tiny"}') == 1
        last = await both.ask(SMART)
        assert last.headers["x-penstock-fallback"] == "model; to=large; after=tiny; reason=circuit_open"
        both.tiny.answer = well
        await asyncio.sleep(0.25)
        assert (await both.ask(SMART)).headers["x-penstock-model"] == "tiny"
        assert (await both.ask(SMART)).headers["x-penstock-model"] == "tiny"


async def test_an_open_breaker_alone_never_makes_an_error():
    async with two(fails(500), None, config(routing={"breaker": {"least_calls": 1}})) as both:
        assert (await both.ask(SMART)).status == 500
        both.tiny.answer = well
        assert (await both.ask(SMART)).status == 200, "nothing else is there: it is asked"


async def test_long_generations_and_clients_that_leave_open_no_breaker():
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.15)
        await well(request, wire)

    settings = config(routing={"breaker": {"least_calls": 1, "slow_seconds": 0.05, "slow_share": 0.1}})
    async with two(slow, well, settings) as both:
        assert (await both.ask(SMART)).headers["x-penstock-model"] == "tiny"
        client = await both.gateway.connect()
        await client.send(Client.request(SMART_STREAM))
        await eventually(lambda: len(both.tiny.requests) == 2)
        client.close()
        await eventually(lambda: len(both.gateway.requests) == 2)
        assert await both.gateway.metric('penstock_circuit_open{model="tiny"}') == 0
        assert (await both.ask(SMART_STREAM)).status == 200
        assert await both.gateway.metric('penstock_circuit_open{model="tiny"}') == 1, (
            "a stream that begins late is slow"
        )


async def test_a_route_of_a_models_own_name_holds_for_its_aliases_and_keeps_its_engines_names():
    settings = config({"name": "tiny"})
    async with two(well, well, settings) as both:
        await both.ask(CHAT)
        await both.ask(CHAT | {"model": "small"})
        assert [request.body["model"] for request in both.tiny.requests] == ["tiny", "small"]
        assert both.tiny.requests[0].raw.count(b'"model"') == 1, "nothing is spliced in where nothing changes"
        both.tiny.answer = fails(500)
        reply = await both.ask(CHAT | {"model": "small"})
        assert reply.headers["x-penstock-model"] == "large"


async def test_a_gateway_is_ready_without_engines_where_its_route_has_another_way():
    async with two(None, well, config({"name": "tiny", "canned": "sorry"})) as both:
        assert (await both.gateway.get("/readyz")).status == 200
        both.gateway.service.update_engines("large", [])
        assert (await both.gateway.get("/readyz")).status == 503, "large has no route of its own"


async def test_tasks_come_by_header_and_the_models_list_has_the_route():
    settings = config({"tasks": [{"name": "code", "to": "large", "words": ["python"]}]})
    async with two(well, well, settings) as both:
        assert (await both.ask(SMART, x_penstock_task="code")).headers["x-penstock-model"] == "large"
        assert (await both.ask(SMART)).headers["x-penstock-model"] == "tiny"
        names = [
            entry["id"]
            for entry in (await both.gateway.get("/v1/models", authorization="Bearer sk-test-0123456789abcdef")).json[
                "data"
            ]
        ]
        assert names == ["tiny", "small", "large", "smart"]


async def test_one_model_that_hangs_holds_up_no_other():
    async with two(hang, well, config()) as both:
        waiting = await both.gateway.connect()
        await waiting.send(Client.request(SMART_STREAM))
        await eventually(lambda: len(both.tiny.requests) == 1)
        assert (await both.ask(CHAT | {"model": "large"})).status == 200


async def test_metrics_have_no_label_that_a_client_chose():
    async with two(well, well, config({"tasks": [{"name": "code", "to": "large"}]})) as both:
        for n in range(5):
            await both.ask(SMART, x_penstock_task=f"scan-{n}")
            await both.ask(CHAT | {"model": f"scan-{n}"})
        assert b"scan-" not in (await both.gateway.get("/metrics")).body


@pytest.mark.parametrize(
    ("route", "routing", "said"),
    [
        ({"rules": [{"template": "sorry", "pattern": "(a"}]}, {}, "smart.rules.0.pattern"),
        (
            {"knowledge": True},
            {"knowledge_file": "/nowhere/at-all.json"},
            "routing.knowledge_file: /nowhere/at-all.json",
        ),
    ],
)
async def test_a_pattern_or_file_that_cannot_be_used_ends_the_start_with_a_sentence(
    route: dict[str, Any], routing: dict[str, Any], said: str
):
    with pytest.raises(SettingsError, match=said):
        async with running(config=config(route, routing=routing)):
            pass
