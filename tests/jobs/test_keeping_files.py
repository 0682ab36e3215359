"""Files and batches end with their time, in the table and in the bucket, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import openai
import pytest

from app.jobs.objects import StorageError
from tests.gateway.real_postgres import execute
from tests.jobs.conftest import Platform, lines, put_file, start_batch


async def names(platform: Platform) -> set[str]:
    return {row["id"] for row in await platform.fetch("SELECT id FROM penstock_jobs.files")}


async def ends_in(platform: Platform, file: str, seconds: int) -> None:
    await platform.fetch(
        "UPDATE penstock_jobs.files SET expires_at = now() + $2 * interval '1 second' WHERE id = $1", file, seconds
    )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - the state of another process
            await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def cleaning_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.worker.CLEAN_SECONDS", 0.2)


async def test_a_file_past_its_end_leaves_table_and_bucket_and_another_stays(platform: Platform):
    async with platform.client() as ai:
        late, early = await put_file(ai, b"{}\n"), await put_file(ai, b"{}\n")
        await ends_in(platform, late, -1)
        await ends_in(platform, early, 60)
        with pytest.raises(openai.NotFoundError):
            await ai.files.retrieve(late)
        assert len(platform.s3.keys(platform.bucket)) == 2, "nobody has cleaned yet"

        async def gone() -> bool:
            return late not in await names(platform)

        async with platform.worker():
            await until(gone)
        assert await names(platform) == {early}
        assert platform.s3.keys(platform.bucket) == [f"files/{early}"]
        assert (await ai.files.content(early)).text == "{}\n"


async def test_the_input_of_a_batch_under_way_stays_until_that_has_ended(platform: Platform):
    async with platform.client() as ai:
        batch = await start_batch(ai, lines(3))
        await ends_in(platform, batch.input_file_id, -1)

        async def gone() -> bool:
            return batch.input_file_id not in await names(platform)

        async with platform.worker():
            ended = await platform.until_ended(ai, batch.id)
            await until(gone)
        assert (ended.status, ended.request_counts.completed) == ("completed", 3), "it was read to its end"
        assert (await ai.files.content(ended.output_file_id)).text.count("\n") == 3


async def test_where_the_bucket_fails_the_row_stays_until_the_object_is_gone(platform: Platform):
    async with platform.client() as ai:
        late = await put_file(ai, b"{}\n")
    await ends_in(platform, late, -1)
    platform.s3.broken.set()

    async with platform.worker() as worker:
        with pytest.raises(StorageError):
            await worker._clean()
        assert await names(platform) == {late}
        platform.s3.broken.clear()
        await worker._clean()
        assert await names(platform) == set()
    assert platform.s3.keys(platform.bucket) == []


async def test_a_batch_is_forgotten_when_its_days_are_over_with_rows_and_prompts(platform: Platform):
    async with platform.client() as ai, platform.worker():
        old, young = await start_batch(ai, lines(2)), await start_batch(ai, lines(2))
        for batch in (old, young):
            await platform.until_ended(ai, batch.id)
    days = platform.config.keep_days
    for batch, minutes in ((old, 1), (young, -1)):
        await execute(
            platform.database,
            f"UPDATE penstock_jobs.batches SET ended_at = now() - interval '{days} days' "  # noqa: S608
            f"- interval '{minutes} minutes' WHERE id = '{batch.id}'",
        )

    async def gone() -> bool:
        return not await platform.fetch("SELECT FROM penstock_jobs.batches WHERE id = $1", old.id)

    async with platform.worker():
        await until(gone)
    for table in ("batches", "rows", "parts"):
        column = "id" if table == "batches" else "batch"
        found = await platform.fetch(f"SELECT {column} AS batch FROM penstock_jobs.{table}")  # noqa: S608
        assert {row["batch"] for row in found} == {young.id}, table
