"""What clients and operators see of work that waits, runs and has ended."""

from __future__ import annotations

from typing import Any

from tests.jobs.conftest import ADMIN_KEY, OTHER_KEY, Platform, lines, request_line, start_batch

JOB: dict[str, Any] = {
    "endpoint": "/v1/chat/completions",
    "body": {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]},
}


async def shown(platform: Platform) -> dict[str, Any]:
    reply = await platform.ask("GET", "/admin/v1/jobs", authorization=f"Bearer {ADMIN_KEY}")
    assert reply.status == 200, reply.body
    return reply.json


async def test_an_operator_sees_the_work_of_all_tenants_as_it_waits_and_as_it_ended(platform: Platform):
    async with platform.client() as mine, platform.client(OTHER_KEY) as other:
        wrong = request_line(200, model="none").encode()
        first = await start_batch(mine, lines(200, max_tokens=16) + b"\n" + wrong)
        second = await start_batch(other, lines(2))
        job = (await platform.ask("POST", "/v1/jobs", JOB)).json
        before = await shown(platform)
        assert {
            one["id"]: (one["kind"], one["tenant"], one["status"], one["requests"]) for one in before["recent"]
        } == {
            first.id: ("batch", "default", "validating", {}),
            second.id: ("batch", "other", "validating", {}),
            job["id"]: ("job", "default", "validating", {}),
        }
        assert before["queue"] == []
        async with platform.worker(concurrency=2, chunk_rows=4):
            await platform.until_ended(other, second.id)
            await platform.until_done(mine, first.id, 4)
        midway = await shown(platform)
        (waiting,) = midway["queue"]
        assert (waiting["tenant"], waiting["running"]) == ("default", 0)
        requests = {one["id"]: one["requests"] for one in midway["recent"]}
        assert requests[second.id] == {"done": 2}
        assert requests[first.id] == {"done": 201 - waiting["queued"], "queued": waiting["queued"]}
        async with platform.worker():
            await platform.until_ended(mine, first.id)
        after = await shown(platform)
        ended = {one["id"]: one for one in after["recent"]}
        assert after["queue"] == []
        assert (ended[first.id]["status"], ended[first.id]["requests"]) == ("completed", {"done": 200, "failed": 1})
        assert ended[first.id]["ended_at"] >= ended[first.id]["created_at"]
        assert "hello" not in str(after), "no prompt is shown"
    assert (await platform.ask("GET", "/admin/v1/jobs")).status == 403, "a client's key sees nothing of it"


async def test_a_job_tells_how_many_requests_of_its_tenant_go_first(platform: Platform):
    made = [(await platform.ask("POST", "/v1/jobs", JOB)).json for _ in range(3)]
    await platform.ask("POST", "/v1/jobs", JOB, authorization=f"Bearer {OTHER_KEY}")
    stands = [(await platform.ask("GET", f"/v1/jobs/{one['id']}")).json for one in made]
    assert [one["status"] for one in stands] == ["queued"] * 3
    assert [one["progress"] for one in stands] == [
        {"percent": 0, "attempts": 0, "queued_before": before} for before in range(3)
    ]
    await platform.fetch(  # as a worker does that has checked the first two
        "WITH checked AS (UPDATE penstock_jobs.batches SET status = 'in_progress' WHERE id = ANY($1) RETURNING *) "
        "INSERT INTO penstock_jobs.rows (id, batch, tenant, key_id, rank, batch_seq, line, custom_id, start, size) "
        "SELECT gen_random_uuid(), id, tenant, key_id, 0, seq, 1, 'job', 0, 1 FROM checked",
        [one["id"] for one in made[:2]],
    )
    assert [(await platform.ask("GET", f"/v1/jobs/{one['id']}")).json for one in made] == stands
