"""Spend, jobs, drills and errors as the page shows them, in a real browser."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from app.gateway.console.settings import ConsoleConfig
from app.gateway.database.connection import connect
from app.gateway.database.migrations import migrate
from app.gateway.database.settings import Database
from app.gateway.ledger.settings import LedgerSettings
from app.jobs.schema import JOBS
from app.jobs.settings import Place
from tests.console.conftest import Open, Seen, console_on
from tests.gateway.harness import CHAT, Engine, Running, fails, make_config
from tests.gateway.key_cases import admin, chat, make_key
from tests.gateway.real_postgres import rows as ledger_rows
from tests.gateway.test_console_release import DRILL

pytestmark = pytest.mark.browser

SOME_WORK = """
INSERT INTO penstock_jobs.batches
    (id, kind, tenant, key_id, endpoint, input_object, input_bytes, status, expires_at, ended_at)
VALUES ('batch_1', 'batch', 'acme', 'key-1', '/v1/chat/completions', 'x', 1, 'in_progress', now() + '1 day', NULL),
    ('job_1', 'job', 'rival', 'key-2', '/v1/chat/completions', 'x', 1, 'completed', now() + '1 day', now());
INSERT INTO penstock_jobs.rows (id, batch, tenant, key_id, rank, batch_seq, line, custom_id, start, size, state)
SELECT gen_random_uuid(), 'batch_1', 'acme', 'key-1', 1, 1, line, 'r-' || line, 0, 1, state
FROM unnest(ARRAY[0, 0, 0, 1, 2, 2]::smallint[]) WITH ORDINALITY AS every (state, line);
"""
"""Three rows wait, one runs, two are done."""


async def shown(seen: Seen, region: str) -> list[list[str]]:
    """The cells of each row of a table, its heads left out."""
    found = seen.page.get_by_role("region", name=region)
    await expect(found.get_by_role("row").nth(1)).to_be_visible()
    rows: list[Locator] = (await found.get_by_role("row").all())[1:]
    return [await row.get_by_role("cell").all_inner_texts() for row in rows]


async def kept(database: Database, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await ledger_rows(database)) < count:  # noqa: ASYNC110 - the ledger's own pace
            await asyncio.sleep(0.05)


async def traffic(gateway: Running, database: Database) -> None:
    _, key = await make_key(gateway, name="search team", tenant="acme")
    for _ in range(3):
        assert (await chat(gateway, key)).status == 200
    assert (await gateway.ask(CHAT)).status == 200
    await kept(database, 4)


async def test_spend_is_shown_by_level_tenant_and_model(empty_database: Database, tmp_path: Path, open_page: Open):
    dear = make_config().models[0].model_dump() | {"output_usd_per_million_tokens": 10_000.0}
    config = make_config(models=[dear], console=ConsoleConfig().model_dump(), budget={"account_id": "123456789012"})
    ledger = LedgerSettings(empty_database, tmp_path, 64 * 1024 * 1024)
    async with console_on(empty_database, config=config, ledger=ledger) as gateway:
        await traffic(gateway, empty_database)
        seen = await open_page(gateway)
        await seen.sign_in()
        await seen.view("Spend")
        await expect(seen.page.locator("#view-spend")).to_contain_text("Level normal (nothing speaks against it)")
        by_tenant = {row[0]: row[1:] for row in await shown(seen, "This month by tenant")}
        usage = (await admin(gateway, "GET", "usage?by=tenant")).json["rows"]
        assert {name: (row[0], row[1]) for name, row in by_tenant.items()} == {
            "acme": ("3", "0"),
            "default": ("1", "0"),
        }
        assert {one["tenant"]: str(one["input_tokens"]) for one in usage} == {n: row[2] for n, row in by_tenant.items()}
        costs = {one["tenant"]: f"${one['cost_usd']:.2f}" for one in usage}
        assert costs == {name: row[4] for name, row in by_tenant.items()}
        assert float(costs["acme"].removeprefix("$")) >= 0.1
        (model,) = await shown(seen, "This month by model")
        assert model[:2] == ["tiny", "4"]
        wish = {"level": "no_batch", "seconds": 600, "reason": "the invoice is wrong"}
        assert (await admin(gateway, "PUT", "budget/override", wish)).status == 200
        await seen.view("Live")
        await seen.view("Spend")
        level = seen.page.locator("#view-spend [role=status]")
        await expect(level).to_contain_text("Level no_batch")
        await expect(level).to_contain_text("set by ops until")
        await expect(level).to_contain_text("the invoice is wrong")


async def test_without_a_budget_the_page_says_so_beside_the_usage(
    empty_database: Database, tmp_path: Path, open_page: Open
):
    ledger = LedgerSettings(empty_database, tmp_path, 64 * 1024 * 1024)
    async with console_on(empty_database, ledger=ledger) as gateway:
        await traffic(gateway, empty_database)
        seen = await open_page(gateway)
        await seen.sign_in()
        await seen.view("Spend")
        assert len(await shown(seen, "This month by model")) == 1
        reply = await admin(gateway, "GET", "budget")
        assert reply.status == 404
        await expect(seen.page.locator("#view-spend .note").nth(0)).to_have_text(reply.error["message"])


async def test_work_of_all_tenants_is_shown(empty_database: Database, open_page: Open):
    connection = await connect(empty_database)
    try:
        await migrate(connection, JOBS)
        await connection.execute(SOME_WORK)
    finally:
        await connection.close()
    config = make_config(console=ConsoleConfig().model_dump(), jobs={})
    place = Place(empty_database, "files", b"a-secret-of-these-tests-alone")
    async with console_on(empty_database, config=config, jobs=place) as gateway:
        seen = await open_page(gateway)
        await seen.sign_in()
        await seen.view("Jobs")
        assert await shown(seen, "Waiting and running") == [["acme", "3", "1"]]
        batch, job = await shown(seen, "Batches and jobs")
        assert batch[:7] == ["batch_1", "batch", "acme", "in_progress", "2", "0", "4"]
        assert job[:7] == ["job_1", "job", "rival", "completed", "0", "0", "0"]
        assert (batch[8] != job[8], job[8] == job[7]) == (True, True)


async def test_the_latest_run_of_each_drill_is_shown(empty_database: Database, open_page: Open):
    async with console_on(empty_database) as gateway:
        held: dict[str, Any] = DRILL | {"passed": True, "missed": [], "full_capacity_seconds": 41.0}
        await admin(gateway, "PUT", "drills/engine-crash", DRILL)
        await admin(gateway, "PUT", "drills/zone-loss", held)
        seen = await open_page(gateway)
        await seen.sign_in()
        await seen.view("Drills")
        crash, zone = await shown(seen, "The latest run of each drill")
        assert crash[:9] == ["engine-crash", "missed: no failed request", "9", "1", "1", "2", "0", "1", "200 ms"]
        assert zone[:2] == ["zone-loss", "held"]
        assert (zone[9], crash[11]) == ("41.0 s", "SIGKILL")


async def test_a_request_that_failed_is_shown_by_its_ids_and_without_its_prompt(
    empty_database: Database, open_page: Open
):
    config = make_config(console=ConsoleConfig().model_dump(), retries={"attempts": 1})
    async with console_on(empty_database, Engine(fails(500)), config=config) as gateway:
        seen = await open_page(gateway)
        await seen.sign_in()
        await seen.view("Errors")
        await expect(seen.page.get_by_text("None since the gateways started.")).to_be_visible()
        secret = "the prompt of somebody"
        reply = await gateway.ask({**CHAT, "messages": [{"role": "user", "content": secret}]})
        (row,) = await shown(seen, "Requests that failed on our side, the newest first")
        assert (row[1], row[3], row[4], row[6]) == (str(reply.status), "tiny", "default", "blue")
        assert row[9] == reply.headers["x-request-id"]
        assert secret not in await seen.page.content()
