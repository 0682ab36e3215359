"""Sums of usage: right, bounded, for admins alone, and read by a login that cannot read a row."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.gateway.config import AdminKey
from app.gateway.database.connection import connect
from app.gateway.database.migrations import make_login, migrate
from app.gateway.database.settings import Database
from app.gateway.errors import Refused
from app.gateway.ledger import report
from app.gateway.ledger.database import Session
from app.gateway.ledger.report import Question, Reports, parse
from app.gateway.ledger.report_schema import GROUPS, WIDER_REPORT
from app.gateway.ledger.row import encode
from app.gateway.ledger.schema import LEDGER
from app.gateway.ledger.settings import LedgerSettings
from tests.gateway import harness
from tests.gateway.harness import CHAT, KEY, Engine, eventually
from tests.gateway.real_postgres import execute
from tests.gateway.test_ledger_spool import make_row

TODAY = dt.date(2026, 11, 21)
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp()
DAY = 86_400
ADMIN = "pa-of-the-test"
DAYS = "since=2026-11-01&until=2026-11-30"


@pytest.fixture
async def stored(empty_database: Database) -> AsyncIterator[Database]:
    """A ledger with five rows, and a gateway's login for it."""
    owner = await connect(empty_database)
    await migrate(owner, LEDGER)
    await make_login(owner, "reporter", "reporter", (LEDGER,), LEDGER.lock)
    changes: list[dict[str, Any]] = [
        {"ended": NOON},
        {"ended": NOON + DAY, "output_tokens": 100, "cost_usd": 0.5},
        {"ended": NOON, "tenant": "globex", "feature": None, "status": 503, "outcome": "failed", "cost_usd": 0.0},
        {"ended": NOON, "tenant": "globex", "feature": None, "estimated": True, "ttft_ms": 37.5, "cost_usd": 0.25},
        {"ended": NOON - 40 * DAY, "tenant": "old"},
    ]
    session = await Session.open(empty_database)
    lines = b"".join(encode(make_row(number, **change)) for number, change in enumerate(changes, 1))
    assert await session.store(lines) == len(changes)
    session.close()
    yield replace(empty_database, user="reporter", password="reporter")
    await owner.execute("DROP OWNED BY reporter; DROP ROLE reporter")
    await owner.close()


async def test_sums_are_by_tenant_and_the_dearest_is_first(stored: Database):
    found = await Reports(stored).answer(DAYS)
    assert (found["by"], found["truncated"]) == (("tenant",), False)
    assert found["rows"] == [
        {
            "tenant": "acme",
            "requests": 2,
            "failed": 0,
            "estimated": 0,
            "input_tokens": 34,
            "output_tokens": 108,
            "cached_tokens": 8,
            "cost_usd": pytest.approx(0.500033),
            "mean_ttft_ms": 12.5,
        },
        {
            "tenant": "globex",
            "requests": 2,
            "failed": 1,
            "estimated": 1,
            "input_tokens": 34,
            "output_tokens": 16,
            "cached_tokens": 8,
            "cost_usd": 0.25,
            "mean_ttft_ms": 25.0,
        },
    ]


@pytest.mark.parametrize("group", GROUPS)
async def test_a_report_can_be_broken_down_by_each_column_that_is_offered(stored: Database, group: str):
    found = await Reports(stored).answer(f"{DAYS}&by={group}")
    assert sum(row["requests"] for row in found["rows"]) == 4
    assert all(group in row for row in found["rows"])


async def test_columns_stand_in_the_order_asked_for(stored: Database):
    found = await Reports(stored).answer(f"{DAYS}&by=day,feature,tenant")
    keys = [(row["day"], row["feature"], row["tenant"]) for row in found["rows"]]
    assert keys == [
        ("2026-11-21", "search", "acme"),
        ("2026-11-20", None, "globex"),
        ("2026-11-20", "search", "acme"),
    ]


async def test_both_days_are_in_the_report_and_no_other(stored: Database):
    async def requests(days: str) -> int:
        found = await Reports(stored).answer(f"{days}&by=")
        return found["rows"][0]["requests"]

    assert await requests("since=2026-11-20&until=2026-11-20") == 3
    assert await requests("since=2026-11-20&until=2026-11-21") == 4
    assert await requests("since=2026-11-22&until=2026-11-30") == 0


async def test_more_rows_than_asked_for_are_said_to_be_there(stored: Database):
    found = await Reports(stored).answer(f"{DAYS}&limit=1")
    assert ([row["tenant"] for row in found["rows"]], found["truncated"]) == (["acme"], True)


async def test_the_gateways_login_gets_sums_and_no_row(stored: Database):
    connection = await connect(stored)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT tenant FROM penstock_ledger.usage")
    for groups in ("{request_id}", "{tenant,engine}", '{"tenant FROM pg_authid; --"}', "{NULL}"):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await connection.fetch(
                "SELECT * FROM penstock_ledger.report('2026-11-01', '2026-11-30', $1::text::text[], 10)", groups
            )
    await connection.close()


