"""The erasure of a tenant takes its job files, results and requests along at once, from the bucket too."""

from __future__ import annotations

import json

from tests.jobs.conftest import ADMIN_KEY, OTHER_KEY, Platform, lines, put_file, start_batch

ERASE = "/admin/v1/tenants/other/data?confirm=other"
AS_ADMIN = f"Bearer {ADMIN_KEY}"
BODY = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}


async def fill(platform: Platform) -> None:
    """A batch that ended, with its results, a job that waits, and a file of another tenant."""
    async with platform.client(OTHER_KEY) as ai, platform.worker():
        batch = await start_batch(ai, lines(3))
        await platform.until_ended(ai, batch.id)
    waiting = {"endpoint": "/v1/chat/completions", "body": BODY}
    made = await platform.ask("POST", "/v1/jobs", waiting, authorization=f"Bearer {OTHER_KEY}")
    assert made.status == 202
    async with platform.client() as ai:
        await put_file(ai, b"{}\n")


async def test_nothing_of_the_tenant_is_left_in_bucket_or_tables_and_others_keep_theirs(platform: Platform):
    await fill(platform)
    before = platform.s3.keys(platform.bucket)
    assert len(before) >= 4, "input, output, the waiting job's input, and the other tenant's file"
    erased = await platform.ask("DELETE", ERASE, authorization=AS_ADMIN)
    assert erased.status == 200, erased.body
    assert erased.json["job_files"] >= 3
    assert len(platform.s3.keys(platform.bucket)) == 1
    for table in ("files", "batches", "rows"):
        rows = await platform.fetch(f"SELECT tenant FROM penstock_jobs.{table}")  # noqa: S608 - of the list above
        assert {row["tenant"] for row in rows} <= {"default"}
    assert [row["count"] for row in await platform.fetch("SELECT count(*) FROM penstock_jobs.files")] == [1]
    again = await platform.ask("DELETE", ERASE, authorization=AS_ADMIN)
    assert (again.status, again.json["job_files"]) == (200, 0)


async def test_where_the_bucket_fails_no_row_goes_and_the_erasure_can_be_repeated(platform: Platform):
    await fill(platform)
    platform.s3.broken.set()
    refused = await platform.ask("DELETE", ERASE, authorization=AS_ADMIN)
    assert (refused.status, refused.error["code"]) == (503, "bucket_away")
    assert await platform.fetch("SELECT id FROM penstock_jobs.batches WHERE tenant = 'other'")
    platform.s3.broken.clear()
    assert (await platform.ask("DELETE", ERASE, authorization=AS_ADMIN)).status == 200
    assert not await platform.fetch("SELECT id FROM penstock_jobs.batches WHERE tenant = 'other'")


async def test_an_export_names_the_files_and_batches_of_the_tenant_and_of_no_other(platform: Platform):
    await fill(platform)
    exported = await platform.ask("GET", "/admin/v1/tenants/other/export", authorization=AS_ADMIN)
    assert exported.status == 200
    found = [json.loads(line) for line in exported.body.splitlines()]
    assert found[-1]["object"] == "end"
    files = {one["id"] for one in found if one["object"] == "file"}
    batches = {one["id"]: one["status"] for one in found if one["object"] == "batch"}
    own = await platform.fetch("SELECT id FROM penstock_jobs.files WHERE tenant = 'other'")
    assert files == {row["id"] for row in own}
    assert len(files) == 2, "input and output"
    assert sorted(batches.values()) == ["completed", "validating"], "a job is a batch of one row"
    assert {one.get("tenant", "other") for one in found} == {"other"}
