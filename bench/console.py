"""The console's page left open, in a real browser before a real gateway: `python -m bench.console --minutes 10`.

The page first paints, then its stream runs in real time under light traffic. It prints one JSON object: milliseconds
and bytes of the first paint; by minute, the browser's heap (after a forced collection) and its number of DOM nodes; the
gateway's resident memory without a page, with one, and with many.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import CDPSession, Page, async_playwright

from app.gateway.console.schema import CONSOLE
from app.gateway.console.settings import ConsoleConfig
from app.gateway.database.connection import connect
from app.gateway.database.migrations import migrate
from app.gateway.database.settings import Database
from bench.jobs import SECRET, database_server, free_port, start, tables
from infra.local.toolchain.browser import browser
from infra.ops.progress import Progress

KEY, ADMIN = "sk-bench-of-the-console", "ak-bench-of-the-console"
MODEL = {
    "name": "tiny", "selector": "x=y", "context_tokens": 2048, "max_output_tokens": 64,
    "input_usd_per_million_tokens": 1.0, "output_usd_per_million_tokens": 2.0,
}  # fmt: skip
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SIZES = (
    "[performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')]"
    ".map((one) => one.transferSize)"
)
SETTLE_SECONDS = 10.0
"""Between opening pages and reading memory."""


def write_files(folder: Path, pages: int) -> None:
    config = {
        "colour": "blue", "namespace": "bench", "models": [MODEL],
        "console": ConsoleConfig(most_viewers=pages + 10, session_minutes=720).model_dump(),
    }  # fmt: skip
    keys = [{"id": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]
    admins = [{"id": "bench", "sha256": hashlib.sha256(ADMIN.encode()).hexdigest()}]
    (folder / "gateway.json").write_text(json.dumps(config))
    (folder / "keys.json").write_text(json.dumps({"keys": keys, "admins": admins}))


async def ready(gateway: str) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{gateway}/readyz") as reply:
                    if reply.status == 200:
                        return
            await asyncio.sleep(0.1)


async def traffic(gateway: str, a_second: float) -> None:
    """A chat now and then, streamed, for ever."""
    body = {"model": "tiny", "max_tokens": 16, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session:
        while True:
            async with session.post(f"{gateway}/v1/chat/completions", json=body) as reply:
                await reply.read()
            await asyncio.sleep(1 / a_second)


async def pages_open(gateway: str, cookie: str, count: int) -> None:
    """Streams of so many pages, read and thrown away, until cancelled."""

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{gateway}/console/stream", headers={"cookie": cookie}) as reply:
            reply.raise_for_status()
            async for _ in reply.content.iter_any():
                pass

    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(one(session) for _ in range(count)))


def resident_kib(process: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[0])


async def held(tools: CDPSession) -> dict[str, int]:
    """What the page holds once its garbage is gone."""
    await tools.send("HeapProfiler.collectGarbage")
    told = {one["name"]: one["value"] for one in (await tools.send("Performance.getMetrics"))["metrics"]}
    return {"heap_kib": round(told["JSHeapUsedSize"] / 1024), "nodes": int(told["Nodes"])}


async def sign_in(page: Page, gateway: str) -> str:
    await page.get_by_label("Admin key").fill(ADMIN)
    await page.keyboard.press("Enter")
    await page.get_by_text("Live, signed in as bench").wait_for()
    # The cookie is for /console alone.
    (cookie,) = await page.context.cookies(f"{gateway}/console")
    return f"{cookie.get('name')}={cookie.get('value')}"


async def measure(minutes: int, pages: int, folder: Path, database: Database) -> dict[str, Any]:
    write_files(folder, pages)
    await tables(database)
    connection = await connect(database)
    await migrate(connection, CONSOLE)
    await connection.close()
    engine_port, gateway_port = free_port(), free_port()
    gateway = f"http://127.0.0.1:{gateway_port}"
    environment = {
        "PENSTOCK_KEYS_DATABASE": "true", "PENSTOCK_DATABASE_ADDRESS": f"{database.host}:{database.port}",
        "PENSTOCK_DATABASE_NAME": database.name, "PENSTOCK_DATABASE_USER": database.user,
        "PENSTOCK_DATABASE_PASSWORD": SECRET,
    }  # fmt: skip
    engine = start(folder, "engine", {"PENSTOCK_SIM_LOAD_SECONDS": "0"}, "app.engine", "serve", "tiny",
                   "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(engine_port),
                   "--max-model-len", "2048")  # fmt: skip
    process = start(folder, "gateway", environment, "app.gateway", "--port", str(gateway_port), "--engines",
                    f"http://127.0.0.1:{engine_port}", "--config", str(folder / "gateway.json"),
                    "--keys", str(folder / "keys.json"))  # fmt: skip
    asking: asyncio.Task[None] | None = None
    try:
        await ready(gateway)
        asking = asyncio.create_task(traffic(gateway, 5.0))
        await asyncio.sleep(SETTLE_SECONDS)
        server = {"without_a_page_kib": resident_kib(process.pid)}
        program = browser(Progress())
        async with async_playwright() as playwright:
            chromium = await playwright.chromium.launch(
                executable_path=program.program, env={**os.environ, **program.environment}, chromium_sandbox=False
            )
            page = await (await chromium.new_context()).new_page()
            await page.goto(f"{gateway}/console")
            await page.get_by_label("Admin key").wait_for()
            paint, sizes = await page.evaluate(PAINT), await page.evaluate(SIZES)
            tools = await page.context.new_cdp_session(page)
            await tools.send("Performance.enable")
            cookie = await sign_in(page, gateway)
            await asyncio.sleep(SETTLE_SECONDS)
            server["one_page_kib"] = resident_kib(process.pid)
            many = asyncio.create_task(pages_open(gateway, cookie, pages))
            await asyncio.sleep(SETTLE_SECONDS)
            server[f"{pages + 1}_pages_kib"] = resident_kib(process.pid)
            by_minute = [await held(tools)]
            for _ in range(minutes):
                await asyncio.sleep(60)
                by_minute.append(await held(tools))
            server[f"{pages + 1}_pages_at_the_end_kib"] = resident_kib(process.pid)
            many.cancel()
            await chromium.close()
        return {
            "first_paint_ms": round(paint), "bytes": sum(sizes), "requests": len(sizes), "minutes": minutes,
            "page_by_minute": by_minute, "gateway": server,
        }  # fmt: skip
    finally:
        if asking is not None:
            asking.cancel()
        for one in (process, engine):
            one.kill()
            one.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--pages", type=int, default=50, help="further open pages, without a browser")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, database_server(Path(name)) as database:
        print(json.dumps(asyncio.run(measure(options.minutes, options.pages, Path(name), database)), indent=2))


if __name__ == "__main__":
    main()
