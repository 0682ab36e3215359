"""The console on the running platform, in a real browser: a swap is watched, and taken back by a click."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from playwright.async_api import expect

from infra.ops.load.generator import Load, Plan
from tests.console.conftest import chromium, open_page, picture, program
from tests.local.conftest import CHECKOUT, Platform

__all__ = ["chromium", "open_page", "program"]

pytestmark = [pytest.mark.local, pytest.mark.browser]
STEP_MS = 400_000
"""Longest wait for an update of the stack, on a busy machine; the test of the page itself is not of its speed."""


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("stack_file_restored")
async def test_a_swap_is_watched_and_rolled_back_from_the_page(platform: Platform, open_page):
    admin_key = platform.penstock_json("console")["admin_key"]
    load = Load(platform.endpoint, Plan(platform.endpoint.models[0], rate=15, streams=8, seconds=850, stream_tokens=60))
    running = asyncio.create_task(load.run())
    seen = await open_page(platform.endpoint.url)
    page = seen.page
    await seen.sign_in(admin_key, "first")
    promote = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.ops.cli", "release", "promote", "--yes",
        cwd=CHECKOUT,
        env=os.environ | platform.variables,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        by_colour = page.get_by_role("region", name="By colour")
        await expect(by_colour.get_by_role("row", name="green")).to_be_visible(timeout=30_000)
        await seen.view("Release")
        await expect(page.locator("#release-weights")).to_have_text("blue 95 %, green 5 %", timeout=STEP_MS)
        await expect(page.get_by_role("button", name="Roll back")).to_be_enabled(timeout=STEP_MS)
        await expect(page.get_by_role("row", name="TTFT p95")).to_be_visible()
        await picture(page, "console-release")
        await seen.view("Live")
        await expect(by_colour.get_by_role("row", name="blue")).to_be_visible()
        await asyncio.sleep(5)
        await picture(page, "console-live")
        await seen.view("Fleet")
        await expect(page.get_by_role("region", name="Engines").get_by_role("row")).not_to_have_count(1)
        await picture(page, "console-fleet")
        await seen.view("Release")
        button = page.get_by_role("button", name="Roll back")
        await expect(button).to_be_enabled(timeout=STEP_MS)
        await button.click()
        await page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
        await expect(page.locator("#release-state")).to_contain_text("rolled back", timeout=STEP_MS)
        await expect(page.locator("#release-weights")).to_have_text("blue 100 %, green 0 %", timeout=30_000)
        await expect(page.get_by_role("region", name="Wishes").get_by_role("row", name="done")).to_contain_text(
            "the weight was back", timeout=30_000
        )
        _, errors = await asyncio.wait_for(promote.communicate(), 120)
        assert promote.returncode == 1, errors.decode()
    finally:
        if promote.returncode is None:
            promote.terminate()
            await promote.wait()
        load.stop()
        await asyncio.wait_for(running, 60)
    status = platform.penstock_json("release", "status")
    assert (status["settled"], status["live"]) == (True, {"blue": 100, "green": 0})
    assert status["release"]["reason"] == "asked for by first at the console"
    assert load.records.figures().failures == 0
