"""Requests through a running gateway: what the engine gets, what the client gets, and when."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from typing import Any

import pytest

from tests.gateway.harness import (
    CHAT,
    DONE,
    Client,
    Engine,
    Request,
    Wire,
    chat_reply,
    event,
    eventually,
    fails,
    hang,
    make_config,
    running,
    usage_event,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}


async def test_a_body_reaches_the_engine_byte_for_byte():
    raw = b'{ "model":"tiny",\n "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}], "x":1.50, "max_tokens":9 }'
    async with running(engine := Engine()) as gateway:
        reply = await gateway.ask(raw)
        assert reply.json == chat_reply()
        assert engine.requests[0].raw == raw


async def test_an_engine_is_asked_for_its_clients_requests_and_nothing_else():
    async with running(engine := Engine()) as gateway:
        for _ in range(3):
            assert (await gateway.ask()).status == 200
        for path in ("/readyz", "/metrics", "/v1/models"):
            assert (await gateway.get(path)).status == 200
        await asyncio.sleep(1.2)  # longer than the pause between two sweeps, and than an engine may be silent at work
    assert [request.path for request in engine.requests] == ["/v1/chat/completions"] * 3
    assert engine.probes == 0


async def test_the_engine_gets_a_request_id_and_a_trace_but_no_key():
    async with running(engine := Engine()) as gateway:
        reply = await gateway.ask(x_request_id="my-id", traceparent="00-1-2-01", x_vllm_priority="-9", cookie="a=b")
        got = engine.requests[0].headers
        assert reply.headers["x-request-id"] == got["x-request-id"] == "my-id"
        assert got["traceparent"] == "00-1-2-01"
        assert not {"authorization", "x-vllm-priority", "cookie"} & got.keys()


async def test_a_reply_bears_our_headers_and_hides_the_engines():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.json(200, chat_reply(), x_request_id="theirs", connection="keep-alive", keep_alive="timeout=5")

    async with running(Engine(answer)) as gateway:
        headers = (await gateway.ask()).headers
        assert (headers["x-penstock-colour"], headers["x-penstock-model"]) == ("blue", "tiny")
        assert headers["x-request-id"].startswith("req-")
        assert headers.keys() == {
            "date", "content-type", "content-length", "x-penstock-colour", "x-penstock-model", "x-request-id",
        }  # fmt: skip


COUNTED = {"include_usage": True, "continuous_usage_stats": True}
"""The second is what the gateway asks of engines for itself."""


async def test_a_stream_is_relayed_without_the_usage_that_nobody_asked_for():
    async with running(engine := Engine()) as gateway:
        reply = await gateway.ask(STREAM)
        assert engine.requests[0].body == STREAM | {"stream_options": COUNTED, "max_tokens": 512}
        assert reply.body == event("") + event("hel") + event("lo") + DONE
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["cache-control"] == "no-cache"
        assert gateway.requests[0]["output_tokens"] == 8


async def test_a_stream_with_usage_is_relayed_whole():
    body = STREAM | {"stream_options": {"include_usage": True}, "max_tokens": 512}
    async with running(engine := Engine()) as gateway:
        reply = await gateway.ask(body)
        assert engine.requests[0].body == body | {"stream_options": COUNTED}
        assert reply.body == event("") + event("hel") + event("lo") + usage_event() + DONE


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_events_may_arrive_in_pieces_of_any_size(size: int):
    data = event("a é") + b": comment\n\n" + event("b") + usage_event() + DONE

    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:33], data[33:])) + b"0\r\n\r\n"
        for start in range(0, len(framed), size):
            wire.writer.write(framed[start : start + size])
            await asyncio.sleep(0)
        await wire.writer.drain()

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask(STREAM)
        assert reply.body == event("a é") + b": comment\n\n" + event("b") + DONE
        assert reply.whole


async def test_each_event_is_passed_on_at_once():
    gap = 0.05

    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for number in range(5):
            await wire.chunk(event(str(number)))
            await asyncio.sleep(gap)
        await wire.chunk(DONE)
        await wire.end_stream()

    async with running(Engine(answer)) as gateway:
        client = await gateway.connect()
        for _ in range(2):
            begun = time.monotonic()
            await client.send(Client.request(STREAM))
            reply = await client.reply()
            times = [at - begun for at, _ in reply.parts]
            gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
            assert len(reply.parts) == 6
            assert times[0] < 3 * gap, "the first event waited for later ones"
            assert min(gaps) > 0.4 * gap, f"events were held back and came together: {gaps}"


async def test_small_writes_are_never_delayed_by_nagles_algorithm():
    async with running(engine := Engine()) as gateway:
        client = await gateway.connect()
        await client.send(Client.request())
        await client.reply()
        (to_client,) = gateway.service.connections()
        ((to_engine,),) = gateway.service.client._idle.values()
        for transport in (to_client.transport, to_engine.transport):
            assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert engine.connections == 1


async def test_a_kept_alive_connection_serves_many_requests_over_one_engine_connection():
    async with running(engine := Engine()) as gateway:
        client = await gateway.connect()
        for body in (CHAT, STREAM, CHAT):
            await client.send(Client.request(body))
            assert (await client.reply()).status == 200
        assert engine.connections == 1


async def test_completions_and_embeddings_go_to_their_routes():
    async with running(engine := Engine()) as gateway:
        assert (await gateway.ask({"model": "small", "prompt": "x"}, "/v1/completions")).status == 200
        assert (await gateway.ask({"model": "tiny", "input": "x"}, "/v1/embeddings?a=b")).status == 200
        assert [request.path for request in engine.requests] == ["/v1/completions", "/v1/embeddings"]


async def test_a_long_reply_flows_through_and_is_accounted():
    content = {"data": [{"embedding": list(range(300_000))}], "usage": {"prompt_tokens": 42, "total_tokens": 42}}

    async def answer(request: Request, wire: Wire) -> None:
        await wire.json(200, content)

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask({"model": "tiny", "input": "x"}, "/v1/embeddings")
        assert reply.json == content
        assert gateway.requests[0]["input_tokens"] == 42


async def test_an_error_of_the_engine_arrives_in_openais_shape():
    body = {"error": {"message": "temperature must be non-negative", "type": "BadRequestError", "param": "temperature"}}

    async def answer(request: Request, wire: Wire) -> None:
        await wire.json(400, body)

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask(CHAT | {"temperature": -3})
        assert reply.status == 400
        assert reply.error == {
            "message": "temperature must be non-negative",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": None,
        }


async def test_an_error_as_first_event_becomes_a_status():
    error = json.dumps({"error": {"message": "bad grammar", "type": "BadRequestError", "param": None, "code": 400}})

    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(b"data: %b\n\n" % error.encode() + DONE)
        await wire.end_stream()

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask(STREAM)
        assert (reply.status, reply.error["message"]) == (400, "bad grammar")


async def test_an_error_in_the_middle_of_a_stream_is_passed_on_typed():
    error = json.dumps({"error": {"message": "boom", "type": "InternalServerError", "param": None, "code": 500}})

    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("a"))
        await wire.chunk(b"data: %b\n\n" % error.encode())
        await wire.chunk(DONE)
        await wire.end_stream()

    async with running(Engine(answer)) as gateway:
        reply = await gateway.ask(STREAM)
        told = json.loads(reply.events[1][6:])["error"]
        assert (told["type"], told["retryable"]) == ("upstream_interrupted", True)
        assert gateway.requests[0]["outcome"] == "engine_failed"


async def test_a_client_that_leaves_stops_the_engine():
    stopped = asyncio.Event()

    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("a"))
        await wire.gone()
        stopped.set()

    async with running(Engine(answer)) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await client.head()
        await client.chunk()
        client.close()
        await asyncio.wait_for(stopped.wait(), 1)
        await eventually(lambda: gateway.requests)
        line = gateway.requests[0]
        assert (line["status"], line["outcome"], line["estimated"], line["output_tokens"]) == (
            499,
            "client_gone",
            True,
            1,
        )
        assert gateway.service.targets["tiny"].in_flight == 0
        assert [engine.in_flight for engine in gateway.service.targets["tiny"].pool.engines.values()] == [0]


async def test_a_client_that_leaves_before_the_answer_stops_the_engine():
    stopped = asyncio.Event()

    async def answer(request: Request, wire: Wire) -> None:
        await wire.gone()
        stopped.set()

    async with running(engine := Engine(answer)) as gateway:
        client = await gateway.connect()
        await client.send(Client.request())
        await eventually(lambda: engine.requests)
        client.close()
        await asyncio.wait_for(stopped.wait(), 1)


async def test_a_slow_reader_slows_the_engine_down():
    sent = 0
    piece = event("x" * 65_000)

    async def answer(request: Request, wire: Wire) -> None:
        nonlocal sent
        await wire.begin_stream()
        for _ in range(400):
            await wire.chunk(piece)
            sent += len(piece)
        await wire.chunk(DONE)
        await wire.end_stream()

    # Shorter than the pause: the silence of a paused engine is no failure.
    config = make_config(timeouts={"between_bytes_seconds": 0.2})
    async with running(Engine(answer), config=config) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await client.head()
        await asyncio.sleep(0.5)
        held = sent
        assert held < 20_000_000, "an unread answer must stay with the engine"
        total = 0
        while part := await client.chunk():
            total += len(part)
        assert total == 400 * len(piece) + len(DONE)


async def test_the_time_outs_are_told_as_504():
    config = make_config(timeouts={"first_byte_seconds": 0.1, "total_seconds": 0.3}, retries={"attempts": 1})
    async with running(Engine(hang), config=config) as gateway:
        streamed, plain = await asyncio.gather(gateway.ask(STREAM), gateway.ask(CHAT))
        assert (streamed.status, streamed.error["code"]) == (504, "timeout")
        assert "0.1 s" in streamed.error["message"]
        assert (plain.status, plain.error["code"]) == (504, "timeout")
        assert "0.3 s" in plain.error["message"], "an unstreamed generation is only bounded in total"


async def test_silence_in_the_middle_of_a_stream_ends_it_with_an_event():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("a"))
        await wire.gone()

    config = make_config(timeouts={"between_bytes_seconds": 0.1})
    async with running(Engine(answer), config=config) as gateway:
        reply = await gateway.ask(STREAM)
        assert reply.events[0] == event("a")
        assert json.loads(reply.events[1][6:])["error"]["code"] == "timeout"


async def test_comments_keep_a_silent_stream_alive():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for _ in range(6):
            await wire.chunk(b": keep-alive\n\n")
            await asyncio.sleep(0.05)
        await wire.chunk(event("a") + DONE)
        await wire.end_stream()

    config = make_config(timeouts={"between_bytes_seconds": 0.15})
    async with running(Engine(answer), config=config) as gateway:
        reply = await gateway.ask(STREAM)
        assert reply.body.endswith(event("a") + DONE)
        assert gateway.requests[0]["ttft_ms"] > 250, "a comment is no first token"


async def test_an_idle_engine_connection_is_dropped_before_the_engine_drops_it():
    config = make_config(timeouts={"idle_connection_seconds": 0.1})
    async with running(engine := Engine(), config=config) as gateway:
        await gateway.ask()
        assert gateway.service.client.idle == 1
        await eventually(lambda: gateway.service.client.idle == 0)
        await gateway.ask()
        assert engine.connections == 2


async def test_a_reply_without_a_length_ends_with_its_connection():
    async def answer(request: Request, wire: Wire) -> None:
        body = json.dumps(chat_reply()).encode()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + body)
        wire.writer.close()

    async with running(Engine(answer)) as gateway:
        assert (await gateway.ask()).json == chat_reply()


async def test_bytes_after_an_answer_never_reach_the_next_client():
    async def answer(request: Request, wire: Wire) -> None:
        body = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        await wire.send(body + body.replace(b"{}", b"[]"))

    async with running(engine := Engine(answer)) as gateway:
        await gateway.ask()
        engine.answer = fails(400, "second")
        assert (await gateway.ask()).error["message"] == "second"
        assert engine.connections == 2
