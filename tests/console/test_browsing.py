"""The console in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from app.gateway.database.settings import Database
from tests.console.conftest import Open, console_on
from tests.gateway.harness import CHAT
from tests.gateway.key_cases import chat
from tests.gateway.redis_server import RedisServer

pytestmark = pytest.mark.browser


async def test_an_admin_signs_in_sees_traffic_and_signs_out(
    empty_database: Database, redis: RedisServer, open_page: Open
):
    async with console_on(empty_database, redis=redis) as gateway:
        seen = await open_page(gateway)
        await seen.sign_in()
        for _ in range(20):
            assert (await gateway.ask(CHAT | {"stream": True})).status == 200
        row = seen.page.get_by_role("region", name="By colour").get_by_role("row", name="blue")
        await row.wait_for()
        await expect(seen.page.locator("figcaption", has_text="Requests a second")).to_contain_text(
            re.compile("top [1-9]"), timeout=20_000
        )
        await seen.view("Fleet")
        await seen.page.get_by_role("cell", name="gateway-blue-1").wait_for()
        await seen.page.get_by_role("button", name="Sign out").click()
        await seen.page.get_by_text("Signed out.").wait_for()
        assert await seen.page.get_by_label("Admin key").is_visible()
        assert await seen.context.cookies() == []


async def test_a_key_is_made_shown_once_used_and_revoked(empty_database: Database, open_page: Open):
    async with console_on(empty_database) as gateway:
        seen = await open_page(gateway)
        page = seen.page
        await seen.sign_in()
        await seen.view("Keys")
        await page.get_by_label("Name", exact=True).fill("search team")
        await page.get_by_label("Tenant", exact=True).fill("acme")
        await page.get_by_label("Days; empty: for ever").fill("30")
        await page.get_by_role("button", name="Make a key").click()
        shown = page.get_by_label("The new key")
        await shown.wait_for()
        key = await shown.input_value()
        assert key.startswith("pk-")
        assert (await chat(gateway, key)).status == 200
        await page.get_by_role("button", name="Done").click()
        assert key not in await page.content()
        assert await shown.input_value() == ""
        await page.get_by_role("button", name="Revoke search team").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await page.get_by_role("cell", name="revoked", exact=True).wait_for()
        reply = await chat(gateway, key)
        assert (reply.status, reply.error["code"]) == (401, "key_revoked")
