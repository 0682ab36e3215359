"""A real browser before real gateways with their PostgreSQL and Redis."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, Page, async_playwright

from app.gateway.config import GatewayConfig
from app.gateway.console.settings import ConsoleConfig
from app.gateway.database.settings import Database
from infra.local.toolchain.browser import Browser, browser
from infra.ops.progress import Progress
from tests.gateway import harness
from tests.gateway.harness import Engine, Running, eventually, make_config
from tests.gateway.key_cases import ADMIN_KEY, file_with_admin
from tests.gateway.real_postgres import empty_database, postgres
from tests.gateway.redis_fixtures import redis, shared_redis
from tests.gateway.redis_server import RedisServer

__all__ = ["empty_database", "postgres", "redis", "shared_redis"]

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}


@pytest.fixture(scope="session")
def program() -> Browser:
    return browser(Progress())


def console_config(**changes: Any) -> GatewayConfig:
    return make_config(**({"console": ConsoleConfig().model_dump()} | changes))


@contextlib.asynccontextmanager
async def console_on(
    database: Database | None,
    *engines: Engine,
    redis: RedisServer | None = None,
    config: GatewayConfig | None = None,
    pod: str = "gateway-blue-1",
    **around: Any,
) -> AsyncGenerator[Running]:
    """A gateway with the console, an admin key, and what else is named."""
    async with harness.running(
        *(engines or (Engine(),)),
        config=config or console_config(),
        keys=database,
        cache_address="" if redis is None else redis.address,
        environment={"POD_NAME": pod},
        **around,
    ) as gateway:
        file = file_with_admin()
        gateway.service.keys.take_file(file.keys, file.admins)
        await eventually(lambda: gateway.service.keys.loaded)
        yield gateway


@pytest.fixture
async def chromium(program: Browser) -> AsyncIterator[Chromium]:
    async with async_playwright() as playwright:
        one = await playwright.chromium.launch(
            executable_path=program.program,
            env={**os.environ, **program.environment},
            chromium_sandbox=False,  # containers of CI have no user namespaces; the pages are ours
        )
        yield one
        await one.close()


@dataclass
class Seen:
    """A page, and what it should never have."""

    page: Page
    context: BrowserContext
    problems: list[str]
    url: str

    async def sign_in(self, key: str = ADMIN_KEY, actor: str = "ops") -> None:
        await self.page.goto(f"{self.url}/console")
        await self.page.get_by_label("Admin key").fill(key)
        await self.page.keyboard.press("Enter")
        await self.page.get_by_text(f"Live, signed in as {actor}").wait_for()

    async def view(self, name: str) -> None:
        await self.page.get_by_role("link", name=name, exact=True).click()
        await self.page.get_by_role("heading", name=name, level=2).wait_for()


Open = Callable[..., Any]


@pytest.fixture
async def open_page(chromium: Chromium) -> AsyncIterator[Open]:
    """`open_page(gateway, **context)`: a fresh profile. Errors of the page, or requests to elsewhere, fail the test."""
    opened: list[Seen] = []

    async def one(gateway: Running | str, **options: Any) -> Seen:
        url = gateway if isinstance(gateway, str) else f"http://127.0.0.1:{gateway.port}"
        context = await chromium.new_context(viewport=options.pop("viewport", DESK), **options)
        page = await context.new_page()
        seen = Seen(page, context, [], url)
        page.on("pageerror", lambda error: seen.problems.append(f"error: {error}"))
        page.on("console", lambda line: _note(seen, line.type, line.text))
        page.on("request", lambda request: _foreign(seen, request.url))
        opened.append(seen)
        return seen

    yield one
    for seen in opened:
        await seen.context.close()
        assert seen.problems == []


def _note(seen: Seen, kind: str, text: str) -> None:
    """Refusals that a test provokes are told by the browser as well; a breach of the policy never is one."""
    if kind == "error" and ("Failed to load resource" not in text and "net::ERR" not in text):
        seen.problems.append(f"console: {text}")


def _foreign(seen: Seen, url: str) -> None:
    if not url.startswith((seen.url, "data:", "about:")):
        seen.problems.append(f"asked {url}")


PICTURES = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_PICTURE_BYTES = 150_000


async def picture(page: Page, name: str) -> None:
    """For the docs, where PENSTOCK_WRITE_PICTURES is set; always taken, so that it cannot become too large unseen."""
    content = await page.screenshot()
    assert len(content) < MOST_PICTURE_BYTES
    if os.environ.get("PENSTOCK_WRITE_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(content)
