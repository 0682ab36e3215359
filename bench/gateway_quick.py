"""What the gateway costs: CPU per request and per SSE event, added latency, memory. `python bench/gateway_quick.py`

The gateway runs on one core; CPU is the kernel's scheduler time of all its threads, which depends little on what else
the machine does. The load comes from Python and does not saturate the gateway, so a request costs more here than at
capacity, where one wake-up serves many. Latency is compared with a direct connection in the same minute.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import uvloop

KEY = "sk-bench"
EVENTS, GAP_SECONDS = 32, 0.005
MESSAGE = {"role": "user", "content": "Answer in short plain sentences. " * 22}
USAGE = {"prompt_tokens": 143, "total_tokens": 175, "completion_tokens": 32}
CHOICE = {"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None, "token_ids": None}
EVENT = b"data: %b\n\n" % json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [CHOICE]}).encode()
LAST = b"data: %b\n\ndata: [DONE]\n\n" % json.dumps({"id": "chatcmpl-1", "choices": [], "usage": USAGE}).encode()
REPLY = json.dumps({"id": "chatcmpl-1", "choices": [{"message": {"content": "x" * 700}}], "usage": USAGE}).encode()
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(REPLY)
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """Answers each request, which must come in one read or end with the body's last byte."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.held = b""

    def data_received(self, data: bytes) -> None:
        self.held += data
        if not self.held.endswith(b"}"):
            return
        stream, self.held = b'"stream": true' in self.held, b""
        if not stream:
            self.transport.write(JSON_HEAD + REPLY)
            return
        self.transport.write(SSE_HEAD + chunk(EVENT))
        self.tick(EVENTS)

    def tick(self, left: int) -> None:
        if left:
            self.transport.write(chunk(EVENT))
            asyncio.get_running_loop().call_later(GAP_SECONDS, self.tick, left - 1)
        else:
            self.transport.write(chunk(LAST) + b"0\r\n\r\n")


async def upstream() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Load(asyncio.Protocol):
    """One connection in a closed loop until `until`; `pause` seconds between requests."""

    def __init__(self, request: bytes, end: bytes, until: float, pause: float, seconds: list[float]) -> None:
        self.request, self.end, self.until, self.pause, self.seconds = request, end, until, pause, seconds
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        if time.monotonic() >= self.until:
            self.transport.close()
            return
        self.received, self.first = b"", 0.0
        self.begun = time.monotonic()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.first = self.first or time.monotonic() - self.begun
        self.received = (self.received + data)[-4096:]
        if not self.received.endswith(self.end):
            return
        if b" 200 " not in data[:16] and b"[DONE]" not in self.received:
            raise SystemExit(f"the measurement is void: {data[:200]!r}")
        self.seconds.append(self.first)
        asyncio.get_running_loop().call_later(self.pause, self.send) if self.pause else self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, *, stream: bool, connections: int, seconds: float, pause: float = 0.0) -> list[float]:
    """Seconds to the first byte of each reply."""
    fields = {"model": "m", "messages": [MESSAGE]} | ({"stream": True} if stream else {})
    body = json.dumps(fields).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    until, found, waiting = time.monotonic() + seconds, [], []
    for _ in range(connections):
        client = Load(head.encode() + body, b"0\r\n\r\n" if stream else REPLY[-20:], until, pause, found)
        await asyncio.get_running_loop().create_connection(lambda client=client: client, "127.0.0.1", port)
        waiting.append(client.done)
    await asyncio.gather(*waiting)
    return found


def cpu_seconds(process: int) -> float:
    """On-CPU time of all threads: the first number of /proc/PID/task/TID/schedstat, in nanoseconds."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def measure(direct: int, gateway: int, process: int, seconds: float) -> None:
    for stream, connections, name in ((False, 32, "JSON request"), (True, 64, "SSE event")):
        await load(gateway, stream=stream, connections=connections, seconds=0.5)
        before = cpu_seconds(process)
        count = len(await load(gateway, stream=stream, connections=connections, seconds=seconds))
        used = cpu_seconds(process) - before
        count *= EVENTS + 3 if stream else 1
        print(f"{name}: {used / count * 1e6:.1f} us of CPU, {count / used:,.0f} per second and core")
    for stream, name in ((False, "JSON reply"), (True, "first event")):
        rows = []
        for port in (direct, gateway):
            found = await load(port, stream=stream, connections=2, seconds=seconds, pause=0.05)
            rows.append((statistics.median(found) * 1e3, statistics.quantiles(found, n=100)[98] * 1e3))
        (p50, p99), (through50, through99) = rows
        print(
            f"{name}: p50 {through50:.2f} ms through, {p50:.2f} direct ({through50 / p50:.1f} times); "
            f"p99 {through99:.2f}, {p99:.2f} direct"
        )
    print(f"memory: {resident_mb(process):.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each of the six measurements")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        uvloop.run(upstream())
        return
    model = {"name": "m", "selector": "a=b", "context_tokens": 2048, "max_output_tokens": 2048}
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        config, keys = Path(folder, "gateway.json"), Path(folder, "keys.json")
        config.write_text(json.dumps({"colour": "blue", "namespace": "n", "models": [model]}))
        keys.write_text(json.dumps({"keys": [{"id": "bench", "sha256": digest}]}))
        other = subprocess.Popen([sys.executable, __file__, "--upstream"], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None  # noqa: S101 - it was asked for
        direct = int(other.stdout.readline())
        command = [sys.executable, "-m", "app.gateway", "--config", str(config), "--keys", str(keys), "--port", "0"]
        begun = time.monotonic()
        gateway = subprocess.Popen([*command, "--engines", f"http://127.0.0.1:{direct}"], stdout=subprocess.PIPE)
        try:
            assert gateway.stdout is not None  # noqa: S101 - it was asked for
            port = json.loads(gateway.stdout.readline())["port"]
            print(f"start: {time.monotonic() - begun:.2f} s")
            # Nobody reads the log lines further: the gateway must not care.
            os.sched_setaffinity(gateway.pid, cores[:1])
            os.sched_setaffinity(0, cores[1:] or cores)
            os.sched_setaffinity(other.pid, cores[1:] or cores)
            uvloop.run(measure(direct, port, gateway.pid, options.seconds))
        finally:
            gateway.kill()
            other.kill()
            gateway.wait()
            other.wait()


if __name__ == "__main__":
    main()
