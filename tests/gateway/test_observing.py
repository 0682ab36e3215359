"""Metrics, logs, keys that change, and the dependencies' state."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.gateway import probes, server
from app.gateway.log import Log
from tests.gateway.harness import (
    CHAT,
    DONE,
    KEY,
    Client,
    Engine,
    Request,
    Wire,
    chat_reply,
    event,
    eventually,
    hang,
    running,
)

STREAM: dict[str, Any] = CHAT | {"stream": True}


async def test_requests_tokens_and_money_are_counted():
    async def answer(request: Request, wire: Wire) -> None:
        reply = chat_reply(1000, 500)
        reply["usage"]["prompt_tokens_details"] = {"cached_tokens": 600}
        await wire.json(200, reply)

    async with running(Engine(answer)) as gateway:
        await gateway.ask(CHAT | {"model": "small"})
        metric = gateway.metric
        assert await metric('penstock_requests_total{code="200",model="tiny",stream="false"}') == 1
        assert await metric('penstock_tokens_total{direction="input",model="tiny"}') == 1000
        assert await metric('penstock_tokens_total{direction="output",model="tiny"}') == 500
        assert await metric('penstock_tokens_total{direction="cached",model="tiny"}') == 600
        assert await metric('penstock_cost_usd_total{model="tiny"}') == pytest.approx(0.002)
        assert await metric('penstock_request_seconds_count{model="tiny"}') == 1
        assert await metric('penstock_engines{model="tiny",state="ready"}') == 1
        assert await metric("process_resident_memory_bytes") > 1e6
        assert 'penstock_build_info{colour="blue"' in (await gateway.get("/metrics")).body.decode()


async def test_streams_are_timed():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for text in "abc":
            await wire.chunk(event(text))
            await asyncio.sleep(0.05)
        await wire.chunk(DONE)
        await wire.end_stream()

    async with running(Engine(answer)) as gateway:
        await gateway.ask(STREAM)
        assert await gateway.metric('penstock_ttft_seconds_count{model="tiny"}') == 1
        assert await gateway.metric('penstock_itl_seconds_count{model="tiny"}') == 3
        assert await gateway.metric('penstock_itl_seconds_sum{model="tiny"}') > 0.14
        assert await gateway.metric('penstock_requests_total{code="200",model="tiny",stream="true"}') == 1


async def test_work_under_way_is_a_gauge():
    async with running(engine := Engine(hang), zone="eu-central-1a") as gateway:
        client = await gateway.connect()
        await client.send(Client.request())
        await eventually(lambda: engine.requests)
        assert await gateway.metric('penstock_in_flight{model="tiny"}') == 1
        assert await gateway.metric('penstock_engine_in_flight{model="tiny",zone="eu-central-1a"}') == 1
        client.close()
        await eventually(lambda: gateway.requests)
        assert await gateway.metric('penstock_in_flight{model="tiny"}') == 0


async def test_what_clients_invent_does_not_become_a_label():
    async with running(Engine()) as gateway:
        for number in range(20):
            await gateway.ask(CHAT | {"model": f"invented-{number}"})
            await gateway.get(f"/invented/{number}")
            named = {f"x_{name}": f"invented-{number}" for name in ("request_id", "penstock_feature", "session_id")}
            await gateway.ask(CHAT | {"user": f"invented-{number}"}, x_penstock_task=f"invented-{number}", **named)
        text = (await gateway.get("/metrics")).body.decode()
        assert "invented" not in text
        assert 'penstock_requests_total{code="404",model="other",stream="false"} 20.0' in text


async def test_a_request_is_one_log_line_without_content_or_key():
    async with running(Engine()) as gateway:
        await gateway.ask(CHAT | {"messages": [{"role": "user", "content": "top secret"}]}, x_request_id="abc")
        await gateway.ask(authorization="Bearer sk-somebody-else")
        first, second = gateway.requests
        assert first["request_id"] == "abc"
        assert (first["model"], first["status"], first["key"], first["tries"]) == ("tiny", 200, "test", 1)
        assert (first["input_tokens"], first["output_tokens"]) == (17, 8)
        assert first["engine"].startswith("127.0.0.1:")
        assert (second["status"], second["key"], second["outcome"]) == (401, None, "invalid_api_key")
        text = json.dumps(gateway.log.events)
        assert "secret" not in text
        assert "sk-" not in text


async def test_log_lines_are_json_and_a_slow_reader_blocks_nobody():
    read, write = os.pipe()
    dropped = 0

    def count() -> None:
        nonlocal dropped
        dropped += 1

    log = Log(write)
    log.on_drop = count
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(30_000):
        log.event("request", number=number)
    assert loop.time() - begun < 2
    assert dropped > 0
    os.set_blocking(read, False)
    text = b""
    while text.count(b"\n") < 10_000:
        try:
            text += os.read(read, 1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0.01)
    log.close()
    assert json.loads(text.splitlines()[0])["number"] == 0
    os.close(read)
    os.close(write)


async def test_a_changed_key_file_counts_within_a_second_and_a_broken_one_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "KEY_FILE_SECONDS", 0.02)
    path = tmp_path / "keys.json"
    path.write_text("{}")
    async with running(Engine(), key_file=path) as gateway:
        assert (await gateway.ask()).status == 200
        digest = hashlib.sha256(b"sk-new").hexdigest()
        path.write_text(json.dumps({"keys": [{"id": "new", "sha256": digest}]}))
        await eventually(lambda: gateway.log.of("keys"))
        assert (await gateway.ask()).status == 401
        assert (await gateway.ask(authorization="Bearer sk-new")).status == 200
        path.write_text(json.dumps({"keys": [{"id": "new", "sha256": f"{KEY}"}]}))
        await eventually(lambda: len(gateway.log.of("keys")) == 2)
        assert (await gateway.ask(authorization="Bearer sk-new")).status == 200
        assert await gateway.metric("penstock_key_file_valid") == 0
        reason = gateway.log.of("keys")[1]["reason"]
        assert "keys.0.sha256" in reason
        assert KEY not in reason


async def answering(reply: bytes) -> tuple[asyncio.Server, str, list[bytes]]:
    got: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(64))
        writer.write(reply)
        writer.close()

    one = await asyncio.start_server(handle, "127.0.0.1", 0)
    return one, f"127.0.0.1:{one.sockets[0].getsockname()[1]}", got


@pytest.mark.parametrize(
    ("reply", "up"),
    [(b"+PONG\r\n", True), (b"-NOAUTH Authentication required.\r\n", True), (b"HTTP/1.1 400\r\n", False)],
)
async def test_a_cache_is_up_when_it_answers_a_ping(reply: bytes, up: bool):
    one, address, got = await answering(reply)
    async with one:
        assert await probes.cache_answers(address) is up
        assert got[0] == b"PING\r\n"


@pytest.mark.parametrize(("reply", "up"), [(b"S", True), (b"N", True), (b"", False), (b"HTTP", False)])
async def test_a_database_is_up_when_it_answers_an_ssl_request(reply: bytes, up: bool):
    one, address, got = await answering(reply)
    async with one:
        assert await probes.database_answers(address) is up
        assert got[0] == bytes.fromhex("0000000804d2162f")


async def test_a_dependency_that_is_away_or_silent_is_down(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probes, "TIMEOUT_SECONDS", 0.05)
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    one = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"127.0.0.1:{one.sockets[0].getsockname()[1]}"
    assert not await probes.database_answers(address)
    assert not await probes.cache_answers(address)
    done.set()
    one.close()
    await one.wait_closed()
    assert not await probes.database_answers(address)


async def test_the_state_of_dependencies_is_a_metric_where_they_are_known():
    one, address, _ = await answering(b"N")
    async with one, running(Engine(), database_address=address) as gateway:
        gauge = gateway.service.metrics.dependency_up.labels("database")
        await eventually(gauge._value.get)
        assert await gateway.metric('penstock_dependency_up{name="database"}') == 1
        assert 'name="cache"' not in (await gateway.get("/metrics")).body.decode()
