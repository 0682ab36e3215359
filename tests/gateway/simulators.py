"""Simulated engines as processes of their own, for tests of the gateway before real HTTP peers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.asynccontextmanager
async def simulated_engines(count: int, *more: str) -> AsyncGenerator[list[tuple[int, asyncio.subprocess.Process]]]:
    """Ports and processes of engines that serve `tiny`, ready. `more`: flags of vLLM."""
    started = []
    try:
        for _ in range(count):
            port = free_port()
            flags = ["--served-model-name", "tiny", "small", "--host", "127.0.0.1", "--port", str(port)]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.engine", "serve", "tiny", *flags, "--max-model-len", "2048",
                "--shutdown-timeout", "20", *more,
                cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                env={
                    "PATH": os.environ["PATH"], "PENSTOCK_SIM_LOAD_SECONDS": "0",
                    "PENSTOCK_SIM_TEARDOWN_SECONDS": "0.1",
                },
            )  # fmt: skip
            started.append((port, process))
        for port, process in started:
            async with asyncio.timeout(20):
                while not await _answers(port):
                    assert process.returncode is None, "the engine did not start"
                    await asyncio.sleep(0.05)
        yield started
    finally:
        for _, process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
