"""Each admitted request has its row, once, whatever happens to the gateway, its database or its client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.gateway.account import guess_input_tokens
from app.gateway.database.settings import Database
from app.gateway.ledger import writer
from app.gateway.ledger.settings import LedgerSettings
from tests.gateway import harness
from tests.gateway.harness import CHAT, KEY, Client, Engine, Request, Wire, event, eventually, key_file, make_config
from tests.gateway.real_postgres import Proxy, folder_of, rows, variables_of

ROOT = Path(__file__).parents[2]
STREAM: dict[str, Any] = CHAT | {"stream": True}


def ledger_at(database: Database, folder: Path, spool_bytes: int = 1_000_000) -> LedgerSettings:
    return LedgerSettings(database, folder, spool_bytes)


def lines_in(folder: Path) -> int:
    return b"".join(one.read_bytes() for one in folder.iterdir()).count(b"\n")


async def test_a_request_and_a_stream_have_rows_with_what_they_used(empty_database: Database, tmp_path: Path):
    async with harness.running(Engine(), ledger=ledger_at(empty_database, tmp_path), zone="eu-1a") as gateway:
        await gateway.ask(CHAT, x_request_id="one", x_penstock_feature="search")
        await gateway.ask(STREAM, x_request_id="two")
        assert (await gateway.ask(CHAT | {"model": "none"})).status == 404
    one, two = await rows(empty_database, more="ORDER BY ended_at")
    assert (one["request_id"], one["tenant"], one["key_id"], one["feature"]) == ("one", "default", "test", "search")
    assert (one["model"], one["colour"], one["zone"], one["route"]) == ("tiny", "blue", "eu-1a", "chat")
    assert (one["status"], one["outcome"], one["stream"], one["estimated"]) == (200, "ok", False, False)
    assert (one["input_tokens"], one["output_tokens"], one["cached_tokens"], one["tries"]) == (17, 8, 0, 1)
    assert float(one["cost_usd"]) == pytest.approx(17e-6 + 16e-6)
    assert (one["ttft_ms"], one["itl_ms"]) == (None, None)
    assert (two["request_id"], two["feature"], two["stream"], two["output_tokens"]) == ("two", None, True, 8)
    assert 0 < two["ttft_ms"] <= two["duration_ms"]
    assert two["itl_ms"] >= 0
    assert two["engine"] == one["engine"]


async def test_a_request_id_that_is_used_twice_is_billed_twice(empty_database: Database, tmp_path: Path):
    async with harness.running(Engine(), ledger=ledger_at(empty_database, tmp_path)) as gateway:
        for _ in range(2):
            await gateway.ask(CHAT, x_request_id="same")
    assert len(await rows(empty_database, more="WHERE request_id = 'same'")) == 2


async def test_a_feature_tag_that_breaks_the_rule_is_refused(empty_database: Database, tmp_path: Path):
    async with harness.running(Engine(), ledger=ledger_at(empty_database, tmp_path)) as gateway:
        reply = await gateway.ask(CHAT, x_penstock_feature="a b")
    assert (reply.status, reply.error["code"]) == (400, "invalid_feature")
    assert "1 to 64 letters" in reply.error["message"]


async def test_failed_requests_have_rows_that_cost_nothing(empty_database: Database, tmp_path: Path):
    engine = Engine(harness.fails(400, "no", "BadRequestError"))
    async with harness.running(engine, ledger=ledger_at(empty_database, tmp_path)) as gateway:
        await gateway.ask(CHAT)
    (row,) = await rows(empty_database)
    assert (row["status"], row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (400, 0, 0, 0)


async def test_the_row_is_on_the_disk_before_the_client_has_the_end(proxy: Proxy, tmp_path: Path):
    await proxy.stop()
    async with harness.running(Engine(), ledger=ledger_at(proxy.before, tmp_path)) as gateway:
        spool = gateway.service.ledger
        assert spool is not None
        for body in (CHAT, STREAM):
            before = lines_in(tmp_path)
            client = await gateway.connect()
            await client.send(Client.request(body))
            reader = client.reader
            await reader.readuntil(b"[DONE]" if body is STREAM else b'"total_tokens"')
            assert lines_in(tmp_path) == before + 1


async def test_a_client_that_leaves_is_billed_and_its_engine_stops(empty_database: Database, tmp_path: Path):
    stopped = asyncio.Event()

    async def endless(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for number in range(4):
            await wire.chunk(event(str(number)))
        await wire.gone()
        stopped.set()

    async with harness.running(Engine(endless), ledger=ledger_at(empty_database, tmp_path)) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(STREAM))
        await client.head()
        seen = b""
        while seen.count(b"data:") < 4:
            seen += await client.chunk()
        client.close()
        await asyncio.wait_for(stopped.wait(), 3)
        await eventually(lambda: gateway.requests)
    (row,) = await rows(empty_database)
    assert (row["status"], row["outcome"], row["output_tokens"], row["estimated"]) == (499, "client_gone", 4, True)
    guessed = guess_input_tokens(json.dumps(STREAM).encode(), 2048)
    assert guessed <= row["input_tokens"] <= guessed + 30  # the gateway adds fields of its own
    assert float(row["cost_usd"]) == pytest.approx(row["input_tokens"] * 1e-6 + 8e-6)


def test_images_do_not_make_a_guessed_prompt_longer():
    text = b'{"messages":[{"content":"%b"}]}'
    assert guess_input_tokens(text % (b"word " * 400), 8192) == 507
    assert guess_input_tokens(text % b"data:image/png;base64,", 8192) < 20
    assert guess_input_tokens(text % (b"data:image/png;base64," + b"iVBORw0KGgo" * 9999), 8192) < 20
    assert guess_input_tokens(text % (b"word " * 99999), 8192) == 8192


async def test_chat_goes_on_while_the_database_is_away_and_its_rows_follow(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "FIRST_BACKOFF_SECONDS", 0.02)
    await proxy.stop()
    async with harness.running(Engine(), ledger=ledger_at(proxy.before, tmp_path)) as gateway:
        assert [(await gateway.ask()).status for _ in range(5)] == [200] * 5
        assert await gateway.metric("penstock_ledger_up") == 0
        assert await gateway.metric("penstock_ledger_spool_bytes") > 0
        assert await gateway.metric("penstock_ledger_lag_seconds") > 0
        await proxy.start()
        ledger = gateway.service.ledger
        assert ledger is not None
        await eventually(lambda: not ledger.spool.rows)
        assert await gateway.metric("penstock_ledger_up") == 1
        assert await gateway.metric("penstock_ledger_rows_stored_total") == 5
    assert len(await rows(proxy.database)) == 5


async def test_chat_goes_on_with_a_full_spool_and_the_metrics_say_so(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "MOST_ROWS_IN_MEMORY", 2)
    await proxy.stop()
    async with harness.running(Engine(), ledger=ledger_at(proxy.before, tmp_path, 400)) as gateway:
        assert [(await gateway.ask()).status for _ in range(5)] == [200] * 5
        assert await gateway.metric('penstock_ledger_rows_unspooled_total{reason="full"}') == 2
        lost = await gateway.metric('penstock_ledger_rows_lost_total{reason="full"}')
        assert 1 <= lost <= 3
        assert await gateway.metric("penstock_ledger_spool_bytes") <= 400
        await proxy.start()
    assert len(await rows(proxy.database)) == 5 - lost


# -- a gateway that is killed --


class Clients:
    """Clients that ask all the time, and note which request ids they sent and which replies they have whole."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.sent: set[str] = set()
        self.whole: set[str] = set()

    async def one(self, port: int) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            client = await Client.connect(port)
            try:
                while True:
                    name = f"r-{next(self.numbers)}"
                    stream = random.random() < 0.5
                    self.sent.add(name)
                    await client.send(Client.request(STREAM if stream else CHAT, x_request_id=name))
                    if stream:  # as OpenAI's clients do, this one takes [DONE] for the end
                        await client.reader.readuntil(b"data: [DONE]\n\n")
                        self.whole.add(name)
                        await client.reader.readuntil(b"0\r\n\r\n")
                    elif (await client.reply()).whole:
                        self.whole.add(name)
            finally:
                client.close()


