"""OpenAI's batches before a real gateway: the official client, wrong input, cancel and expiry."""

from __future__ import annotations

import json

import openai
import pytest

from tests.jobs.conftest import OTHER_KEY, Platform, completed, lines, put_file, read_lines, request_line, start_batch


async def test_the_official_clients_batch_example_runs_unchanged(platform: Platform):
    async with platform.worker(), platform.client() as client:
        batch_input_file = await client.files.create(file=("batchinput.jsonl", lines(3)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=batch_input_file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"description": "nightly eval job"},
        )
        assert batch.status == "validating"
        batch = await platform.until_ended(client, batch.id)
        assert batch.status == "completed"
        assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (3, 3, 0)
        assert batch.metadata == {"description": "nightly eval job"}
        file_response = await client.files.content(batch.output_file_id)
        answers = [json.loads(line) for line in file_response.text.splitlines()]
        assert sorted(one["custom_id"] for one in answers) == ["r-0", "r-1", "r-2"]
        for one in answers:
            assert one["error"] is None
            assert one["response"]["status_code"] == 200
            assert one["response"]["body"]["usage"]["completion_tokens"] == 4
            assert one["id"].startswith("batch_req_")
        listed = [one.id async for one in await client.batches.list(limit=10)]
        assert listed == [batch.id]
        assert batch.error_file_id is None


async def test_requests_that_a_model_refuses_are_in_the_error_file(platform: Platform):
    content = lines(2) + b"\n" + request_line(7, model="none").encode() + b"\n"
    async with platform.worker(), platform.client() as client:
        batch = await platform.until_ended(client, (await start_batch(client, content)).id)
        assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 2, 1)
        assert len(await read_lines(client, batch.output_file_id)) == 2
        (refused,) = await read_lines(client, batch.error_file_id)
    assert refused["custom_id"] == "r-7"
    assert refused["response"]["status_code"] == 404
    assert refused["response"]["body"]["error"]["code"] == "model_not_found"


async def test_each_wrong_line_is_named_with_its_number(platform: Platform):
    wrong = [
        request_line(1),
        "{not json",
        json.dumps({"custom_id": "x", "method": "GET", "url": "/v1/chat/completions", "body": {"model": "tiny"}}),
        json.dumps({"custom_id": "y", "method": "POST", "url": "/v1/embeddings", "body": {"model": "tiny"}}),
        request_line(1),
        json.dumps({"method": "POST", "url": "/v1/chat/completions", "body": {"model": "tiny"}}),
        request_line(3, stream=True),
        json.dumps({"custom_id": "z", "method": "POST", "url": "/v1/chat/completions", "body": {}}),
    ]
    async with platform.worker(), platform.client() as client:
        batch = await platform.until_ended(client, (await start_batch(client, "\n".join(wrong).encode())).id)
    assert batch.status == "failed"
    assert [(one.line, one.code) for one in batch.errors.data] == [
        (2, "invalid_json_line"), (3, "invalid_method"), (4, "mismatched_endpoint"), (5, "duplicate_custom_id"),
        (6, "invalid_request"), (7, "invalid_body"), (8, "invalid_body"),
    ]  # fmt: skip
    assert "line 1" in batch.errors.data[3].message
    assert "custom_id" in batch.errors.data[4].message
    assert await platform.fetch("SELECT FROM penstock_jobs.rows") == []


async def test_a_cancelled_batch_gives_what_was_done(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(200, max_tokens=16))
        async with platform.worker(concurrency=2, chunk_rows=4):
            await platform.until_done(client, batch.id, 4)
            assert (await client.batches.cancel(batch.id)).status == "cancelling"
            batch = await platform.until_ended(client, batch.id)
        done = batch.request_counts.completed
        assert batch.status == "cancelled"
        assert 4 <= done < 200
        assert len(await read_lines(client, batch.output_file_id)) == done


async def test_an_expired_batch_names_what_was_not_done(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(5))
        await platform.fetch("UPDATE penstock_jobs.batches SET expires_at = now()")
        async with platform.worker():
            batch = await platform.until_ended(client, batch.id)
        assert batch.status == "expired"
        assert batch.expired_at is not None


async def test_rows_of_a_batch_that_expires_half_done_are_told_as_expired(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(120, max_tokens=16))
        async with platform.worker(concurrency=2, chunk_rows=4):
            await platform.until_done(client, batch.id, 4)
            await platform.fetch("UPDATE penstock_jobs.batches SET expires_at = now()")
            batch = await platform.until_ended(client, batch.id)
        done, missed = await read_lines(client, batch.output_file_id), await read_lines(client, batch.error_file_id)
    assert batch.status == "expired"
    assert len(done) + len(missed) == 120
    assert {one["error"]["code"] for one in missed} == {"batch_expired"}


async def test_one_tenant_sees_nothing_of_another(platform: Platform):
    async with platform.client() as mine, platform.client(OTHER_KEY) as other:
        file = await put_file(mine, lines(1))
        batch = await mine.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
        assert [one.id async for one in await other.files.list()] == []
        assert [one.id async for one in await other.batches.list()] == []
        for ask in (
            other.files.retrieve(file), other.files.content(file), other.files.delete(file),
            other.batches.retrieve(batch.id), other.batches.cancel(batch.id), start_with(other, file),
        ):  # fmt: skip
            with pytest.raises(openai.NotFoundError):
                await ask
        assert (await mine.batches.retrieve(batch.id)).status == "validating"


async def start_with(client: openai.AsyncOpenAI, file: str) -> object:
    return await client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")


async def test_a_small_batch_does_not_wait_for_another_tenants_large_one(platform: Platform):
    async with platform.client() as mine, platform.client(OTHER_KEY) as other:
        large = await start_batch(mine, lines(240, max_tokens=8))
        small = await start_batch(other, lines(8))
        async with platform.worker(concurrency=4, chunk_rows=8):
            small = await platform.until_ended(other, small.id)
            done = completed(await mine.batches.retrieve(large.id))
    assert small.status == "completed"
    assert done < 120
