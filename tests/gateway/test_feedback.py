"""Feedback: tied to a tenant's own requests, masked, scored, summed up with privacy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.gateway.database.connection import connect
from app.gateway.database.settings import Database
from app.gateway.feedback.privacy import Group, noise, private, threshold
from app.gateway.ledger.settings import LedgerSettings
from tests.gateway import harness
from tests.gateway.harness import Engine, Reply, Running, eventually, make_config
from tests.gateway.key_cases import admin, file_with_admin, make_key, send


@contextlib.asynccontextmanager
async def gateway_with_feedback(
    database: Database, folder: Path, budget: dict[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[Running]:
    config = make_config(feedback=settings, budget=budget, traces={"endpoint": "http://127.0.0.1:9", "ratio": 1.0})
    ledger = LedgerSettings(database, folder, 64 * 1024 * 1024)
    async with harness.running(Engine(), config=config, keys=database, ledger=ledger) as gateway:
        file = file_with_admin()
        gateway.service.keys.take_file(file.keys, file.admins)
        await eventually(lambda: gateway.service.keys.loaded, 10)
        yield gateway


async def rate(gateway: Running, request_id: str, rating: int = 5, key: str = "", **more: Any) -> Reply:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await send(gateway, "POST", "/v1/feedback", {"request_id": request_id, "rating": rating} | more, **headers)


async def stored(gateway: Running, request_id: str, **more: Any) -> Reply:
    """Rates a request as soon as the ledger has it."""
    for _ in range(100):
        reply = await rate(gateway, request_id, **more)
        if reply.status != 404:
            return reply
        assert reply.headers["retry-after"]
        await asyncio.sleep(0.05)
    raise AssertionError("the ledger never had the request")


async def rows(database: Database, table: str) -> list[dict[str, Any]]:
    connection = await connect(database)
    try:
        return [dict(row) for row in await connection.fetch(f"SELECT * FROM penstock_feedback.{table}")]  # noqa: S608
    finally:
        connection.terminate()


async def test_a_client_rates_its_own_requests_and_the_newest_word_stays(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        _, other = await make_key(gateway, tenant="other")
        identity = (await gateway.ask()).headers["x-request-id"]
        text = "Wrong for jane.doe@example.com, card 4111 1111 1111 1111"
        reply = await stored(gateway, identity, rating=1, comment=text, tags=["wrong", "wrong"])
        assert reply.status == 201
        assert reply.json["comment"] == "Wrong for [EMAIL], card [CREDIT_CARD]"
        assert (await rate(gateway, identity, 4, tags=["late"])).status == 201
        foreign = await rate(gateway, identity, 1, other)
        assert (foreign.status, foreign.error["code"]) == (404, "unknown_request")
        (row,) = await rows(empty_database, "feedback")
        assert (row["rating"], row["tags"], row["model"], row["tenant"]) == (4, ["late"], "tiny", "default")
        assert row["expires_at"].date().toordinal() - row["at"].date().toordinal() == 90
        assert await gateway.metric('penstock_feedback_total{rating="4"}') == 1


async def test_what_is_wrong_is_named_and_nothing_is_open_without_a_key(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        wrong: dict[str, dict[str, Any]] = {
            "rating": {"rating": 6},
            "tags.0": {"tags": ["No Tag"]},
            "trace": {"trace": "x"},
            "comment": {"comment": "x" * 2001},
            "evaluation.consent": {"evaluation": {}},
        }
        for field, more in wrong.items():
            reply = await rate(gateway, "req-1", **more)
            assert (reply.status, reply.error["param"]) == (400, field)
        assert (await rate(gateway, "req-1", key="nobody")).status == 401
        assert (await send(gateway, "GET", "/v1/feedback")).status == 405
        assert (await send(gateway, "POST", "/v1/feedback", b"x" * (1024 * 1024 + 1))).status == 413
    async with harness.running(Engine()) as plain:
        assert (await send(plain, "POST", "/v1/feedback", {})).status == 404


async def test_the_score_goes_to_the_trace(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        scores: list[tuple[Any, ...]] = []
        assert gateway.service.tracer is not None
        gateway.service.tracer.score = lambda *given, **more: bool(scores.append((*given, more)) or True)
        reply = await gateway.ask()
        trace = reply.headers["x-penstock-trace"]
        assert (await stored(gateway, reply.headers["x-request-id"], rating=4, trace=trace)).json["scored"] is True
        assert scores == [(trace, "user_rating", 0.75, {"explanation": ""})]


async def test_only_consented_requests_of_the_sample_are_kept_and_masked(empty_database: Database, tmp_path: Path):
    given = {
        "consent": True,
        "input": [{"role": "user", "content": "I am jane.doe@example.com"}],
        "output": "Hello jane.doe@example.com",
    }
    policy = {"quiet": {"evaluation_percent": 0, "keep_days": 7}}
    async with gateway_with_feedback(empty_database, tmp_path, evaluation_percent=100, tenants=policy) as gateway:
        _, quiet = await make_key(gateway, tenant="quiet")
        ids = [(await gateway.ask()).headers["x-request-id"] for _ in range(2)]
        ids.append((await gateway.ask(authorization=f"Bearer {quiet}")).headers["x-request-id"])
        assert (await stored(gateway, ids[0], evaluation=given)).json["sampled"] is True
        assert (await stored(gateway, ids[1])).json["sampled"] is False
        assert (await stored(gateway, ids[2], key=quiet, evaluation=given)).json["sampled"] is False
        no = await rate(gateway, ids[1], evaluation=given | {"consent": False})
        assert (no.status, no.error["param"]) == (400, "evaluation.consent")
        (row,) = await rows(empty_database, "evaluation")
        assert json.loads(row["input"]) == [{"role": "user", "content": "I am [EMAIL]"}]
        assert row["output"] == "Hello [EMAIL]"
        kept = {r["tenant"]: (r["expires_at"] - r["at"]).days for r in await rows(empty_database, "feedback")}
        assert kept == {"default": 90, "quiet": 7}


async def test_a_sample_is_a_share_and_off_by_default(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path, evaluation_percent=20) as gateway:
        feedback = gateway.service.feedback
        assert feedback is not None
        chosen = sum(feedback.chosen("acme", f"req-{n}") for n in range(5000))
        assert 850 < chosen < 1150
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        feedback = gateway.service.feedback
        assert feedback is not None
        assert not any(feedback.chosen("acme", f"req-{n}") for n in range(1000))


async def test_an_admin_gets_sums_plain_and_private(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        identity = (await gateway.ask()).headers["x-request-id"]
        await stored(gateway, identity, rating=2, tags=["slow", "wrong"])
        report = (await admin(gateway, "GET", "feedback?by=tag,model")).json
        assert report["rows"] == [
            {"tag": tag, "model": "tiny", "count": 1, "mean_rating": 2.0} for tag in ("slow", "wrong")
        ]
        whole = (await admin(gateway, "GET", "feedback?by=")).json["rows"]
        assert whole == [{"count": 1, "mean_rating": 2.0}]
        quiet = (await admin(gateway, "GET", "feedback?by=tenant&epsilon=1")).json
        assert (quiet["epsilon"], quiet["rows"]) == (1.0, [])
        for wrong in ("by=name", "by=tag,tag", "epsilon=0", "epsilon=x", "since=2026-13-01", "limit=1"):
            reply = await admin(gateway, "GET", f"feedback?{wrong}")
            assert (reply.status, reply.error["code"]) == (400, "invalid_query")


async def test_private_reports_end_when_the_month_s_epsilon_of_a_tenant_is_spent(
    empty_database: Database, tmp_path: Path
):
    async with gateway_with_feedback(empty_database, tmp_path, epsilon_per_month=2.0) as gateway:
        identity = (await gateway.ask()).headers["x-request-id"]
        assert (await stored(gateway, identity)).status == 201
        spent = [await admin(gateway, "GET", "feedback?epsilon=0.75") for _ in range(3)]
        assert [one.status for one in spent] == [200, 200, 429]
        assert [one.json["epsilon_left"] for one in spent[:2]] == [1.25, 0.5]
        assert spent[2].error["code"] == "privacy_budget_spent"
        assert "0.5 is left" in spent[2].error["message"]
        assert (await admin(gateway, "GET", "feedback?epsilon=0.5")).status == 200, "what was refused spent nothing"
        elsewhere = "feedback?since=2020-01-01&until=2020-01-31&epsilon=5"
        assert (await admin(gateway, "GET", elsewhere)).status == 200, "a report about nobody spends nothing"
        assert (await admin(gateway, "GET", "feedback")).json["epsilon_left"] is None
        held = await rows(empty_database, "privacy")
        assert [(row["tenant"], float(row["epsilon"])) for row in held] == [("default", 2.0)]
        at_once = await asyncio.gather(*(admin(gateway, "GET", "feedback?epsilon=0.1") for _ in range(3)))
        assert {one.status for one in at_once} == {429}


def test_noise_has_the_spread_that_epsilon_asks_for_and_no_lean():
    chance = Random(11)
    for scale in (2.0, 20.0):
        drawn = [noise(scale, chance) for _ in range(20_000)]
        ratio = math.exp(-1 / scale)
        variance = 2 * ratio / (1 - ratio) ** 2
        assert abs(sum(drawn) / len(drawn)) < 4 * math.sqrt(variance / len(drawn))
        assert abs(sum(one * one for one in drawn) / len(drawn) / variance - 1) < 0.1


def test_one_feedback_more_or_less_changes_the_chance_of_no_count_by_more_than_epsilon_allows():
    epsilon, chance, times = 1.0, Random(5), 40_000
    seen = [
        Counter(one.count for _ in range(times) for one in private([Group(("a",), size, size * 3)], epsilon, 1, chance))
        for size in (60, 61)
    ]
    bound = math.exp(epsilon / 2)  # the counts' half
    compared = 0
    for count in range(52, 70):
        with_one, without = seen[1][count], seen[0][count]
        if min(with_one, without) < 500:
            continue
        compared += 1
        assert max(with_one / without, without / with_one) < bound * 1.15
    assert compared > 8


def test_groups_of_few_are_left_out_and_means_stay_possible():
    chance = Random(3)
    few = [Group(("rare",), 1, 5)]
    assert not any(private(few, 1.0, 1, chance) for _ in range(2000))
    many = [Group(("all",), 10_000, 42_000)]
    for _ in range(200):
        (shown,) = private(many, 0.5, 1, chance)
        assert shown.mean is not None
        assert 1 <= shown.mean <= 5
        assert shown.mean == pytest.approx(4.2, abs=0.05)
    assert threshold(1.0, 10) > threshold(1.0, 1) > 10