async def spawn(folder: Path, engine: Engine, database: Database) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.gateway",
        "--config", str(folder / "gateway.json"), "--keys", str(folder / "keys.json"), "--port", "0",
        "--engines", engine.url,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={
            "PATH": os.environ["PATH"],
            "PENSTOCK_LEDGER_FOLDER": str(folder / "spool"),
            **variables_of(database),
        },
    )  # fmt: skip
    assert process.stdout is not None
    while True:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
        if line["event"] == "listening":
            break
    return process, line["port"]


async def drained(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.readline():
        pass


async def test_a_gateway_killed_at_any_moment_loses_no_row_and_doubles_none(empty_database: Database, tmp_path: Path):
    (tmp_path / "gateway.json").write_text(make_config().model_dump_json())
    (tmp_path / "keys.json").write_text(key_file(test=KEY).model_dump_json())
    engine, clients, connections, kills = Engine(), Clients(), 8, 4
    await engine.start()
    for _ in range(kills):
        process, port = await spawn(tmp_path, engine, empty_database)
        reading = asyncio.ensure_future(drained(process))
        working = [asyncio.ensure_future(clients.one(port)) for _ in range(connections)]
        await asyncio.sleep(random.uniform(0.3, 0.9))
        process.kill()
        await asyncio.gather(process.wait(), reading, *working)
    process, _ = await spawn(tmp_path, engine, empty_database)
    reading = asyncio.ensure_future(drained(process))
    spool = tmp_path / "spool"
    await eventually(lambda: not folder_of(spool))
    process.terminate()
    await asyncio.gather(process.wait(), reading)
    await engine.stop()
    stored = Counter(row["request_id"] for row in await rows(empty_database, "request_id"))
    print(f"{len(clients.whole)} replies received, {len(stored)} rows, {kills} kills")
    assert len(clients.whole) > 100
    assert clients.whole - stored.keys() == set()
    assert set(stored.values()) == {1}
    # The others were under way when the gateway was killed: the engine had done the work.
    assert stored.keys() <= clients.sent
    assert len(stored.keys() - clients.whole) <= kills * connections


async def test_a_gateway_that_is_told_to_stop_stores_all_rows_first(empty_database: Database, tmp_path: Path):
    (tmp_path / "gateway.json").write_text(make_config().model_dump_json())
    (tmp_path / "keys.json").write_text(key_file(test=KEY).model_dump_json())
    engine = Engine()
    await engine.start()
    process, port = await spawn(tmp_path, engine, empty_database)
    reading = asyncio.ensure_future(drained(process))
    client = await Client.connect(port)
    for _ in range(5):
        await client.send(Client.request(CHAT))
        await client.reply()
    client.close()
    process.terminate()
    await asyncio.gather(process.wait(), reading)
    await engine.stop()
    assert process.returncode == 0
    assert len(await rows(empty_database, "id")) == 5
    assert folder_of(tmp_path / "spool") == []


def test_a_gateway_whose_spool_cannot_be_made_says_so(tmp_path: Path):
    (tmp_path / "gateway.json").write_text(make_config().model_dump_json())
    (tmp_path / "keys.json").write_text(key_file(test=KEY).model_dump_json())
    command = [sys.executable, "-m", "app.gateway", "--config", str(tmp_path / "gateway.json")]
    command += ["--keys", str(tmp_path / "keys.json"), "--port", "0", "--engines", "http://127.0.0.1:1"]
    environment = {
        "PENSTOCK_DATABASE_ADDRESS": "127.0.0.1:1",
        "PENSTOCK_DATABASE_USER": "gate",
        "PENSTOCK_LEDGER_FOLDER": str(tmp_path / "keys.json" / "spool"),
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("penstock gateway: PENSTOCK_LEDGER_FOLDER: ")
    assert done.stderr.count("\n") == 1
