"""Files at the gateway, and jobs: one long request with a result, an idempotency key and a webhook."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from aiohttp import web

from app.jobs import webhooks
from tests.jobs.conftest import OTHER_KEY, Platform, lines, put_file, start_batch

BODY = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}
JOB: dict[str, Any] = {"endpoint": "/v1/chat/completions", "body": BODY}


@dataclass
class Receiver:
    """Takes messages; answers with these statuses, then 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    application = web.Application()
    application.router.add_post("/hook", one.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield one
    await runner.cleanup()


async def until(platform: Platform, identity: str, *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            found = (await platform.ask("GET", f"/v1/jobs/{identity}")).json
            if found["status"] in statuses:
                return found
            await asyncio.sleep(0.05)


async def test_files_are_listed_read_and_deleted_by_the_official_client(platform: Platform):
    content = lines(2)
    async with platform.client() as client:
        made = [await client.files.create(file=("a.jsonl", content), purpose="batch") for _ in range(3)]
        assert (made[0].bytes, made[0].filename, made[0].purpose) == (len(content), "a.jsonl", "batch")
        page = await client.files.list(limit=2)
        assert page.has_more
        assert [one.id async for one in page] == [one.id for one in reversed(made)]
        assert [one.id async for one in await client.files.list(order="asc", limit=2)] == [one.id for one in made]
        assert (await client.files.content(made[0].id)).content == content
        assert (await client.files.delete(made[0].id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(made[0].id)
        short = await client.files.create(
            file=("b.jsonl", content), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert short.expires_at == short.created_at + 3600
    assert f"files/{made[0].id}" not in platform.s3.keys(platform.bucket)


async def test_a_large_file_comes_back_byte_for_byte(platform: Platform):
    content = b"0123456789\n" * 400_000  # 4.4 MB: many reads, and boundaries anywhere
    async with platform.client() as client:
        file = await put_file(client, content)
        assert (await client.files.content(file)).content == content


async def test_uploads_that_are_wrong_are_refused_and_leave_nothing(platform: Platform):
    async with platform.client() as client:
        with pytest.raises(openai.APIStatusError) as large:
            await put_file(client, b"x" * 5_000_001)
        assert large.value.status_code == 413
        assert "5000000 bytes" in large.value.message
        with pytest.raises(openai.BadRequestError) as purpose:
            await client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
        assert purpose.value.param == "purpose"
        with pytest.raises(openai.BadRequestError) as empty:
            await client.files.create(file=("a.jsonl", b""), purpose="batch")
        assert empty.value.code == "empty_file"
    assert (await platform.ask("POST", "/v1/files", b"{}", content_type="application/json")).status == 415
    reply = await platform.ask("POST", "/v1/files", b"nothing", content_type="multipart/form-data; boundary=b")
    assert reply.status == 400
    assert (await platform.ask("PUT", "/v1/files", b"")).status == 405
    assert (await platform.ask("GET", "/v1/files", authorization="")).status == 401
    assert platform.s3.keys(platform.bucket) == []


async def test_the_input_of_a_batch_under_way_stays(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(1))
        with pytest.raises(openai.ConflictError) as refused:
            await client.files.delete(batch.input_file_id)
    assert batch.id in refused.value.message


async def test_a_job_gives_the_models_own_answer(platform: Platform):
    made = await platform.ask("POST", "/v1/jobs", JOB | {"metadata": {"for": "report"}})
    assert made.status == 202
    assert (made.json["object"], made.json["status"], made.json["metadata"]) == ("job", "queued", {"for": "report"})
    identity = made.json["id"]
    early = await platform.ask("GET", f"/v1/jobs/{identity}/result")
    assert (early.status, early.error["code"]) == (409, "not_ended")
    async with platform.worker():
        job = await until(platform, identity, "completed", "failed")
    assert (job["status"], job["progress"]["percent"], job["progress"]["attempts"]) == ("completed", 100, 1)
    result = await platform.ask("GET", job["result_url"])
    assert result.status == 200
    assert result.json["usage"]["completion_tokens"] == 4
    assert [one["id"] for one in (await platform.ask("GET", "/v1/jobs")).json["data"]] == [identity]
    assert (await platform.ask("GET", f"/v1/jobs/{identity}", authorization=f"Bearer {OTHER_KEY}")).status == 404
    assert (await platform.ask("GET", f"/v1/batches/{identity}")).status == 404


async def test_a_job_that_the_model_refuses_has_failed_and_says_why(platform: Platform):
    long = JOB | {"body": BODY | {"messages": [{"role": "user", "content": "word " * 9000}]}}
    made = (await platform.ask("POST", "/v1/jobs", long)).json
    async with platform.worker():
        job = await until(platform, made["id"], "completed", "failed")
    assert job["status"] == "failed"
    result = await platform.ask("GET", job["result_url"])
    assert (result.status, result.error["code"]) == (400, "context_length_exceeded")


async def test_a_job_can_be_cancelled_and_expires(platform: Platform):
    first, second = [(await platform.ask("POST", "/v1/jobs", JOB)).json["id"] for _ in range(2)]
    assert (await platform.ask("POST", f"/v1/jobs/{first}/cancel", b"")).json["status"] == "cancelling"
    await platform.fetch("UPDATE penstock_jobs.batches SET expires_at = now() WHERE id = $1", second)
    async with platform.worker():
        await until(platform, first, "cancelled")
        await until(platform, second, "expired")
    assert (await platform.ask("GET", f"/v1/jobs/{first}/result")).status == 404


async def test_an_idempotency_key_makes_one_job(platform: Platform):
    one, two = [await platform.ask("POST", "/v1/jobs", JOB, idempotency_key="once") for _ in range(2)]
    assert one.json["id"] == two.json["id"]
    assert (one.status, two.status) == (202, 200)
    other = await platform.ask("POST", "/v1/jobs", JOB | {"expires_in_seconds": 90}, idempotency_key="once")
    assert (other.status, other.error["code"]) == (409, "idempotency_conflict")
    many = await asyncio.gather(*(platform.ask("POST", "/v1/jobs", JOB, idempotency_key="race") for _ in range(6)))
    assert len({reply.json["id"] for reply in many}) == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"body": {"messages": []}}, "body"),
        ({"body": BODY | {"stream": True}}, "body"),
        ({"expires_in_seconds": 5}, "expires_in_seconds"),
        ({"expires_in_seconds": "x"}, "expires_in_seconds"),
        ({"surprise": 1}, "surprise"),
        ({"metadata": {"k": "v" * 600}}, "metadata"),
        ({"webhook": {"url": "http://10.0.0.1/"}}, "webhook.url"),
        ({"webhook": {"url": "https://user:word@example.com/"}}, "webhook.url"),
    ],
)
async def test_a_wrong_job_is_refused_with_the_fields_name(platform: Platform, change: dict[str, Any], param: str):
    reply = await platform.ask("POST", "/v1/jobs", JOB | change)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body


async def test_a_webhook_is_signed_and_tried_again(
    platform: Platform, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhooks, "WAITS_SECONDS", (0.1,) * 9)
    receiver.answers = [500, 302]
    made = (await platform.ask("POST", "/v1/jobs", JOB | {"webhook": {"url": receiver.url}})).json
    async with platform.worker(), asyncio.timeout(60):
        while len(receiver.got) < 3:  # noqa: ASYNC110 - the receiver's own state
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
    assert len(receiver.got) == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    for headers, body in receiver.got:  # the check of the specification, written anew
        key = base64.b64decode(made["webhook"]["secret"].removeprefix("whsec_"))
        signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        content = json.loads(body)
        assert content["type"] == "job.completed"
        assert content["data"] == {"id": made["id"], "status": "completed"}
    assert [one["done"] for one in await platform.fetch("SELECT done FROM penstock_jobs.deliveries")] == [True]


def test_a_message_is_tried_again_at_the_times_that_its_standard_recommends(platform: Platform):
    """5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h, and no more tries than the configuration has."""
    minutes = [round(one / 60, 2) for one in webhooks.WAITS_SECONDS]
    assert minutes == [0.08, 5, 30, 120, 300, 600, 840, 1200, 1440]
    assert platform.config.webhooks.attempts <= len(webhooks.WAITS_SECONDS) + 1


async def test_a_receiver_that_wants_no_more_or_never_answers_well_is_left(
    platform: Platform, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhooks, "WAITS_SECONDS", (0.1,) * 9)
    tries = platform.config.webhooks.attempts
    for answers, wanted, last in (([410], 1, "410"), ([500] * (tries + 3), tries, "500")):
        receiver.got, receiver.answers = [], list(answers)
        await platform.fetch("TRUNCATE penstock_jobs.deliveries")
        await platform.ask("POST", "/v1/jobs", JOB | {"webhook": {"url": receiver.url}})
        async with platform.worker(), asyncio.timeout(60):
            while not await platform.fetch("SELECT FROM penstock_jobs.deliveries WHERE done"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert len(receiver.got) == wanted
        (row,) = await platform.fetch("SELECT attempts, last_result FROM penstock_jobs.deliveries")
        assert (row["attempts"], row["last_result"]) == (wanted, last)
