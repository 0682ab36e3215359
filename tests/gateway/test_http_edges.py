"""HTTP as clients, proxies and attackers speak it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.gateway import protocol
from tests.gateway.harness import (
    AUTHORIZATION,
    CHAT,
    KEY,
    Client,
    Engine,
    Request,
    Running,
    Wire,
    chat_reply,
    event,
    eventually,
    make_config,
    running,
    well,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}
HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: {AUTHORIZATION}\r\n".encode()
BODY = json.dumps(CHAT).encode()


async def raw(gateway: Running, data: bytes) -> tuple[Any, Client]:
    client = await gateway.connect()
    await client.send(data)
    return await asyncio.wait_for(client.reply(), 5), client


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: +5\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: 99999999999999999999999\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding : chunked\r\n",
        b"content-length: 5\r\n folded: x\r\n",
        b"bad header: x\r\n",
        b"x: a\x00b\r\n",
    ],
)
async def test_what_two_servers_could_read_differently_is_refused(fields: bytes):
    async with running(engine := Engine()) as gateway:
        reply, client = await raw(gateway, HEAD + fields + b"\r\n" + b"0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
        assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")
        assert await client.ended()
        assert not engine.requests


async def test_a_bad_chunk_size_is_refused():
    async with running(engine := Engine()) as gateway:
        reply, client = await raw(gateway, HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
        assert reply.status == 400
        assert await client.ended()
        assert not engine.requests


async def test_a_chunked_request_body_is_understood():
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, BODY[n : n + 1]) for n in range(len(BODY))) + b"0\r\n\r\n"
    async with running(engine := Engine()) as gateway:
        reply, _ = await raw(gateway, HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks)
        assert reply.status == 200
        sent = BODY[:-1] + b',"max_tokens":512}'
        assert engine.requests[0].raw == sent
        assert engine.requests[0].headers["content-length"] == str(len(sent))


async def test_a_declared_body_above_the_limit_is_refused_before_it_is_sent():
    async with running(Engine(), config=make_config(max_body_bytes=100_000)) as gateway:
        reply, client = await raw(gateway, HEAD + b"content-length: 100001\r\n\r\n")
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
        assert "100000" in reply.error["message"]
        assert await client.ended()


async def test_a_chunked_body_above_the_limit_is_refused_while_it_is_sent():
    async with running(engine := Engine(), config=make_config(max_body_bytes=100_000)) as gateway:
        piece = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)
        reply, _ = await raw(gateway, HEAD + b"transfer-encoding: chunked\r\n\r\n" + piece * 5)
        assert reply.status == 413
        assert not engine.requests


async def test_a_client_that_sends_on_after_a_refusal_still_gets_the_reply():
    async with running(Engine(), config=make_config(max_body_bytes=100_000)) as gateway:
        client = await gateway.connect()
        await client.send(HEAD + b"content-length: 5000000\r\n\r\n" + b"x" * 500_000)
        for _ in range(3):  # a connection that was reset would refuse these
            await asyncio.sleep(0.1)
            await client.send(b"x" * 500_000)
        assert (await asyncio.wait_for(client.reply(), 5)).status == 413


async def test_expect_100_continue_is_answered_only_for_a_request_that_is_wanted():
    fields = b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    async with running(Engine(), config=make_config(max_body_bytes=100_000)) as gateway:
        client = await gateway.connect()
        await client.send(HEAD + fields % len(BODY))
        assert (await client.head())[0] == 100
        await client.send(BODY)
        assert (await client.reply()).status == 200
        refused, _ = await raw(gateway, HEAD + fields % 200_000)
        assert refused.status == 413
        without_key, _ = await raw(gateway, HEAD.replace(KEY.encode(), b"x") + fields % len(BODY))
        assert without_key.status == 401


async def test_headers_have_a_limit():
    async with running(Engine()) as gateway:
        reply, client = await raw(gateway, HEAD + b"x: " + b"a" * 400_000)
        assert reply.status == 431
        assert await client.ended()


async def test_a_refused_request_leaves_the_connection_usable():
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        for body, status in ((CHAT | {"model": "nope"}, 404), (b"{", 400), (CHAT | {"n": 0}, 400), (CHAT, 200)):
            await client.send(Client.request(body))
            assert (await client.reply()).status == status
        await client.send(Client.request(authorization="Bearer wrong"))
        assert (await client.reply()).status == 401
        await client.send(Client.request())
        assert (await client.reply()).status == 200


async def test_pipelined_requests_are_answered_in_their_order():
    async def answer(request: Request, wire: Wire) -> None:
        await asyncio.sleep(request.body["wait"])
        await wire.json(200, chat_reply() | {"wait": request.body["wait"]})

    async with running(Engine(answer)) as gateway:
        client = await gateway.connect()
        requests = [Client.request(CHAT | {"wait": wait}) for wait in (0.1, 0.0)]
        await client.send(requests[0] + Client.request(b"", "/healthz", "GET") + requests[1] + Client.request(b"{"))
        replies = [await client.reply() for _ in range(4)]
        assert [reply.status for reply in replies] == [200, 200, 200, 400]
        assert [replies[0].json["wait"], replies[2].json["wait"]] == [0.1, 0.0]
        assert replies[1].json == {"status": "ok"}


async def test_a_deep_pipeline_of_refusals_is_answered_to_its_end():
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        client.writer.write(Client.request() + Client.request(b"", authorization="") * 1500)
        assert (await client.reply()).status == 200
        assert {(await asyncio.wait_for(client.reply(), 5)).status for _ in range(1500)} == {401}


async def test_garbage_after_a_request_does_not_break_its_answer():
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM) + b"\x16\x03\x01 what is this\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.whole) == (200, True)
        assert await client.ended()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 700), max_size=6))
def test_a_request_may_arrive_in_any_pieces(cuts: list[int]):
    data = Client.request() + Client.request(STREAM)

    async def scenario() -> None:
        async with running(Engine()) as gateway:
            client = await gateway.connect()
            edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
            for start, end in itertools.pairwise(edges):
                await client.send(data[start:end])
                await asyncio.sleep(0)
            assert [(await client.reply()).status for _ in range(2)] == [200, 200]

    asyncio.run(scenario())


async def test_an_http_1_0_client_gets_a_stream_that_ends_with_the_connection():
    async with running(Engine()) as gateway:
        reply, client = await raw(gateway, Client.request(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert "transfer-encoding" not in reply.headers
        assert reply.headers["connection"] == "close"
        assert reply.body.endswith(b"data: [DONE]\n\n")
        assert await client.ended()


async def test_connection_close_is_respected():
    async with running(Engine()) as gateway:
        reply, client = await raw(gateway, Client.request(connection="close"))
        assert reply.headers["connection"] == "close"
        assert await client.ended()


async def test_an_upgrade_is_refused_where_a_body_follows_and_ignored_elsewhere():
    upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c"}
    async with running(engine := Engine()) as gateway:
        reply, client = await raw(gateway, Client.request(**upgrade))
        assert (reply.status, reply.error["code"]) == (400, "upgrade_not_supported")
        assert await client.ended()
        assert not engine.requests
        assert (await gateway.get("/healthz", **upgrade)).status == 200


async def test_the_absolute_form_of_a_url_reaches_its_route():
    async with running(Engine()) as gateway:
        assert (await gateway.ask(CHAT, "http://gateway/v1/chat/completions")).status == 200


@pytest.mark.parametrize("path", ["/", "/v1/chat", "/v1/chat/completions/", "/v1/chat/completions/render", "/v1/../x"])
async def test_an_unknown_route_is_404_in_openais_shape(path: str):
    async with running(Engine()) as gateway:
        reply = await gateway.get(path)
        assert (reply.status, reply.error["code"]) == (404, "unknown_url")
        assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("PUT", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_and_says_what_is_allowed(method: str, path: str, allow: str):
    async with running(Engine()) as gateway:
        reply, _ = await raw(gateway, Client.request(b"", path, method))
        assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
        assert reply.headers["allow"] == allow


async def test_head_has_no_body():
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(b"", "/healthz", "HEAD"))
        assert (await client.reply(no_body=True)).status == 200
        await client.send(Client.request(b"", "/healthz", "GET"))
        assert (await client.reply()).json == {"status": "ok"}


async def test_models_are_listed_to_those_who_have_a_key():
    async with running(Engine()) as gateway:
        listed = (await gateway.get("/v1/models")).json
        assert [model["id"] for model in listed["data"]] == ["tiny", "small"]
        one = (await gateway.get("/v1/models/small")).json
        assert (one["id"], one["root"], one["max_model_len"]) == ("small", "tiny", 2048)
        assert (await gateway.get("/v1/models/nope")).error["code"] == "model_not_found"
        assert (await gateway.get("/v1/models", authorization="")).status == 401
        assert (await gateway.get("/healthz", authorization="")).status == 200


async def test_a_compressed_body_is_refused_with_a_reason():
    async with running(Engine()) as gateway:
        reply = await gateway.ask(b"\x1f\x8b", content_encoding="gzip")
        assert (reply.status, reply.error["code"]) == (415, "unsupported_encoding")


async def test_clients_that_dawdle_are_cut_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(protocol, "BODY_SILENCE_SECONDS", 0.05)
    async with running(Engine()) as gateway:
        silent, head, body = [await gateway.connect() for _ in range(3)]
        await head.send(HEAD)
        await body.send(HEAD + b"content-length: 10\r\n\r\n{")
        assert await silent.ended()
        assert (await asyncio.wait_for(head.reply(), 3)).status == 408
        assert (await asyncio.wait_for(body.reply(), 3)).status == 408


async def test_a_client_that_never_reads_holds_neither_engine_nor_connection(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.1)
    gone = asyncio.Event()

    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        try:
            while True:
                await wire.chunk(event("x" * 65_000))
        finally:
            gone.set()

    config = make_config(timeouts={"total_seconds": 0.5})
    async with running(Engine(answer), config=config) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await asyncio.wait_for(gone.wait(), 20)
        await eventually(lambda: gateway.requests)
        assert gateway.requests[0]["outcome"] == "timeout"
        await eventually(lambda: not gateway.service.connections())


async def test_a_long_answer_is_not_taken_for_a_dawdling_client(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)

    async def answer(request: Request, wire: Wire) -> None:
        await asyncio.sleep(1.2)
        await well(request, wire)

    async with running(Engine(answer)) as gateway:
        assert (await gateway.ask()).status == 200


async def test_many_streams_run_side_by_side():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for number in range(10):
            await wire.chunk(event(f"{request.headers['x-request-id']} {number}"))
            await asyncio.sleep(0.01)
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()

    async with running(Engine(answer), Engine(answer)) as gateway:
        begun = time.monotonic()
        replies = await asyncio.gather(*(gateway.ask(STREAM, x_request_id=f"id-{n}") for n in range(60)))
        assert time.monotonic() - begun < 3
        for number, reply in enumerate(replies):
            texts = [json.loads(one[6:])["choices"][0]["delta"]["content"] for one in reply.events[:-1]]
            assert texts == [f"id-{number} {n}" for n in range(10)]
        await eventually(lambda: not gateway.service.exchanges)


async def test_a_kept_connection_without_a_request_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", 0.2)
    async with running(Engine()) as gateway:
        client = await gateway.connect()
        await client.send(Client.request())
        assert (await client.reply()).status == 200
        assert await asyncio.wait_for(client.reader.read(1), 10) == b""
