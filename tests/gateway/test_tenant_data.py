"""Data care: export and erasure of one tenant, retention, and an audit that nobody edits."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.gateway.console.schema import CONSOLE
from app.gateway.database import __main__ as command
from app.gateway.database.connection import connect
from app.gateway.database.migrations import migrate
from app.gateway.database.retention import retain
from app.gateway.database.settings import Database
from tests.gateway.harness import Running
from tests.gateway.key_cases import admin, chat, make_key
from tests.gateway.real_postgres import execute
from tests.gateway.real_postgres import rows as ledger_rows
from tests.gateway.test_feedback import gateway_with_feedback, stored


async def acme(gateway: Running) -> tuple[str, str]:
    """A tenant with a key, a request and its feedback. Returns the key and the request's id."""
    await admin(gateway, "POST", "tenants", {"name": "acme", "limits": {"usd_per_day": 5}})
    _, key = await make_key(gateway, tenant="acme", name="Jane's key")
    identity = (await chat(gateway, key)).headers["x-request-id"]
    assert (await stored(gateway, identity, key=key, comment="fine")).status == 201
    return key, identity


async def exported(gateway: Running, tenant: str) -> list[dict[str, Any]]:
    reply = await admin(gateway, "GET", f"tenants/{tenant}/export")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/jsonl")
    return [json.loads(line) for line in reply.body.splitlines()]


