"""Calls from pages of other origins, and the document that describes the API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from app.gateway.admit import ROUTES
from tests.gateway.harness import CHAT, Client, Engine, make_config, running

PAGE = "https://console.example.com"


async def preflight(port: int, origin: str) -> Any:
    client = await Client.connect(port)
    await client.send(
        Client.request(b"", method="OPTIONS", authorization="", origin=origin, access_control_request_method="POST")
    )
    try:
        return await asyncio.wait_for(client.reply(no_body=True), 5)
    finally:
        client.close()


async def test_without_the_setting_no_other_origin_may_call():
    async with running(Engine()) as gateway:
        asked = await preflight(gateway.port, PAGE)
        answered = await gateway.ask(origin=PAGE)
    assert asked.status == 405
    assert not {name for name in (*asked.headers, *answered.headers) if name.startswith("access-control")}


async def test_a_named_origin_may_ask_and_read_answers_streams_and_errors():
    async with running(Engine(), config=make_config(cors_origins=(PAGE,))) as gateway:
        asked = await preflight(gateway.port, PAGE)
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, PAGE)
        assert "authorization" in asked.headers["access-control-allow-headers"]
        for reply in (
            await gateway.ask(origin=PAGE),
            await gateway.ask(CHAT | {"stream": True}, origin=PAGE),
            await gateway.ask(CHAT | {"model": "nope"}, origin=PAGE),
            await gateway.ask(authorization="", origin=PAGE),
            await gateway.get("/v1/models", origin=PAGE),
        ):
            assert (reply.headers["access-control-allow-origin"], reply.headers["vary"]) == (PAGE, "origin")


async def test_an_origin_that_is_not_named_gets_no_leave():
    async with running(Engine(), config=make_config(cors_origins=(PAGE,))) as gateway:
        for origin in ("https://evil.example", PAGE + ".evil.example", "null"):
            assert (await preflight(gateway.port, origin)).status == 405
            assert "access-control-allow-origin" not in (await gateway.ask(origin=origin)).headers


@pytest.mark.parametrize("origin", ["*", "console.example.com", "https://a.example/path", "https://a.example\r\nx: y"])
def test_what_is_not_an_origin_is_refused_in_the_settings(origin: str):
    with pytest.raises(ValidationError, match="cors_origins"):
        make_config(cors_origins=(origin,))


async def test_the_document_describes_every_inference_route():
    async with running(Engine()) as gateway:
        closed = await gateway.get("/v1/openapi.json", authorization="")
        document = (await gateway.get("/v1/openapi.json")).json
    assert closed.status == 401
    assert {path.decode() for path in ROUTES} <= set(document["paths"])
    chat = document["paths"]["/v1/chat/completions"]["post"]
    schema = chat["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["model", "messages"]
    assert schema["properties"]["model"]["enum"] == ["tiny", "small"]
    for status, response in chat["responses"].items():
        if status != "200":
            assert response["$ref"].rsplit("/", 1)[-1] in document["components"]["responses"]
