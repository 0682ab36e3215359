"""The gateway as a process: start, size, signals, and settings that are wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.gateway.__main__ import main
from tests.gateway.harness import CHAT, KEY, Client, Engine, Request, Wire, event, key_file, make_config

STREAM: dict[str, Any] = CHAT | {"stream": True}
ROOT = Path(__file__).parents[2]


async def spawn(folder: Path, *more: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.gateway",
        "--config", str(folder / "gateway.json"), "--keys", str(folder / "keys.json"), *more,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]} | environment,
    )  # fmt: skip


def resident_kib(process: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway.json").write_text(make_config().model_dump_json())
    (tmp_path / "keys.json").write_text(key_file(test=KEY).model_dump_json())
    return tmp_path


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        for number in range(10):
            await wire.chunk(event(str(number)))
            await asyncio.sleep(0.05)
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()

    one = Engine(answer)
    await one.start()
    yield one
    await one.stop()


async def test_a_process_starts_small_serves_drains_on_sigterm_and_ends_with_zero(folder: Path, engine: Engine):
    process = await spawn(folder, "--port", "0", "--engines", engine.url)
    assert process.stdout is not None
    begun = time.monotonic()
    line = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
    print(f"gateway start-up: {time.monotonic() - begun:.2f} s")
    assert line["event"] == "listening"
    client = await Client.connect(line["port"])
    await client.send(Client.request(STREAM))
    await client.head()
    await client.chunk()
    process.send_signal(signal.SIGTERM)
    received = b""
    while part := await client.chunk():
        received += part
    assert received.endswith(event("9") + b"data: [DONE]\n\n")
    assert await client.ended()
    client.close()
    output, errors = await asyncio.wait_for(process.communicate(), 5)
    lines = [json.loads(one) for one in output.splitlines()]
    assert [one["event"] for one in lines] == ["drain", "request", "stopped"]
    assert lines[1]["status"] == 200
    assert errors == b""
    assert process.returncode == 0


async def test_a_process_takes_less_than_60_mb(folder: Path, engine: Engine):
    # The fake API address makes it watch pods, which loads all that a gateway in a pod has.
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    process = await spawn(folder, "--port", "0", **environment, KUBERNETES_CREDENTIALS=str(folder))
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 10)
    lost = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
    assert (lost["event"], lost["connected"]) == ("watch", False)
    resident = resident_kib(process.pid)
    print(f"gateway resident memory: {resident / 1024:.0f} MB")
    assert resident < 60_000
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 5)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gateway.json", '{"colour": "red"}', "colour"),
        ("gateway.json", "{", "Invalid JSON"),
        ("gateway.json", '{"colour":"blue","namespace":"a","models":[],"speed":1}', "speed"),
        ("gateway.json", '{"colour":"blue","namespace":"a","models":[]}', "models: give at least one model"),
        ("keys.json", '{"keys":[{"id":"a","sha256":"sk-in-the-clear"}]}', "keys.0.sha256"),
        ("keys.json", None, "No such file"),
        ("engines", "10.0.0.1", "--engines: '10.0.0.1' is not of the form http://HOST:PORT"),
        ("PENSTOCK_CACHE_ADDRESS", "cache", "PENSTOCK_CACHE_ADDRESS"),
        ("nothing", "", "--engines"),
    ],
)
async def test_a_mistake_in_the_settings_is_one_sentence_and_status_2(
    folder: Path, name: str, content: str | None, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
):
    engines = "http://127.0.0.1:8000"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if name == "engines":
        engines = content or ""
    elif name == "nothing":
        engines = ""
    elif name.isupper():
        monkeypatch.setenv(name, content)
    elif content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    arguments = ["--config", str(folder / "gateway.json"), "--keys", str(folder / "keys.json"), "--engines", engines]
    monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
    assert main() == 2
    text = capsys.readouterr().err
    assert text.startswith("penstock gateway: ")
    assert said in text
    assert text.count("\n") == 1
    assert "sk-in-the-clear" not in text


async def test_a_port_that_is_taken_is_one_sentence(folder: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = await spawn(folder, "--port", port, "--engines", "http://127.0.0.1:1")
        _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in errors.decode()
    assert errors.count(b"\n") == 1