async def test_an_export_holds_all_of_one_tenant_and_nothing_of_others(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        key, identity = await acme(gateway)
        await gateway.ask()
        lines = await exported(gateway, "acme")
        assert [line["object"] for line in lines] == ["tenant", "key", "feedback", "usage", "end"]
        assert lines[3]["request_id"] == lines[2]["request_id"] == identity
        text = json.dumps(lines)
        assert key not in text
        assert "sha256" not in text
        assert '"default"' not in text
        assert [line["object"] for line in await exported(gateway, "nobody")] == ["end"]
        actions = [row["action"] for row in (await admin(gateway, "GET", "audit")).json["data"]]
        assert actions.count("tenant.export") == 2
        assert (await gateway.get("/admin/v1/tenants/acme/export")).status == 403


async def test_a_long_export_comes_page_by_page_and_whole(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        _, identity = await acme(gateway)
        await execute(
            empty_database,
            "INSERT INTO penstock_ledger.usage "
            "SELECT (jsonb_populate_record(usage, jsonb_build_object('id', gen_random_uuid()))).* "
            "FROM penstock_ledger.usage, generate_series(1, 2499)",
        )
        lines = await exported(gateway, "acme")
        usage = [line for line in lines if line["object"] == "usage"]
        assert len({line["id"] for line in usage}) == len(usage) == 2500
        assert {line["request_id"] for line in usage} == {identity}


async def test_an_erasure_revokes_disables_and_unnames_and_is_audited(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        key, _ = await acme(gateway)
        await gateway.ask()
        unsure = await admin(gateway, "DELETE", "tenants/acme/data")
        assert (unsure.status, unsure.error["code"]) == (400, "not_confirmed")
        assert (await chat(gateway, key)).status == 200
        cost = (await ledger_rows(empty_database, "sum(cost_usd)"))[0][0]
        reply = await admin(gateway, "DELETE", "tenants/acme/data?confirm=acme")
        assert reply.status == 200
        assert (reply.json["keys_revoked"], reply.json["tenants_disabled"], reply.json["feedback"]) == (1, 1, 1)
        assert reply.json["usage_rows_unnamed"] >= 1
        assert (await chat(gateway, key)).status in (401, 403)
        lines = await exported(gateway, "acme")
        assert [line["object"] for line in lines if line["object"] not in ("tenant", "key")] in (
            ["end"],
            ["usage", "end"],
        )
        assert "Jane" not in json.dumps(lines)
        assert (await ledger_rows(empty_database, "sum(cost_usd)"))[0][0] >= cost
        found = await ledger_rows(empty_database, "count(*)", "WHERE tenant = 'erased' AND request_id = 'erased'")
        assert found[0][0] >= 1
        row = next(r for r in (await admin(gateway, "GET", "audit")).json["data"] if r["action"] == "tenant.erase")
        assert (row["actor"], row["target"], row["detail"]["feedback"]) == ("ops", "acme", 1)
        assert (await admin(gateway, "DELETE", "tenants/acme/data?confirm=acme")).json["keys_revoked"] == 0


async def audit_of(database: Database) -> list[tuple[str, str]]:
    connection = await connect(database)
    try:
        return [
            tuple(row) for row in await connection.fetch("SELECT actor, action FROM penstock_keys.audit ORDER BY 1, 2")
        ]
    finally:
        connection.terminate()


async def test_nobody_edits_the_audit_not_even_its_owner(empty_database: Database, tmp_path: Path):
    async with gateway_with_feedback(empty_database, tmp_path) as gateway:
        await make_key(gateway)
        for statement in (
            "UPDATE penstock_keys.audit SET actor = 'nobody'",
            "DELETE FROM penstock_keys.audit",
            "TRUNCATE penstock_keys.audit",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changed"):
                await execute(empty_database, statement)
        assert len((await admin(gateway, "GET", "audit")).json["data"]) == 1


async def test_what_is_past_its_time_goes_and_the_rest_stays(
    as_owner: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with gateway_with_feedback(as_owner, tmp_path) as gateway:
        await acme(gateway)
        other = (await gateway.ask()).headers["x-request-id"]
        await stored(gateway, other)
        await execute(
            as_owner,
            "UPDATE penstock_feedback.feedback SET expires_at = now() - interval '1 day' WHERE tenant = 'acme'",
            "INSERT INTO penstock_keys.creations VALUES ('ops', 'old', 'x', 'key-1', now() - interval '2 days')",
        )
        assert await asyncio.to_thread(command.main, ["retention"]) == 0
        said = capsys.readouterr().out
        assert "feedback: 1 gone; idempotency keys: 1 gone" in said
        connection = await connect(as_owner)
        try:
            left = await connection.fetch("SELECT tenant FROM penstock_feedback.feedback")
            assert [row["tenant"] for row in left] == ["default"]
            assert set((await retain(connection)).values()) == {0}
        finally:
            connection.terminate()


async def test_sign_ins_and_wishes_of_the_console_go_when_they_are_over(empty_database: Database):
    connection = await connect(empty_database)
    try:
        await migrate(connection, CONSOLE)
        for left in (-1.0, 3600.0):
            await connection.execute(
                "INSERT INTO penstock_console.sessions (digest, actor, admin, expires_at) "
                "VALUES ($1, 'ops', $1, now() + make_interval(secs => $2))",
                bytes([int(left > 0)]) * 32,
                left,
            )
        for age in (29, 31):
            await connection.execute(
                "INSERT INTO penstock_console.wishes (kind, release, step, actor, at, expires_at) "
                "VALUES ('promote', 'r', $1::int::text, 'ops', now() - make_interval(days => $1), now())",
                age,
            )
        assert await retain(connection) == {"sign-ins": 1, "wishes": 1}
        assert await connection.fetchval("SELECT step FROM penstock_console.wishes") == "29"
        assert await connection.fetchval("SELECT count(*) FROM penstock_console.sessions WHERE expires_at > now()") == 1
    finally:
        await connection.close()


async def test_retention_of_an_empty_database_and_of_none_is_said(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    connection = await connect(empty_database)
    try:
        assert await retain(connection) == {}
    finally:
        connection.terminate()
    away = replace(empty_database, port=1)
    monkeypatch.setenv("PENSTOCK_DATABASE_ADDRESS", f"{away.host}:{away.port}")
    monkeypatch.setenv("PENSTOCK_DATABASE_USER", away.user)
    assert await asyncio.to_thread(command.main, ["retention"]) == 1
    assert "penstock database: " in capsys.readouterr().err


async def test_the_gateways_own_login_may_do_all_of_this_and_cannot_read_a_row_of_usage(
    as_owner: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PENSTOCK_DATABASE_LOGIN_PASSWORD", "of-the-hand")
    assert await asyncio.to_thread(command.main, ["migrate", "--login", "careful_hand"]) == 0
    hand = replace(as_owner, user="careful_hand", password="of-the-hand")
    try:
        async with gateway_with_feedback(hand, tmp_path, budget={"account_id": "123456789012"}) as gateway:
            await acme(gateway)
            wanted = {"level": "warn", "seconds": 60, "reason": "a test"}
            assert (await admin(gateway, "PUT", "budget/override", wanted)).json["level"] == "warn"
            assert [line["object"] for line in await exported(gateway, "acme")][-2:] == ["usage", "end"]
            erased = await admin(gateway, "DELETE", "tenants/acme/data?confirm=acme")
            assert (erased.status, erased.json["feedback"]) == (200, 1)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(hand, "SELECT * FROM penstock_ledger.usage")
        before = await audit_of(as_owner)
        assert before
        for statement in (
            "UPDATE penstock_keys.audit SET actor = 'nobody'",
            "DELETE FROM penstock_keys.audit",
            "TRUNCATE penstock_keys.audit",
            "ALTER TABLE penstock_keys.audit DISABLE TRIGGER ALL",
            "DROP TABLE penstock_keys.audit",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await execute(hand, statement)
        assert await audit_of(as_owner) == before
    finally:
        await execute(as_owner, "DROP OWNED BY careful_hand; DROP ROLE careful_hand")
