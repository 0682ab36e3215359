"""The audit's hash chain: what its owner does behind the triggers' back is found, and the first row of it named."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
from collections.abc import Sequence

import asyncpg
import pytest

from app.gateway.database import __main__ as command
from app.gateway.database.connection import connect
from app.gateway.database.migrations import Schema, make_login, migrate
from app.gateway.database.settings import Database
from app.gateway.keys.audit import Checked, Head, check
from app.gateway.keys.schema import KEYS
from app.gateway.keys.store import Actor, Store
from infra.ops.cli import run as run_command
from tests.gateway.harness import Running, eventually
from tests.gateway.key_cases import ADMIN_KEY, admin, gateway_on, make_key
from tests.gateway.real_postgres import refuses

OPEN, SHUT = "ALTER TABLE penstock_keys.audit DISABLE TRIGGER ALL", "ALTER TABLE penstock_keys.audit ENABLE TRIGGER ALL"


@pytest.fixture
async def owner(empty_database: Database):
    connection = await connect(empty_database)
    await migrate(connection, KEYS)
    yield connection
    await connection.close()


async def write(connection: asyncpg.Connection, count: int) -> None:
    for number in range(count):
        await Store(connection, Actor("ops", f"req-{number}")).audit_row("key.create", f"key-{number}", {"n": number})


async def behind_its_back(connection: asyncpg.Connection, *statements: str) -> Checked:
    """As the owner, who can switch the triggers off."""
    for statement in (OPEN, *statements, SHUT):
        await connection.execute(statement)
    return await check(connection)


async def reckon_anew(connection: asyncpg.Connection) -> None:
    """A careful forger: each hash is made to fit the changed rows."""
    await connection.execute(
        "CREATE TEMP TABLE forged AS SELECT at, actor, action, target, detail, request_id FROM penstock_keys.audit "
        "ORDER BY id"
    )
    await connection.execute(OPEN)
    await connection.execute("DELETE FROM penstock_keys.audit")
    await connection.execute("UPDATE penstock_keys.audit_head SET id = 0, hash = $1", bytes(32))
    await connection.execute(SHUT)
    await connection.execute(
        "INSERT INTO penstock_keys.audit (at, actor, action, target, detail, request_id) SELECT * FROM forged"
    )
    await connection.execute("DROP TABLE forged")


async def head_of(connection: asyncpg.Connection) -> Head:
    row = await connection.fetchrow("SELECT id, hash FROM penstock_keys.audit_head")
    return Head(row["id"], row["hash"])


async def test_a_chain_that_nobody_touched_is_whole(owner: asyncpg.Connection):
    assert await check(owner) == Checked(0, Head(0, bytes(32)))
    await write(owner, 5)
    found = await check(owner, await head_of(owner))
    assert (found.rows, found.head.id, found.broken) == (5, 5, None)


@pytest.mark.parametrize(
    ("statement", "broken", "said"),
    [
        ("UPDATE penstock_keys.audit SET actor = 'nobody' WHERE id = 4", 4, "it or row 3 was changed"),
        ("UPDATE penstock_keys.audit SET detail = '{\"n\": 30}' WHERE id = 4", 4, "it or row 3"),
        ("UPDATE penstock_keys.audit SET at = at + interval '1 microsecond' WHERE id = 4", 4, "it or row 3"),
        ("UPDATE penstock_keys.audit SET request_id = '' WHERE id = 1", 1, "rows before it are gone"),
        ("DELETE FROM penstock_keys.audit WHERE id IN (4, 5)", 6, "it or row 3 was changed, or rows between"),
        ("DELETE FROM penstock_keys.audit WHERE id < 3", 3, "rows before it are gone"),
        ("DELETE FROM penstock_keys.audit WHERE id > 6", 7, "the last row is 6, and row 8 was written last"),
        ("TRUNCATE penstock_keys.audit", 1, "the last row is 0, and row 8"),
        ("DELETE FROM penstock_keys.audit_head", 1, "the chain's head is empty"),
        (
            (
                "UPDATE penstock_keys.audit AS one SET target = other.target, detail = other.detail, "
                "hash = other.hash, request_id = other.request_id FROM penstock_keys.audit AS other "
                "WHERE (one.id, other.id) IN ((4, 5), (5, 4))"
            ),
            4,
            "it or row 3",
        ),
        # The words of two columns moved over their border.
        ("UPDATE penstock_keys.audit SET actor = 'op', action = 's' || action WHERE id = 2", 2, "it or row 1"),
    ],
)  # fmt: skip
async def test_what_the_owner_changes_or_deletes_is_found_and_named(
    owner: asyncpg.Connection, statement: str, broken: int, said: str
):
    await write(owner, 8)
    assert (await check(owner)).broken is None
    found = await behind_its_back(owner, statement)
    assert found.broken == broken
    assert said in found.reason


async def test_a_last_row_that_was_changed_with_its_hash_and_the_head_does_not_fit_a_head_that_was_told(
    owner: asyncpg.Connection,
):
    await write(owner, 5)
    told = await head_of(owner)
    await behind_its_back(owner, "UPDATE penstock_keys.audit SET target = 'key-other' WHERE id = 5")
    await reckon_anew(owner)
    assert (await check(owner)).broken is None, "the forgery is perfect inside the database"
    found = await check(owner, told)
    assert found.broken == 5
    assert "does not bear the hash that was told" in found.reason
    await write(owner, 3)
    assert (await check(owner, told)).broken == 5


async def test_admins_who_write_at_once_make_one_chain_without_gaps(
    owner: asyncpg.Connection, empty_database: Database
):
    async def one(number: int) -> None:
        connection = await connect(empty_database)
        try:
            for turn in range(10):
                transaction = connection.transaction()
                await transaction.start()
                await write(connection, 2)
                await (transaction.rollback() if (number + turn) % 3 == 0 else transaction.commit())
        finally:
            await connection.close()

    await asyncio.gather(*(one(number) for number in range(6)))
    found = await check(owner)
    assert found.broken is None
    assert found.rows == found.head.id == 80


async def test_rows_from_before_the_chain_are_taken_into_it(empty_database: Database):
    before = Schema(KEYS.name, KEYS.lock, KEYS.role, KEYS.migrations[:2])
    connection = await connect(empty_database)
    await migrate(connection, before)
    await write(connection, 3)
    refused = connection.transaction()  # a number is lost by it
    await refused.start()
    await write(connection, 1)
    await refused.rollback()
    await write(connection, 2)
    assert await migrate(connection, KEYS) == [3]
    found = await check(connection)
    assert (found.rows, found.head.id, found.broken) == (5, 6, None)
    await write(connection, 2)
    assert (await check(connection)).rows == 7
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changed"):
        await connection.execute("UPDATE penstock_keys.audit SET actor = 'nobody'")
    assert (await behind_its_back(connection, "DELETE FROM penstock_keys.audit WHERE id = 2")).broken == 3
    await connection.close()


async def test_a_row_bears_the_hash_that_the_documentation_tells_of(owner: asyncpg.Connection):
    """Reckoned here from the page's words, without the code: an auditor can do the same from an export."""
    await owner.execute("SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'")
    store = Store(owner, Actor("öps", "req-1"))
    await store.audit_row("key.create", "key-ü", {"b": 1.50, "a": ["x", None], "long": "é"})
    await store.audit_row("key.revoke", "key-ü", {})
    before = bytes(32)
    for row in await owner.fetch("SELECT *, detail::text AS plain FROM penstock_keys.audit ORDER BY id"):
        at = row["at"].astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        columns = (str(row["id"]), at, row["actor"], row["action"], row["target"], row["plain"], row["request_id"])
        before = hashlib.sha256(
            before + b"".join(hashlib.sha256(column.encode()).digest() for column in columns)
        ).digest()
        assert row["hash"] == before


