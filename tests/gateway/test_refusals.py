"""Every refusal has OpenAI's shape, a request id, and where it helps to wait a time to wait."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.gateway.errors import NO_RETRY, Problem
from tests.gateway.harness import CHAT, Client, Engine, fails, make_config, running
from tests.gateway.limit_cases import keys

CASES: dict[str, tuple[int, bytes]] = {
    "no JSON": (400, Client.request(b"{")),
    "no key": (401, Client.request(CHAT, authorization="")),
    "unknown model": (404, Client.request(CHAT | {"model": "nope"})),
    "unknown path": (404, Client.request(CHAT, "/v1/nothing")),
    "wrong method": (405, Client.request(b"", "/v1/chat/completions", "PUT")),
    "too large": (413, Client.request(b"x" * 2000)),
    "compressed": (415, Client.request(b"x", content_encoding="gzip")),
    "no HTTP": (400, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n"),
    "a long head": (431, Client.request(CHAT, x_padding="x" * 90_000)),
    "the engine fails": (500, Client.request(CHAT)),
    "over the limit": (429, Client.request(CHAT, authorization="Bearer sk-batch-0123456789abcdef")),
}


@pytest.mark.parametrize(("status", "request_"), CASES.values(), ids=CASES)
async def test_every_refusal_has_openais_shape_and_a_request_id(status: int, request_: bytes):
    config = make_config(max_body_bytes=1024, tenants={"acme": {"requests_per_minute": 1, "burst_requests": 1}})
    async with running(Engine(fails(500)), config=config) as gateway:
        if status == 429:
            gateway.service.keys = keys()
            await gateway.ask()
        client = await gateway.connect()
        await client.send(request_)
        reply = await client.reply()
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert reply.error["message"].endswith(".")
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize("status", [429, 503])
def test_whoever_is_told_to_come_back_is_told_when(status: int):
    assert dict(Problem(status, "Try again.").headers) == {b"retry-after": b"2"}
    own = ((b"retry-after", b"900"),)
    assert Problem(status, "Try again.", headers=own).headers == own
    assert Problem(status, "It is of no use.", headers=(NO_RETRY,)).headers == (NO_RETRY,)


@pytest.mark.parametrize("status", [400, 401, 404, 500, 502])
def test_other_refusals_name_no_time(status: int):
    problem: Any = Problem(status, "No.")
    assert problem.headers == ()
    assert json.loads(problem.body())["error"]["message"] == "No."
