"""Budgets that act: from a message on the topic to what clients see, and back; with SQS, PostgreSQL and gateways."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.gateway.budget import follow, queue, store
from app.gateway.budget.queue import Queue
from app.gateway.config import GatewayConfig
from app.gateway.database.settings import Database
from infra.ops.cli import cli
from tests.gateway import harness
from tests.gateway.aws_queue import ACCOUNT, Cloud, Events, alarm_text, anomaly_text, budget_text, cloud
from tests.gateway.harness import CHAT, Engine, Running, eventually, make_config
from tests.gateway.key_cases import ADMIN_KEY, admin, file_with_admin, make_key
from tests.gateway.real_postgres import Proxy, execute

__all__ = ["cloud"]

EFFECT_SECONDS = 10.0
DEAR = {
    "name": "grand",
    "aliases": ["grand-latest"],
    "selector": "penstock.dev/model=grand",
    "context_tokens": 8192,
    "max_output_tokens": 1024,
    "output_usd_per_million_tokens": 50.0,
}


def acting(**changes: Any) -> GatewayConfig:
    models = [model.model_dump() for model in make_config().models]
    rules = {
        "account_id": ACCOUNT,
        "cheaper_models": {"grand": "tiny"},
        "protected_tenants": ["gold"],
        "capped_limits": {"requests_per_minute": 6, "concurrent_requests": None},
    }
    return make_config(models=[*models, DEAR], budget=rules | changes)


@contextlib.asynccontextmanager
async def gateway_at(
    database: Database, events: Events | None, config: GatewayConfig | None = None
) -> AsyncGenerator[Running]:
    around: dict[str, Any] = {"keys": database}
    if events is not None:
        around |= {"events_queue_url": events.queue, "environment": events.cloud.environment}
    async with harness.running(Engine(), config=config or acting(), **around) as gateway:
        file = file_with_admin()
        gateway.service.keys.take_file(file.keys, file.admins)
        await eventually(lambda: gateway.service.keys.loaded and follower(gateway).loads > 0, 10)
        yield gateway


def follower(gateway: Running) -> follow.Follower:
    assert gateway.service.budget_follower is not None
    return gateway.service.budget_follower


def level(gateway: Running) -> str:
    assert gateway.service.steward is not None
    return gateway.service.steward.standing.level


async def seconds_until(condition: Callable[[], bool], most: float = EFFECT_SECONDS) -> float:
    begun = time.monotonic()
    await eventually(condition, most)
    return time.monotonic() - begun


async def publish(events: Events, text: str) -> None:
    await asyncio.to_thread(events.publish, text)


async def test_a_message_changes_every_gateway_within_ten_seconds_and_a_lower_one_changes_it_back(
    empty_database: Database, cloud: Cloud
):
    events = cloud.events()
    async with gateway_at(empty_database, events) as one, gateway_at(empty_database, events) as other:
        both = (one, other)
        assert sum(follower(gateway).reader for gateway in both) == 1
        took = {}
        for percent, expected in ((85, "cheaper"), (101, "capped"), (20, "normal")):
            await publish(events, budget_text(percent))
            took[expected] = await seconds_until(lambda to=expected: all(level(each) == to for each in both))
        print("seconds from message to effect:", {name: round(seconds, 3) for name, seconds in took.items()})
        assert max(took.values()) < EFFECT_SECONDS
        await eventually(lambda: events.left() == 0, 5)
        # Each gateway acts as soon as it reads of a level; one of them then writes the change down.
        async with asyncio.timeout(10):
            written: list[str] = []
            while len(written) < 3:
                rows = (await admin(one, "GET", "audit")).json["data"]
                written = [row["target"] for row in rows if row["action"] == "budget.level"]
        assert written == ["normal", "capped", "cheaper"]
        changes = [line["level"] for line in other.log.of("budget")]
        assert changes == ["cheaper", "capped", "normal"]


async def test_from_cheaper_on_names_are_answered_by_other_models_but_not_for_protected_tenants(
    empty_database: Database, cloud: Cloud
):
    events = cloud.events()
    async with gateway_at(empty_database, events) as gateway:
        _, gold = await make_key(gateway, tenant="gold")
        ask = CHAT | {"model": "grand-latest"}
        assert (await gateway.ask(ask)).headers["x-penstock-model"] == "grand"
        await publish(events, budget_text(82))
        await eventually(lambda: level(gateway) == "cheaper", EFFECT_SECONDS)
        reply = await gateway.ask(ask)
        assert (reply.status, reply.headers["x-penstock-model"], reply.headers["x-penstock-budget"]) == (
            200,
            "tiny",
            "cheaper",
        )
        assert reply.headers["x-penstock-route"] == "grand-latest; to=tiny; reason=budget"
        assert (await gateway.ask(ask, authorization=f"Bearer {gold}")).headers["x-penstock-model"] == "grand"
        # What the cheaper model's context cannot hold stays where it was.
        wide = ask | {"messages": [{"role": "user", "content": "word " * 4_000}], "max_tokens": 5}
        assert (await gateway.ask(wide)).headers["x-penstock-model"] == "grand"
        assert await gateway.metric('penstock_budget_level{level="cheaper"}') == 1
        await publish(events, budget_text(10))
        await eventually(lambda: level(gateway) == "normal", EFFECT_SECONDS)
        reply = await gateway.ask(ask)
        assert reply.headers["x-penstock-model"] == "grand"
        assert {"x-penstock-budget", "x-penstock-route"}.isdisjoint(reply.headers)


async def test_batch_is_refused_and_tenants_are_capped_and_both_come_back(empty_database: Database, cloud: Cloud):
    events = cloud.events()
    async with gateway_at(empty_database, events) as gateway:
        _, batch = await make_key(gateway, tenant="acme", priority="batch")
        _, plain = await make_key(gateway, tenant="acme")
        _, gold = await make_key(gateway, tenant="gold", priority="batch")

        async def statuses(key: str, times: int = 4) -> list[int]:
            return [(await gateway.ask(authorization=f"Bearer {key}")).status for _ in range(times)]

        await publish(events, budget_text(92))
        await eventually(lambda: level(gateway) == "no_batch", EFFECT_SECONDS)
        refused = await gateway.ask(authorization=f"Bearer {batch}")
        assert (refused.status, refused.error["code"]) == (429, "budget_batch_stopped")
        assert refused.headers["retry-after"] == "900"
        assert await statuses(plain) == [200] * 4
        assert await statuses(gold) == [200] * 4
        await publish(events, budget_text(120))
        await eventually(lambda: level(gateway) == "capped", EFFECT_SECONDS)
        assert 429 in await statuses(plain)
        assert await statuses(gold) == [200] * 4
        assert await gateway.metric("penstock_budget_refusals_total") == 1
        await publish(events, budget_text(1))
        await eventually(lambda: level(gateway) == "normal", EFFECT_SECONDS)
        assert await statuses(plain) == [200] * 4
        assert await statuses(batch) == [200] * 4


async def test_an_admin_sets_a_level_that_ends_by_itself_and_every_step_is_in_the_audit(empty_database: Database):
    async with gateway_at(empty_database, None) as one, gateway_at(empty_database, None) as other:
        given = {"level": "no_batch", "seconds": 600, "reason": "before the audit of costs"}
        reply = await admin(one, "PUT", "budget/override", given)
        assert (reply.status, reply.json["level"], reply.json["automatic_level"]) == (200, "no_batch", "normal")
        assert reply.json["acts"]["batch_stopped"] is True
        await eventually(lambda: level(other) == "no_batch", EFFECT_SECONDS)
        shown = (await admin(other, "GET", "budget")).json
        assert (shown["override"]["actor"], shown["override"]["reason"]) == ("ops", "before the audit of costs")
        assert (await admin(one, "DELETE", "budget/override")).json["level"] == "normal"
        await eventually(lambda: level(other) == "normal", EFFECT_SECONDS)
        await admin(one, "PUT", "budget/override", given | {"level": "warn"})
        await execute(
            empty_database, "UPDATE penstock_budget.state SET override_until = now() + interval '0.3 seconds'"
        )
        await eventually(lambda: level(other) == level(one) == "normal", EFFECT_SECONDS)
        actions = [row["action"] for row in (await admin(one, "GET", "audit")).json["data"]]
        assert actions.count("budget.override") == 2
        assert "budget.clear" in actions
        for wrong in ({}, given | {"seconds": 1}, given | {"level": "none"}, given | {"reason": ""}):
            assert (await admin(one, "PUT", "budget/override", wrong)).status == 400
        assert (await admin(one, "POST", "budget")).status == 405


async def test_a_gateway_without_a_budget_says_so(empty_database: Database):
    async with harness.running(Engine(), keys=empty_database) as gateway:
        file = file_with_admin()
        gateway.service.keys.take_file(file.keys, file.admins)
        await eventually(lambda: gateway.service.keys.loaded, 10)
        reply = await admin(gateway, "GET", "budget")
        assert (reply.status, reply.error["code"]) == (404, "no_budget")


async def test_hostile_messages_change_nothing_and_go_aside_while_good_ones_are_taken(
    empty_database: Database, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(queue, "HIDDEN_SECONDS", 0)
    events = cloud.events(tries=2)
    async with gateway_at(empty_database, events) as gateway:
        bad = ["level: capped", budget_text(500, account="999999999999"), '{"anomalyId": 1}']
        for text in bad:
            await asyncio.to_thread(events.send_raw, text)
        await publish(events, alarm_text("ALARM", "AWS/EC2"))
        await publish(events, budget_text(55))
        await eventually(lambda: level(gateway) == "warn", EFFECT_SECONDS)
        aside: list[str] = []
        async with asyncio.timeout(15):
            while len(aside) < len(bad):
                aside += await asyncio.to_thread(events.put_aside)
                await asyncio.sleep(0.05)
        assert sorted(aside) == sorted(bad)
        assert level(gateway) == "warn"
        assert events.left() == 0
        assert await gateway.metric('penstock_budget_messages_total{outcome="other"}') == 1
        lines = [line for line in gateway.log.of("budget_message") if line["outcome"] == "unreadable"]
        assert lines
        assert "999999999999" not in str(lines)


async def test_a_message_that_comes_twice_or_late_acts_once(empty_database: Database):
    from app.gateway.budget.levels import Signal
    from app.gateway.budget.messages import read
    from app.gateway.database.connection import connect

    async with gateway_at(empty_database, None) as gateway:
        now = time.time()
        newer, older = (read(budget_text(share), ACCOUNT, at, 24) for share, at in ((30, now), (95, now - 60)))
        connection = await connect(empty_database)
        try:
            assert isinstance(newer, Signal)
            assert [await store.hear(connection, "m-1", newer) for _ in range(2)] == [True, False]
            assert await store.hear(connection, "m-2", older)
            known = await store.load(connection)
        finally:
            connection.terminate()
        assert [one.percent for one in known.signals] == [30.0]
        await follower(gateway).loaded()
        assert level(gateway) == "normal"


async def test_unusual_cost_and_an_alarm_on_charges_warn_and_the_alarms_recovery_takes_it_back(
    empty_database: Database, cloud: Cloud
):
    events = cloud.events()
    async with gateway_at(empty_database, events, acting(anomaly_level="no_batch")) as gateway:
        await publish(events, alarm_text("ALARM"))
        await eventually(lambda: level(gateway) == "no_batch", EFFECT_SECONDS)
        await publish(events, alarm_text("OK"))
        await eventually(lambda: level(gateway) == "normal", EFFECT_SECONDS)
        await publish(events, anomaly_text())
        await eventually(lambda: level(gateway) == "no_batch", EFFECT_SECONDS)
        state = (await admin(gateway, "GET", "budget")).json
        assert state["signals"][0]["detail"] == "151.00 USD unusual"


async def test_another_gateway_reads_on_when_the_reader_dies(empty_database: Database, cloud: Cloud):
    events = cloud.events()
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(gateway_at(empty_database, events))
        await eventually(lambda: follower(first).reader, 10)
        async with gateway_at(empty_database, events) as second:
            assert not follower(second).reader
            for task in first.gateway._tasks:  # as a kill does: nothing is said to the database
                task.cancel()
            await execute(
                empty_database,
                "UPDATE penstock_budget.state SET reader = 'dead', reader_until = now() + interval '4 seconds'",
            )
            await publish(events, budget_text(88))
            took = await seconds_until(lambda: level(second) == "cheaper")
            print("seconds from message to effect, with a dead reader:", round(took, 2))
            assert took < EFFECT_SECONDS


async def test_while_the_database_is_away_the_level_stays_and_no_message_is_lost(
    proxy: Proxy, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(follow, "LONGEST_PAUSE_SECONDS", 0.5)
    events = cloud.events()
    async with gateway_at(proxy.before, events) as gateway:
        await publish(events, budget_text(85))
        await eventually(lambda: level(gateway) == "cheaper", EFFECT_SECONDS)
        await proxy.stop()
        await eventually(lambda: not follower(gateway).reader, 10)
        await publish(events, budget_text(95))
        await asyncio.sleep(0.3)
        assert level(gateway) == "cheaper"
        assert (await gateway.ask()).status == 200
        assert await gateway.metric("penstock_budget_database_up") == 0
        await proxy.start()
        await eventually(lambda: level(gateway) == "no_batch", 15)


async def test_the_ledgers_sum_acts_within_ten_seconds(
    empty_database: Database, tmp_path_factory: pytest.TempPathFactory
):
    from app.gateway.ledger.settings import LedgerSettings

    config = acting(monthly_usd=0.0001, spend_seconds=0.2)
    ledger = LedgerSettings(empty_database, tmp_path_factory.mktemp("spool"), 64 * 1024 * 1024)
    async with harness.running(Engine(), config=config, keys=empty_database, ledger=ledger) as gateway:
        await eventually(lambda: follower(gateway).loads > 0, 10)
        for _ in range(4):  # 17 and 8 tokens at 1 and 2 USD a million: 33 per cent each
            assert (await gateway.ask()).status == 200
        took = await seconds_until(lambda: level(gateway) == "capped")
        print("seconds from a request's end to its effect through the ledger:", round(took, 2))
        assert took < EFFECT_SECONDS


@pytest.mark.parametrize("url", ["", "sqs", "https://sqs.eu-central-1.amazonaws.com/x/y", "file:///123456789012/q"])
def test_what_is_no_queue_is_refused(url: str):
    with pytest.raises(ValueError, match="not the address"):
        Queue(url, {})


async def test_the_command_shows_sets_and_clears_the_level(empty_database: Database, monkeypatch: pytest.MonkeyPatch):
    async with gateway_at(empty_database, None) as gateway:
        monkeypatch.setenv("PENSTOCK_ADMIN_KEY", ADMIN_KEY)
        monkeypatch.setenv("PENSTOCK_GATEWAY_URL", f"http://127.0.0.1:{gateway.port}")

        async def run(*arguments: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, cli, ["budget", *arguments])

        assert (await run("status")).stdout.startswith("normal since ")
        made = await run("set", "capped", "--for", "2h", "--reason", "a drill")
        assert made.exit_code == 0, made.output
        assert "override by ops: a drill" in made.stdout
        assert "requests of batch keys are refused" in made.stdout
        assert "grand is answered by tiny" in made.stdout
        assert json.loads((await run("clear", "--json")).stdout)["level"] == "normal"
        wrong = await run("set", "warn", "--for", "soon", "--reason", "x")
        assert "that is no span of time" in str(wrong.exception)