def test_the_function_and_the_gateway_offer_the_same_columns():
    assert f"'{{{','.join(GROUPS)}}}'" in WIDER_REPORT


def test_without_dates_a_report_is_of_this_month():
    assert parse("", TODAY) == Question(dt.date(2026, 11, 1), TODAY, ("tenant",), report.ROWS)
    assert parse("until=2026-10-05", TODAY).since == dt.date(2026, 10, 5)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "since: 'yesterday' is not a day"),
        ("since=2026-11-22", "since: 2026-11-22 is after until"),
        ("since=1990-01-01", "since: is more than 3660 days before until"),
        ("by=tenant,request_id", "by: 'request_id' is not one of day, tenant"),
        ("by=tenant,tenant", "by: names one of them twice"),
        ("limit=0", "limit: '0' is not a number from 1 to 10000"),
        ("limit=²", "limit: '²' is not a number"),
        ("by=day&by=tenant", "by: is given twice"),
        ("tenant=acme", "tenant: there is no such parameter"),
    ],
)
def test_a_wrong_parameter_is_named(query: str, said: str):
    with pytest.raises(Refused) as raised:
        parse(query, TODAY)
    assert raised.value.problem.status == 400
    assert raised.value.problem.message.startswith(said)


async def test_a_slow_report_is_ended_in_the_database_too(
    stored: Database, empty_database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report, "REPORT_SECONDS", 1.0)
    owner = await connect(empty_database)
    async with owner.transaction():
        await owner.execute("LOCK TABLE penstock_ledger.usage IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Refused) as raised:
            await Reports(stored).answer(DAYS)
    assert (raised.value.problem.status, raised.value.problem.code) == (503, "report_slow")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock-report'"
    async with asyncio.timeout(5):
        while await owner.fetchval(waiting):  # noqa: ASYNC110 - the server announces the end of a session to nobody
            await asyncio.sleep(0.05)
    await owner.close()


async def test_reports_at_once_are_bounded(stored: Database, empty_database: Database):
    owner, reports = await connect(empty_database), Reports(stored)
    async with owner.transaction():
        await owner.execute("LOCK TABLE penstock_ledger.usage IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.ensure_future(reports.answer(DAYS)) for _ in range(report.AT_ONCE)]
        await asyncio.sleep(0.1)
        with pytest.raises(Refused) as raised:
            await reports.answer(DAYS)
    assert (raised.value.problem.status, raised.value.problem.code) == (429, "reports_busy")
    assert [len(found["rows"]) for found in await asyncio.gather(*waiting)] == [2, 2]
    assert len((await reports.answer(DAYS))["rows"]) == 2, "room again"
    await owner.close()


async def test_without_database_or_function_the_answer_says_so(empty_database: Database):
    with pytest.raises(Refused) as raised:
        await Reports(replace(empty_database, port=1)).answer(DAYS)
    assert (raised.value.problem.status, raised.value.problem.code) == (503, "no_database")
    await execute(empty_database, "CREATE SCHEMA penstock_ledger")
    with pytest.raises(Refused) as raised:
        await Reports(empty_database).answer(DAYS)
    assert (raised.value.problem.status, raised.value.problem.code) == (503, "report_old")


async def test_an_admin_reads_what_a_client_used_and_the_client_does_not(empty_database: Database, tmp_path: Path):
    settings = LedgerSettings(empty_database, tmp_path, 1_000_000)
    async with harness.running(Engine(), ledger=settings) as gateway:
        assert (await gateway.get(report.PATH)).status == 404, "without an admin key there is no admin API"
        gateway.service.keys.take_file(
            harness.key_file(test=KEY).keys, [AdminKey(id="first", sha256=harness.key_file(admin=ADMIN).keys[0].sha256)]
        )
        await gateway.ask(CHAT, x_penstock_feature="search")
        ledger = gateway.service.ledger
        assert ledger is not None
        await eventually(lambda: not ledger.spool.rows)
        refused = await gateway.get(report.PATH)
        assert (refused.status, refused.error["code"]) == (403, "not_an_admin_key")
        wrong = await gateway.get(f"{report.PATH}?by=colour,nothing", authorization=f"Bearer {ADMIN}")
        assert (wrong.status, wrong.error["param"]) == (400, "by")
        found = await gateway.get(f"{report.PATH}?by=tenant,feature,model", authorization=f"Bearer {ADMIN}")
        assert found.status == 200
        (row,) = found.json["rows"]
        assert (row["tenant"], row["feature"], row["model"]) == ("default", "search", "tiny")
        assert (row["requests"], row["input_tokens"], row["output_tokens"]) == (1, 17, 8)


async def test_a_gateway_without_a_ledger_says_so():
    async with harness.running(Engine()) as gateway:
        gateway.service.keys.take_file([], [AdminKey(id="first", sha256=harness.key_file(a=ADMIN).keys[0].sha256)])
        reply = await gateway.get(report.PATH, authorization=f"Bearer {ADMIN}")
        assert (reply.status, reply.error["code"]) == (404, "no_ledger")
