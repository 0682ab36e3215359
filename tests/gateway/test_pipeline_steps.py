"""Each step of a pipeline by itself: its span, its place under the limits, its bill, and what the cache keeps of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.gateway.config import KeyFile, Limits
from app.gateway.database.settings import Database
from app.gateway.ledger.settings import LedgerSettings
from app.jobs import ticket
from tests.gateway.cache_cases import kept, ready
from tests.gateway.harness import KEY, Engine, Request, Wire, eventually, fails, key_file, running
from tests.gateway.pipeline_cases import Scripted, chat, model, pipeline, with_pipelines
from tests.gateway.real_postgres import rows
from tests.gateway.redis_server import RedisServer
from tests.gateway.trace_collector import Collector, fields

TWO = pipeline({"kind": "text", "name": "say", "text": "Say {{input}}"}, model("draft"), model("final"))
SECRET = b"a-secret-of-the-tests-alone"


async def spans_of(collector: Collector, count: int) -> dict[str, Span]:
    await eventually(lambda: len(collector.spans) >= count)
    await asyncio.sleep(0)
    assert len(collector.spans) == count
    return {span.span_id.hex(): span for span in collector.spans}


def ancestors(found: dict[str, Span], span: Span) -> list[str]:
    names = []
    while (above := found.get(span.parent_span_id.hex())) is not None:
        names.append(above.name)
        span = above
    return names


async def test_each_step_is_a_span_below_the_request_and_its_model_s_spans_are_below_it():
    collector = Collector()
    await collector.start()
    traces = {"endpoint": collector.url, "ratio": 1.0, "export_seconds": 0.02}
    try:
        async with running(
            engine := Engine(Scripted("yes")), config=with_pipelines(TWO, around={"traces": traces})
        ) as gateway:
            answer = await gateway.ask(chat(), x_request_id="mine")
            # The request and its three steps; for each model a request at this gateway, and one at the engine.
            found = await spans_of(collector, 8)
    finally:
        await collector.stop()
    assert len({span.trace_id for span in found.values()}) == 1
    steps = [span for span in found.values() if span.name.startswith("step ")]
    assert [span.name for span in sorted(steps, key=lambda one: one.start_time_unix_nano)] == [
        "step say", "step draft", "step final",
    ]  # fmt: skip
    for step in steps:
        told = fields(step.attributes)
        assert ancestors(found, step) == ["chat answer"]
        assert (told["penstock.pipeline"], told["penstock.outcome"]) == ("answer", "ok")
        assert told["penstock.request_id"] == "mine"
        assert told.get("penstock.tokens") == (None if step.name == "step say" else 15)
        assert step.start_time_unix_nano <= step.end_time_unix_nano
    asked = [span for span in found.values() if span.kind == Span.SPAN_KIND_CLIENT]
    assert sorted(ancestors(found, span) for span in asked) == [
        ["chat tiny", "step draft", "chat answer"],
        ["chat tiny", "step final", "chat answer"],
    ]
    assert {one.headers["traceparent"].split("-")[1] for one in engine.requests} == {
        answer.headers["x-penstock-trace"].split("-")[0]
    }


async def test_the_span_of_a_step_that_fails_says_why_though_the_request_was_not_chosen():
    collector = Collector()
    await collector.start()
    traces = {"endpoint": collector.url, "ratio": 0.0, "export_seconds": 0.02, "errors": True}
    try:
        config = with_pipelines(pipeline(model("draft")), around={"traces": traces})
        async with running(Engine(fails(500)), config=config) as gateway:
            assert (await gateway.ask(chat())).status == 500
            await eventually(lambda: [one for one in collector.spans if one.name == "step draft"])
    finally:
        await collector.stop()
    (step,) = (one for one in collector.spans if one.name == "step draft")
    assert step.status.code == Status.STATUS_CODE_ERROR
    assert fields(step.attributes)["penstock.outcome"] not in ("ok", "")


async def test_a_step_that_may_be_cached_is_asked_of_the_engine_once_and_the_other_each_time(redis: RedisServer):
    script = Scripted("a draft")
    steps = pipeline(model("draft", cached=True), model("final", cached=False, temperature=0.9))
    config = with_pipelines(steps, around={"cache": {"enabled": True, "lookup_seconds": 0.3}})
    async with running(Engine(script), config=config, cache_address=redis.address) as gateway:
        await eventually(lambda: ready(gateway))
        first = await gateway.ask(chat())
        await kept(redis)
        second = await gateway.ask(chat())
        asked = len(script.asked)
        other = await gateway.ask(chat("another question"))
    assert first.status == second.status == other.status == 200
    assert first.json["choices"] == second.json["choices"]
    assert asked == 3, "the draft once, the final twice"
    assert len(script.asked) == 5, "another question is another draft"
    by_step = {(one.get("step"), one.get("cache")) for one in gateway.requests}
    assert {("draft", "miss"), ("draft", "hit")} <= by_step
    assert not [one for one in gateway.requests if one.get("step") == "final" and one.get("cache") == "hit"]


async def test_each_step_has_a_row_of_its_own_and_the_run_one_that_costs_nothing(
    empty_database: Database, tmp_path: Path
):
    ledger = LedgerSettings(empty_database, tmp_path, 1_000_000)
    async with running(Engine(Scripted("yes")), config=with_pipelines(TWO), ledger=ledger) as gateway:
        await gateway.ask(chat(), x_request_id="mine", x_penstock_feature="search")
    found = {one["step"]: one for one in await rows(empty_database)}
    assert set(found) == {"draft", "final", None}, "a text costs nothing and has no row"
    assert {one["pipeline"] for one in found.values()} == {"answer"}
    assert {(one["request_id"], one["tenant"], one["key_id"], one["feature"]) for one in found.values()} == {
        ("mine", "default", "test", "search")
    }
    for step in ("draft", "final"):
        row = found[step]
        assert (row["model"], row["input_tokens"], row["output_tokens"]) == ("tiny", 10, 5)
        assert float(row["cost_usd"]) == pytest.approx(10e-6 + 5 * 2e-6)
    whole = found[None]
    assert (whole["model"], whole["input_tokens"], whole["output_tokens"]) == ("answer", 0, 0)
    assert whole["cost_usd"] == 0


async def test_a_job_that_runs_twice_is_billed_once_for_each_step(empty_database: Database, tmp_path: Path):
    """Its first answer was lost with its worker, so a second worker asks again."""
    ledger = LedgerSettings(empty_database, tmp_path, 1_000_000)
    script = Scripted("yes")
    async with running(Engine(script), config=with_pipelines(TWO), ledger=ledger) as gateway:
        keys = gateway.service.keys
        keys.tickets = ticket.Tickets(SECRET, keys)
        sent = time.time()
        for row, attempt in (("a" * 32, 1), ("a" * 32, 2), ("b" * 32, 1)):
            answer = await gateway.ask(
                chat(),
                authorization=f"Bearer {ticket.issue(SECRET, 'test', time.time())}",
                x_request_id=ticket.request_id(row, sent, attempt),
            )
            assert answer.status == 200
    assert len(script.asked) == 6
    found = await rows(empty_database, "step, count(*) AS bills, sum(cost_usd) AS cost", "GROUP BY 1")
    assert {one["step"]: one["bills"] for one in found} == {"draft": 2, "final": 2, None: 2}
    assert sum(float(one["cost"]) for one in found) == pytest.approx(4 * 20e-6)


async def test_a_model_that_a_job_asks_again_is_billed_for_each_answer(empty_database: Database, tmp_path: Path):
    check = {"kind": "validate", "name": "check", "of": "ask", "pattern": "[0-9]+", "retries": 2}
    ledger = LedgerSettings(empty_database, tmp_path, 1_000_000)
    config = with_pipelines(pipeline(model(), check))
    async with running(Engine(Scripted("words", "more words", "42")), config=config, ledger=ledger) as gateway:
        keys = gateway.service.keys
        keys.tickets = ticket.Tickets(SECRET, keys)
        answer = await gateway.ask(
            chat(),
            authorization=f"Bearer {ticket.issue(SECRET, 'test', time.time())}",
            x_request_id=ticket.request_id("a" * 32, time.time(), 1),
        )
    assert answer.json["choices"][0]["message"]["content"] == "42"
    found = await rows(empty_database, "step, count(*) AS bills", "WHERE cost_usd > 0 GROUP BY 1")
    assert sum(one["bills"] for one in found) == 3


async def test_a_job_whose_first_run_broke_off_is_billed_for_each_step_that_answered_and_for_that_once(
    empty_database: Database, tmp_path: Path
):
    ledger = LedgerSettings(empty_database, tmp_path, 1_000_000)
    script, broken = Scripted("yes"), [2]

    async def breaks(request: Request, wire: Wire) -> None:
        broken[0] -= 1
        await (fails(400, "no", "BadRequestError") if broken[0] == 0 else script)(request, wire)

    async with running(Engine(breaks), config=with_pipelines(TWO), ledger=ledger) as gateway:
        keys = gateway.service.keys
        keys.tickets = ticket.Tickets(SECRET, keys)
        sent, seen = time.time(), []
        for attempt in (1, 2):
            answer = await gateway.ask(
                chat(),
                authorization=f"Bearer {ticket.issue(SECRET, 'test', time.time())}",
                x_request_id=ticket.request_id("a" * 32, sent, attempt),
            )
            seen.append(answer.status)
    assert seen == [400, 200]
    found = await rows(empty_database, "step, count(*) AS bills", "WHERE cost_usd > 0 GROUP BY 1")
    assert {one["step"]: one["bills"] for one in found} == {"draft": 1, "final": 1}


async def test_the_limits_of_a_key_count_each_step_s_model_and_not_the_run():
    steps = pipeline(model("one"), {"kind": "text", "name": "between", "text": "{{one}}"}, model("two"))
    async with running(Engine(Scripted("yes")), config=with_pipelines(steps)) as gateway:
        key = key_file(test=KEY).keys[0].model_copy(update={"limits": Limits(requests_per_minute=3, burst_requests=3)})
        gateway.service.keys.take_file(KeyFile(keys=(key,)).keys, ())
        first, second = await gateway.ask(chat()), await gateway.ask(chat())
    assert first.status == 200
    assert second.status == 429
    assert second.error["message"].startswith("Step `two` of the pipeline `answer`: ")


async def test_a_limit_of_tokens_counts_what_each_step_asks_for():
    """The second model wants more than the first has left of the minute."""
    steps = pipeline(model("one", max_tokens=8), model("two", max_tokens=98))
    engine = Engine(Scripted("yes"))
    async with running(engine, config=with_pipelines(steps)) as gateway:
        key = key_file(test=KEY).keys[0].model_copy(update={"limits": Limits(tokens_per_minute=110)})
        gateway.service.keys.take_file(KeyFile(keys=(key,)).keys, ())
        refused = await gateway.ask(chat())
    assert refused.status == 429
    assert refused.error["message"].startswith("Step `two` of the pipeline `answer`: ")
    assert len(engine.requests) == 1
