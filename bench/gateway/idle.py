"""Many streams open at once that say nothing: what they take in memory and CPU. One asyncio client, loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass

from bench.gateway import kernel
from bench.gateway.modes import KEY
from bench.gateway.peers import PATH

OPEN_AT_ONCE = 100
OPEN_SECONDS = 60.0
WATCH_SECONDS = 3.0


@dataclass(frozen=True)
class Idle:
    streams: int
    """How many got their first event and were open at the end."""
    memory_mb: float
    added_mb: float
    cores_used: float
    open_seconds: float

    @property
    def kilobytes_each(self) -> float:
        return self.added_mb * 1000 / self.streams if self.streams else 0.0


async def _open(
    port: int, request: bytes, gate: asyncio.Semaphore
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises OSError, and EOFError where the stream does not begin."""
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2048)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            writer.close()
            raise ConnectionError(head[:16].decode("latin-1"))
        await reader.readuntil(b"\n\n")  # the role event
        return reader, writer


async def hold(root: int, port: int, body: bytes, streams: int) -> Idle:
    """Opens `streams`, reads the gateway for some seconds, and closes them."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    before, begun = kernel.pss_mb(root), time.monotonic()
    gate = asyncio.Semaphore(OPEN_AT_ONCE)
    tasks = [asyncio.ensure_future(_open(port, request, gate)) for _ in range(streams)]
    done, late = await asyncio.wait(tasks, timeout=OPEN_SECONDS)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    opened = [task.result() for task in done if task.exception() is None]
    opening = time.monotonic() - begun
    clock, at = kernel.CpuClock(root), time.monotonic()
    used = clock.read()
    await asyncio.sleep(WATCH_SECONDS)
    used = (clock.read() - used) / (time.monotonic() - at)
    memory = kernel.pss_mb(root)
    alive = sum(not reader.at_eof() for reader, _ in opened)
    for _, writer in opened:
        # A reset leaves no port waiting: the next gateway gets as many streams.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    with contextlib.suppress(OSError):
        await asyncio.sleep(0.2)
    return Idle(alive, memory, memory - before, used, opening)
