"""A release told by its runner, and wishes of the console: bound to what was seen, carried out once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.gateway.console import release
from app.gateway.database.settings import Database
from tests.gateway.harness import Running
from tests.gateway.key_cases import admin
from tests.gateway.real_postgres import execute
from tests.gateway.test_console import console

WATCHING = {"seconds": 3.0, "soak_seconds": 10, "wait_seconds": 60, "state": "waiting", "findings": []}
DRILL = {
    "passed": False, "missed": ["no failed request"], "done": "SIGKILL", "requests": 9, "retried": 1, "failed": 1,
    "streams": 2, "cut": 0, "resumed": 1, "worst_stall": 0.2, "full_capacity_seconds": None,
}  # fmt: skip


@pytest.fixture
async def gateway(empty_database: Database) -> AsyncIterator[Running]:
    async with console(empty_database) as one:
        yield one


def told(**changes: Any) -> dict[str, Any]:
    return {
        "runner": "one", "state": "watching", "doing": "Watching green at 25 %", "release": "r1", "at": "25 %",
        "colour": "green", "steps": [5, 25, 100], "passed": 1, "outcome": "open", "watching": WATCHING,
        "weights": {"blue": 75, "green": 25}, "offers": ["promote", "rollback"],
    } | changes  # fmt: skip


async def tell(gateway: Running, **changes: Any) -> Any:
    reply = await admin(gateway, "PUT", "release", told(**changes))
    assert reply.status == 200, reply.body
    return reply.json["wish"]


async def wish(gateway: Running, kind: str = "rollback", of: str = "r1", at: str = "25 %") -> tuple[int, Any]:
    reply = await admin(gateway, "POST", "release/wishes", {"kind": kind, "release": of, "at": at})
    return reply.status, reply.json


async def shown(gateway: Running) -> Any:
    return (await admin(gateway, "GET", "release")).json


async def test_a_wish_reaches_the_runner_once_and_its_outcome_comes_back(gateway: Running):
    assert await tell(gateway) is None
    status, made = await wish(gateway)
    assert (status, made["state"]) == (201, "open")
    heard = await tell(gateway)
    assert (heard["kind"], heard["release"], heard["at"], heard["actor"]) == ("rollback", "r1", "25 %", "ops")
    assert await tell(gateway) is None
    await tell(gateway, done=[{"wish": heard["id"], "outcome": "the weight was back"}], outcome="rolled back")
    (after,) = (await shown(gateway))["wishes"]
    assert (after["state"], after["outcome"]) == ("done", "the weight was back")
    rows = (await admin(gateway, "GET", "audit")).json["data"]
    assert [row["action"] for row in rows] == ["release.rollback.done", "release.rollback.wish"]
    assert rows[0]["detail"]["wished_by"] == "ops"


async def test_clicks_of_many_on_the_same_stand_are_one_wish(gateway: Running):
    await tell(gateway)
    found = await asyncio.gather(*(wish(gateway) for _ in range(4)))
    assert sorted(status for status, _ in found) == [200, 200, 200, 201]
    assert len({made["id"] for _, made in found}) == 1


async def test_a_wish_for_what_is_no_longer_so_is_refused(gateway: Running):
    assert (await wish(gateway))[1]["error"]["code"] == "no_runner"
    await tell(gateway)
    for changes in ({"at": "5 %"}, {"of": "r0"}):
        status, answer = await wish(gateway, **changes)
        assert (status, answer["error"]["code"]) == (409, "release_moved")
    await tell(gateway, state="working", offers=[])
    assert (await wish(gateway))[1]["error"]["code"] == "not_offered"


async def test_a_wish_that_came_before_a_step_is_not_carried_out_after_it(gateway: Running):
    await tell(gateway)
    assert (await wish(gateway, "promote"))[0] == 201
    assert await tell(gateway, at="100 %", passed=2) is None


async def test_a_wish_that_nobody_takes_is_over_and_does_not_stand_in_the_way(
    gateway: Running, empty_database: Database
):
    await tell(gateway)
    await wish(gateway)
    await execute(empty_database, "UPDATE penstock_console.wishes SET expires_at = now() - interval '1 second'")
    assert await tell(gateway) is None
    assert (await wish(gateway))[0] == 201


async def test_a_runner_that_is_silent_is_told_as_gone_with_the_command_to_run(
    gateway: Running, empty_database: Database
):
    await tell(gateway)
    assert (await shown(gateway))["attended"] is True
    await execute(empty_database, "UPDATE penstock_console.release SET told_at = now() - interval '1 minute'")
    found = await shown(gateway)
    assert (found["attended"], found["command"]) == (False, release.COMMAND)
    assert (await wish(gateway))[1]["error"]["code"] == "no_runner"


async def test_an_idle_attendant_does_not_speak_over_a_runner_that_works(gateway: Running):
    await tell(gateway)
    reply = await admin(gateway, "PUT", "release", told(runner="other", state="idle", at="promoted", watching=None))
    assert reply.json["heard"] is False
    assert (await shown(gateway))["told"]["at"] == "25 %"


async def test_what_a_runner_says_is_bounded_and_a_client_key_says_nothing(gateway: Running):
    for changes in ({"doing": "x" * 3000}, {"weights": {"red": 1}}, {"steps": [101]}, {"more": 1}, {"runner": "a\nb"}):
        assert (await admin(gateway, "PUT", "release", told(**changes))).status == 400
    refused = await admin(gateway, "PUT", "release", told(), authorization="Bearer sk-test-0123456789abcdef")
    assert refused.status == 403


async def test_a_drills_latest_result_is_kept(gateway: Running):
    assert (await admin(gateway, "PUT", "drills/engine-crash", DRILL)).status == 200
    assert (await admin(gateway, "PUT", "drills/engine-crash", DRILL | {"passed": True, "missed": []})).status == 200
    (row,) = (await admin(gateway, "GET", "drills")).json["data"]
    assert (row["drill"], row["passed"], row["requests"]) == ("engine-crash", True, 9)
    assert (await admin(gateway, "PUT", "drills/x", DRILL | {"requests": -1})).status == 400


async def test_without_jobs_their_part_is_told_as_missing(gateway: Running):
    reply = await admin(gateway, "GET", "jobs")
    assert (reply.status, reply.error["code"]) == (404, "no_jobs")
