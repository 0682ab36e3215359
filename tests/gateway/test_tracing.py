"""Traces: which requests are traced, what a collector gets, what engines and clients are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from app.gateway.trace import export
from app.gateway.trace.span import chosen, new_trace, read_parent
from tests.gateway.harness import (
    CHAT,
    Client,
    Engine,
    Request,
    Running,
    Wire,
    eventually,
    fails,
    hang,
    make_config,
    running,
)
from tests.gateway.trace_collector import Collector, fields

STREAM: dict[str, Any] = CHAT | {"stream": True}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@contextlib.asynccontextmanager
async def traced(
    *engines: Engine | int, collector: Collector | None = None, headers: dict[str, str] | None = None, **traces: Any
) -> AsyncGenerator[tuple[Running, Collector]]:
    collector = collector or Collector()
    await collector.start()
    settings = {"endpoint": collector.url, "ratio": 1.0, "export_seconds": 0.02} | traces
    try:
        async with running(*engines, config=make_config(traces=settings), trace_headers=headers or {}) as gateway:
            yield gateway, collector
    finally:
        await collector.stop()


async def test_a_request_becomes_a_span_with_the_genai_conventions():
    async with traced(Engine(), headers={"x-collector-key": "k"}) as (gateway, collector):
        reply = await gateway.ask(STREAM, x_penstock_feature="search")
        await eventually(lambda: len(collector.spans) == 2)
        (server,), (attempt,) = collector.of(Message.SPAN_KIND_SERVER), collector.of(Message.SPAN_KIND_CLIENT)
        told = fields(server.attributes)
        assert server.name == "chat tiny"
        assert (
            told
            | {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "tiny",
                "gen_ai.usage.input_tokens": 17,
                "gen_ai.usage.output_tokens": 8,
                "gen_ai.request.max_tokens": 512,
                "http.response.status_code": 200,
                "penstock.tenant": "default",
                "penstock.feature": "search",
                "penstock.outcome": "ok",
                "penstock.stream": True,
            }
            == told
        )
        assert [event.name for event in server.events] == ["gen_ai.first_token"]
        assert server.start_time_unix_nano <= server.events[0].time_unix_nano <= server.end_time_unix_nano
        assert attempt.parent_span_id == server.span_id
        assert fields(attempt.attributes)["server.address"] == "127.0.0.1"
        assert reply.headers["x-penstock-trace"] == f"{server.trace_id.hex()}-{server.span_id.hex()}"
        assert gateway.requests[0]["trace"] == server.trace_id.hex()
        assert collector.resources[0]["service.name"] == "penstock-gateway"
        assert collector.requests[0].path == "/v1/traces"
        assert collector.requests[0].headers["x-collector-key"] == "k"
        assert await gateway.metric('penstock_trace_spans_total{result="exported"}') == 2


async def test_a_clients_trace_is_joined_and_passed_on():
    async with traced(engine := Engine(), ratio=0.0) as (gateway, collector):
        await gateway.ask(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="a=b")
        await eventually(lambda: len(collector.spans) == 2)
        (server,), (attempt,) = collector.of(Message.SPAN_KIND_SERVER), collector.of(Message.SPAN_KIND_CLIENT)
        assert server.trace_id.hex() == TRACE
        assert server.parent_span_id.hex() == PARENT
        headers = engine.requests[0].headers
        assert headers["traceparent"] == f"00-{TRACE}-{attempt.span_id.hex()}-01"
        assert headers["tracestate"] == "a=b"


async def test_a_client_that_must_not_decide_does_not():
    async with traced(engine := Engine(), ratio=0.0, follow_parent=False) as (gateway, collector):
        await gateway.ask(traceparent=f"00-{TRACE}-{PARENT}-01")
        assert engine.requests[0].headers["traceparent"].startswith(f"00-{TRACE}-")
        assert engine.requests[0].headers["traceparent"].endswith("-00")
        await asyncio.sleep(0.1)
        assert not collector.spans


@pytest.mark.parametrize(
    "header",
    [
        "", "00-1-2-01", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more", f"00-{TRACE}-{PARENT}",
    ],
)  # fmt: skip
def test_a_wrong_parent_begins_a_new_trace(header: str):
    assert read_parent(header.encode()) is None


def test_a_later_version_of_the_header_is_read():
    parent = read_parent(f"01-{TRACE}-{PARENT}-03-more".encode())
    assert parent is not None
    assert (parent.trace, parent.span, parent.sampled) == (TRACE, PARENT, True)


def test_the_share_is_the_share():
    traces = [new_trace() for _ in range(20_000)]
    assert len(set(traces)) == len(traces)
    assert 130 < sum(chosen(trace, 0.01) for trace in traces) < 280
    assert not any(chosen(trace, 0.0) for trace in traces)
    assert all(chosen(trace, 1.0) for trace in traces)


async def test_a_failed_request_is_traced_whatever_the_share_with_each_attempt():
    async with traced(Engine(fails(500)), Engine(fails(500)), ratio=0.0) as (gateway, collector):
        assert (await gateway.ask()).status == 500
        await eventually(lambda: len(collector.spans) == 3)
        (server,) = collector.of(Message.SPAN_KIND_SERVER)
        assert server.status.code == Status.STATUS_CODE_ERROR
        assert fields(server.attributes)["error.type"] == "engine_failed"
        attempts = collector.of(Message.SPAN_KIND_CLIENT)
        assert [fields(one.attributes)["error.type"] for one in attempts] == ["status_500", "status_500"]
        assert (await gateway.ask(CHAT | {"model": "nope"})).status == 404
        await asyncio.sleep(0.1)
        assert len(collector.spans) == 3, "a client's mistake is no failure of ours"


async def test_no_prompt_reaches_the_collector_unless_it_is_set():
    secret = CHAT | {"messages": [{"role": "user", "content": "top secret"}]}
    async with traced(Engine()) as (gateway, collector):
        await gateway.ask(secret)
        await eventually(lambda: collector.spans)
        assert b"top secret" not in b"".join(request.raw for request in collector.requests)
    async with traced(Engine(), content=True) as (gateway, collector):
        await gateway.ask(secret)
        await eventually(lambda: collector.spans)
        assert "top secret" in fields(collector.of(Message.SPAN_KIND_SERVER)[0].attributes)["gen_ai.input.messages"]


async def test_guards_show_in_the_trace():
    collector = Collector()
    await collector.start()
    config = make_config(
        traces={"endpoint": collector.url, "ratio": 1.0, "export_seconds": 0.02},
        guards={"modes": {"pii_input": "mask"}},
    )
    async with running(Engine(), config=config) as gateway:
        await gateway.ask(CHAT | {"messages": [{"role": "user", "content": "bob@example.com"}]})
        await eventually(lambda: collector.spans)
        (server,) = collector.of(Message.SPAN_KIND_SERVER)
        assert fields(server.attributes)["penstock.guards"] == "pii_input=mask;email=1"
        assert server.events[0].name == "penstock.guard"
    await collector.stop()


async def test_a_score_is_attached_to_a_trace_by_what_the_client_was_told():
    async with traced(Engine(), ratio=0.0) as (gateway, collector):
        reply = await gateway.ask()
        tracer = gateway.service.tracer
        assert tracer is not None
        told = reply.headers["x-penstock-trace"]
        assert tracer.score(told, "thumbs", 1.0, label="up", explanation="my words")
        assert tracer.score(told.partition("-")[0], "thumbs", None, label="down")
        assert not tracer.score("nonsense", "thumbs", 1.0)
        await eventually(lambda: len(collector.spans) == 2)
        first, second = collector.spans
        assert f"{first.trace_id.hex()}-{first.parent_span_id.hex()}" == told
        assert first.links[0].span_id == first.parent_span_id
        assert first.events[0].name == "gen_ai.evaluation.result"
        assert fields(first.events[0].attributes) == {
            "gen_ai.evaluation.name": "thumbs",
            "gen_ai.evaluation.score.value": 1.0,
            "gen_ai.evaluation.score.label": "up",
        }
        assert second.trace_id == first.trace_id
        assert not second.parent_span_id


async def reaches(gateway: Running, metric: str, least: float, seconds: float = 15.0) -> bool:
    async with asyncio.timeout(seconds):
        while await gateway.metric(metric) < least:  # noqa: ASYNC110 - a counter, which no event announces
            await asyncio.sleep(0.02)
    return True


async def test_a_collector_that_is_away_or_slow_holds_nobody_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export, "RETRY_SECONDS", (0.01,))
    collector = Collector(status=503)
    async with traced(Engine(), collector=collector, most_waiting=16) as (gateway, _):
        for _ in range(3):
            assert (await gateway.ask()).status == 200
        await eventually(lambda: len(collector.requests) >= 2)
        collector.delay, before = 1.0, len(collector.requests)
        await gateway.ask()
        await eventually(lambda: len(collector.requests) > before)
        client = await gateway.connect()
        for _ in range(60):
            await client.send(Client.request())
            assert (await asyncio.wait_for(client.reply(), 0.9)).status == 200  # less than the collector takes
        for result in ("failed", "dropped"):
            assert await reaches(gateway, f'penstock_trace_spans_total{{result="{result}"}}', 2)
        collector.delay, collector.status = 0.0, 200
        await eventually(lambda: collector.spans)


async def test_spans_that_a_collector_rejects_are_counted():
    async with traced(Engine(), collector=Collector(rejects=1)) as (gateway, _):
        await gateway.ask()
        assert await reaches(gateway, 'penstock_trace_spans_total{result="failed"}', 1)
        assert await gateway.metric('penstock_trace_spans_total{result="exported"}') == 1


async def test_what_waits_is_sent_before_the_gateway_ends():
    async with traced(Engine(), export_seconds=50) as (gateway, collector):
        await gateway.ask()
        await gateway.gateway.stop()
        assert len(collector.spans) == 2


async def test_an_attempt_that_is_left_by_its_client_ends_with_the_request():
    async with traced(engine := Engine(hang)) as (gateway, collector):
        client = await gateway.connect()
        await client.send(Client.request())
        await eventually(lambda: engine.requests)
        client.close()
        await eventually(lambda: len(collector.spans) == 2)
        (server,) = collector.of(Message.SPAN_KIND_SERVER)
        assert fields(server.attributes)["error.type"] == "client_gone"
        assert server.status.code == Status.STATUS_CODE_UNSET


async def test_without_traces_nothing_is_added():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.json(200, {"got": request.headers.get("traceparent")})

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask()
        assert reply.json == {"got": None}
        assert "x-penstock-trace" not in reply.headers


@pytest.mark.parametrize("text", ["novalue", "=x"])
def test_wrong_collector_headers_are_refused(text: str):
    with pytest.raises(ValueError, match="name=value"):
        export.read_headers(text)


def test_collector_headers_are_decoded():
    assert export.read_headers("Authorization=Bearer%20x, b=c") == {"authorization": "Bearer x", "b": "c"}