async def test_a_gateways_login_can_neither_choose_a_hash_nor_move_the_head(
    owner: asyncpg.Connection, empty_database: Database
):
    await make_login(owner, "chained", "word", (KEYS,), KEYS.lock)
    login = await connect(Database("127.0.0.1", empty_database.port, empty_database.name, "chained", "word"))
    try:
        await write(login, 2)
        await login.execute(
            "INSERT INTO penstock_keys.audit (id, actor, action, target, detail, request_id, hash) "
            "OVERRIDING SYSTEM VALUE VALUES (900, 'ops', 'a', 'b', '{}', '', $1)",
            bytes(32),
        )
        found = await check(login)
        assert (found.rows, found.head.id, found.broken) == (3, 3, None)
        await refuses(
            login,
            "UPDATE penstock_keys.audit_head SET id = 1",
            "DELETE FROM penstock_keys.audit_head",
            "ALTER TABLE penstock_keys.audit DISABLE TRIGGER grows",
            "DROP TRIGGER grows ON penstock_keys.audit",
        )
    finally:
        await login.close()
        await owner.execute("DROP OWNED BY chained; DROP ROLE chained")


def heads(gateway: Running) -> Sequence[str]:
    return [line["head"] for line in gateway.log.of("audit_head")]


async def test_each_head_is_in_the_log_and_a_chain_written_anew_is_told_at_once(
    owner: asyncpg.Connection, empty_database: Database
):
    async with gateway_on(empty_database) as gateway:
        await make_key(gateway)
        await eventually(lambda: any(head.startswith("1:") for head in heads(gateway)))
        await make_key(gateway)
        await eventually(lambda: any(head.startswith("2:") for head in heads(gateway)))
        assert not gateway.log.of("audit_broken")
        told = heads(gateway)[-1]
        whole = (await admin(gateway, "GET", f"audit/check?head={told}")).json
        assert whole == {"object": "audit.check", "rows": 2, "head": told, "broken": None}
        listed = (await admin(gateway, "GET", "audit")).json["data"]
        assert f"{listed[0]['id']}:{listed[0]['hash']}" == told
        await behind_its_back(owner, "UPDATE penstock_keys.audit SET actor = 'nobody' WHERE id = 1")
        assert (await admin(gateway, "GET", "audit/check")).json["broken"]["id"] == 1
        await reckon_anew(owner)
        await eventually(lambda: bool(gateway.log.of("audit_broken")))
        assert f"the head was {told}" in gateway.log.of("audit_broken")[0]["reason"]
        assert (await admin(gateway, "GET", "audit/check")).json["broken"] is None
        assert (await admin(gateway, "GET", f"audit/check?head={told}")).json["broken"]["id"] == 2
        metrics = (await gateway.get("/metrics")).body.decode()
        assert "penstock_audit_rows 2.0" in metrics
        assert "penstock_audit_breaks_total 1.0" in metrics
        for wrong in ("head=1", "head=1:zz", f"head={told}&head={told}", "limit=1", f"head=-1:{told[2:]}"):
            reply = await admin(gateway, "GET", f"audit/check?{wrong}")
            assert (reply.status, reply.error["param"]) == (400, "head"), wrong
        assert (await admin(gateway, "POST", "audit/check")).status == 405


