"""No request is lost and none is billed twice, whatever dies or fails meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from typing import Any

from tests.gateway.real_postgres import Proxy
from tests.jobs.conftest import Platform, completed, lines, read_lines, start_batch

ROWS = 500


async def check_all_were_done_and_billed_once(platform: Platform, client: Any, identity: str, rows: int) -> None:
    batch = await platform.until_ended(client, identity, 60)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (rows, 0)
    answers = await read_lines(client, batch.output_file_id)
    assert Counter(one["custom_id"] for one in answers) == Counter(f"r-{number}" for number in range(rows))
    async with asyncio.timeout(40):  # the ledger stores what it has twice a second
        while len(await bills(platform)) < rows:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # a second bill would come by now
    billed = await bills(platform)
    assert Counter(row["row"] for row in billed) == Counter(row["id"] for row in await platform.fetch(IDS))
    assert {(row["tenant"], row["key_id"]) for row in billed} == {("default", "test")}


IDS = "SELECT id FROM penstock_jobs.rows"
BILLS = """
SELECT r.id AS row, u.tenant, u.key_id FROM penstock_ledger.usage u
JOIN penstock_jobs.rows r ON split_part(u.request_id, '-', 2) = replace(r.id::text, '-', '') WHERE u.cost_usd > 0
"""


async def bills(platform: Platform) -> list[Any]:
    """What costs money, by the rows that it was for, whatever the ledger's own ids are."""
    return await platform.fetch(BILLS)


async def test_workers_that_are_killed_again_and_again_lose_and_double_nothing(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(ROWS))
        workers = [await platform.worker_process(lease_seconds=1, concurrency=8) for _ in range(2)]
        for kills in range(1, 40):
            turn = kills % 2
            async with asyncio.timeout(40):
                while not await platform.fetch("SELECT FROM penstock_jobs.rows WHERE state = 1"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            workers[turn].kill()
            await workers[turn].wait()
            assert completed(await client.batches.retrieve(batch.id)) < ROWS, "all was done before a worker held a row"
            again = await platform.fetch("SELECT FROM penstock_jobs.rows WHERE attempts > 1 LIMIT 1")
            workers[turn] = await platform.worker_process(lease_seconds=1, concurrency=8)
            if kills >= 4 and again:
                break
        await check_all_were_done_and_billed_once(platform, client, batch.id, ROWS)


async def test_an_answer_whose_worker_died_before_it_was_kept_is_billed_once(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(20))
        platform.s3.broken.clear()
        first = await platform.worker_process(lease_seconds=1)
        async with asyncio.timeout(40):
            while not await platform.fetch("SELECT FROM penstock_jobs.rows WHERE state = 1"):
                platform.s3.broken.clear()
                await asyncio.sleep(0.01)
        platform.s3.broken.set()  # answers come, and find no place
        async with asyncio.timeout(40):
            while len(await bills(platform)) < 10:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        first.kill()
        await first.wait()
        platform.s3.broken.clear()
        async with platform.worker():
            await check_all_were_done_and_billed_once(platform, client, batch.id, 20)


async def test_a_worker_that_is_told_to_end_hands_its_rows_back_at_once(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(100, max_tokens=16))
        worker = await platform.worker_process(lease_seconds=600, concurrency=4)
        await platform.until_done(client, batch.id, 1)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), 30) == 0
        held = await platform.fetch("SELECT count(*) FROM penstock_jobs.rows WHERE state = 1")
        assert held[0]["count"] == 0
        assert completed(await client.batches.retrieve(batch.id)) < 100
        async with platform.worker():
            await check_all_were_done_and_billed_once(platform, client, batch.id, 100)


async def test_a_full_bucket_holds_answers_up_and_loses_none(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(100))
        async with platform.worker() as worker:
            await platform.until_done(client, batch.id, 10)
            platform.s3.broken.set()
            async with asyncio.timeout(40):
                while worker.stored_ok:  # noqa: ASYNC110 - the worker's own state
                    await asyncio.sleep(0.05)
            reply = await platform.ask(
                "POST", "/v1/jobs", {"endpoint": "/v1/chat/completions", "body": {"model": "tiny"}}
            )
            assert (reply.status, reply.error["code"]) == (503, "storage_unavailable")
            assert "retry-after" in reply.headers
            await asyncio.sleep(1)
            platform.s3.broken.clear()
            await check_all_were_done_and_billed_once(platform, client, batch.id, 100)


async def test_a_database_that_is_away_for_a_while_loses_and_doubles_nothing(platform: Platform):
    proxy = Proxy(platform.place().database)
    await proxy.start()
    try:
        async with platform.client() as client:
            batch = await start_batch(client, lines(150, max_tokens=16))
            async with platform.worker(proxy.before, concurrency=4) as worker:
                await platform.until_done(client, batch.id, 10)
                await proxy.stop()
                before = worker.rows_ended
                await asyncio.sleep(2.5)  # longer than a lease
                await proxy.start()
                await check_all_were_done_and_billed_once(platform, client, batch.id, 150)
            assert before < 150
    finally:
        await proxy.stop()
