"""All that gateways keep, out of one PostgreSQL into another: counted, compared, all or nothing."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path

import asyncpg
import pytest

from app.gateway.database import __main__ as command
from app.gateway.database import archive
from app.gateway.database.archive import CARRIED, dump, restore
from app.gateway.database.connection import DatabaseError, connect
from app.gateway.database.settings import Database
from app.gateway.keys.audit import check_where_kept
from tests.gateway.archive_cases import LOST_DAY, filled, made, told
from tests.gateway.real_postgres import Postgres, execute, variables_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def both(postgres: Postgres) -> tuple[Database, Database]:
    """One with rows in every table, and one with tables alone. Their owner is no superuser, as none is at RDS."""
    one, other = await made(postgres), await made(postgres)
    await filled(one)
    return one, other


async def carried(one: Database, other: Database, path: Path) -> tuple[dict, dict]:
    source, target = await connect(one), await connect(other)
    try:
        return await dump(source, path), await restore(target, path)
    finally:
        source.terminate()
        target.terminate()


async def test_every_row_of_every_table_comes_over_as_it_was(both, tmp_path: Path):
    one, other = both
    before = await told(one)
    assert {name.partition(".")[0] for name in before} == set(CARRIED)
    assert all(before.values()), f"the case has a row for each table: {[n for n, rows in before.items() if not rows]}"
    out, back = await carried(one, other, tmp_path / "archive.zip")
    after = await told(other)
    assert after == before
    assert {name: table["rows"] for name, table in out["tables"].items()} == {
        name: len(rows) for name, rows in before.items()
    }
    assert back["already"] is False
    assert await told(one) == before, "a dump changes nothing"


async def test_days_keep_their_partitions_and_numbers_go_on_behind(both, tmp_path: Path):
    one, other = both
    await carried(one, other, tmp_path / "archive.zip")
    connection = await connect(other)
    try:
        assert await connection.fetchval("SELECT count(*) FROM penstock_ledger.usage_other") == 0
        assert await connection.fetchval(f"SELECT count(*) FROM penstock_ledger.usage_{LOST_DAY:%Y%m%d}") == 1  # noqa: S608
        audit = await check_where_kept(connection)
        assert audit is not None
        assert audit.broken is None, "the chain of the audit holds"
        last = await connection.fetchval("SELECT max(id) FROM penstock_keys.audit")
        fresh = await connection.fetchval(
            "INSERT INTO penstock_keys.audit (actor, action, target, detail, request_id) "
            "VALUES ('a', 'b', 'c', '{}', 'd') RETURNING id"
        )
        assert fresh == last + 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changed"):
            await connection.execute("DELETE FROM penstock_keys.audit")
    finally:
        connection.terminate()


async def test_row_security_is_forced_again_and_a_gateway_is_told_to_read_anew(both, tmp_path: Path):
    one, other = both
    connection, heard = await connect(other), asyncio.Event()
    try:
        await connection.add_listener("penstock_keys", lambda *_: heard.set())
        before = await connection.fetchval("SELECT reload FROM penstock_keys.state")
        await carried(one, other, tmp_path / "archive.zip")
        await asyncio.wait_for(heard.wait(), 5)
        found = await connection.fetchrow("SELECT version, reload FROM penstock_keys.state")
        assert found["reload"] == found["version"] > before
        for database in both:
            forced = "SELECT relforcerowsecurity FROM pg_class WHERE oid = 'penstock_retrieval.chunks'::regclass"
            watcher = await connect(database)
            assert await watcher.fetchval(forced)
            assert await watcher.fetchval("SELECT count(*) FROM penstock_retrieval.chunks") == 0, "no tenant is set"
            watcher.terminate()
        stamp = "SELECT tgenabled FROM pg_trigger WHERE tgname = 'stamp' AND tgrelid = 'penstock_keys.keys'::regclass"
        assert await connection.fetchval(stamp) == b"O"
    finally:
        connection.terminate()


async def test_the_same_archive_again_does_nothing_and_another_is_refused(both, tmp_path: Path):
    one, other = both
    path = tmp_path / "archive.zip"
    out, _ = await carried(one, other, path)
    again, back = await carried(one, other, path)
    assert (again["id"], back["already"]) == (out["id"], True)
    await execute(one, "INSERT INTO penstock_budget.messages (id) VALUES ('one more')")
    before = await told(other)
    with pytest.raises(DatabaseError, match=r"penstock_keys\.keys.*rows are here already"):
        await carried(one, other, path)
    assert await told(other) == before


async def test_a_restore_that_is_cut_off_leaves_nothing_and_the_next_one_does_all(
    both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one, other = both
    empty = await told(other)
    real, seen = archive._count_on, []

    async def cut(connection: asyncpg.Connection, name: str, columns: list[str]) -> None:
        seen.append(name)
        if len(seen) == 12:
            connection.terminate()  # as a pod that is killed
        await real(connection, name, columns)

    monkeypatch.setattr(archive, "_count_on", cut)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await carried(one, other, tmp_path / "archive.zip")
    assert len(seen) == 12
    assert await told(other) == empty
    monkeypatch.setattr(archive, "_count_on", real)
    await carried(one, other, tmp_path / "archive.zip")
    assert await told(other) == await told(one)


async def test_rows_that_do_not_come_in_are_counted_and_nothing_is_kept(both, tmp_path: Path):
    one, other = both
    empty, path = await told(other), tmp_path / "archive.zip"
    source = await connect(one)
    manifest = await dump(source, path)
    source.terminate()
    manifest["tables"]["penstock_keys.audit"]["rows"] += 1
    short = tmp_path / "short.zip"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(short, "w") as less:
        for name in whole.namelist():
            less.writestr(name, whole.read(name) if name != "manifest.json" else json.dumps(manifest))
    target = await connect(other)
    try:
        with pytest.raises(DatabaseError, match=r"penstock_keys\.audit: 3 rows were carried and 2 came in"):
            await restore(target, short)
        damaged = tmp_path / "damaged.zip"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        damaged.write_bytes(content[:-200])
        with pytest.raises(DatabaseError, match="the archive is damaged"):
            await restore(target, damaged)
    finally:
        target.terminate()
    assert await told(other) == empty


async def test_an_older_server_is_told_to_migrate_first(both, tmp_path: Path):
    one, other = both
    await execute(other, "DELETE FROM penstock_ledger.migrations WHERE version > 1")
    with pytest.raises(DatabaseError, match=r"penstock_ledger is of version 1 here .* migrate first"):
        await carried(one, other, tmp_path / "archive.zip")


async def test_the_command_says_how_many_rows_went_and_came(
    both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    one, other = both
    rows = {name: len(each) for name, each in (await told(one)).items()}
    for verb, database in (("dump", one), ("restore", other)):
        archived = {"PENSTOCK_DATABASE_ARCHIVE": str(tmp_path / "archive.zip")}
        for name, value in (variables_of(database) | archived).items():
            monkeypatch.setenv(name, value)
        assert await asyncio.to_thread(command.main, [verb]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == rows
    await execute(one, "INSERT INTO penstock_budget.messages (id) VALUES ('late')")
    monkeypatch.setenv("PENSTOCK_DATABASE_NAME", one.name)
    assert await asyncio.to_thread(command.main, ["restore"]) == 1
    assert "none are mixed with others" in capsys.readouterr().err