async def test_the_command_ends_with_one_where_the_audit_is_broken(
    owner: asyncpg.Connection,
    empty_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    await write(owner, 4)
    async with gateway_on(empty_database) as gateway:
        monkeypatch.setenv("PENSTOCK_ADMIN_KEY", ADMIN_KEY)
        monkeypatch.setenv("PENSTOCK_GATEWAY_URL", f"http://127.0.0.1:{gateway.port}")
        told = str(await head_of(owner))
        assert await asyncio.to_thread(run_command, ["audit", "check", "--head", told]) == 0
        assert capsys.readouterr().out == f"4 rows, none changed or gone; the head is {told}\n"
        await behind_its_back(owner, "DELETE FROM penstock_keys.audit WHERE id = 2")
        assert await asyncio.to_thread(run_command, ["audit", "check", "--json"]) == 1
        said = capsys.readouterr()
        assert json.loads(said.out)["broken"]["id"] == 3
        assert "broken at row 3 of 3: it or row 1 was changed, or rows between them are gone" in said.err


@pytest.mark.usefixtures("as_owner")
async def test_the_daily_retention_tells_the_head_and_fails_where_the_audit_is_broken(
    owner: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
):
    await write(owner, 3)
    assert await asyncio.to_thread(command.main, ["retention"]) == 0
    assert f"audit: 3 rows, none changed, head {await head_of(owner)}" in capsys.readouterr().out
    await behind_its_back(owner, "UPDATE penstock_keys.audit SET action = 'key.show' WHERE id = 2")
    assert await asyncio.to_thread(command.main, ["retention"]) == 1
    assert "audit: broken at row 2 of 3" in capsys.readouterr().err
