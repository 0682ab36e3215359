"""The ledger's tables, rights and writer, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from app.gateway.database import __main__ as command
from app.gateway.database import connection as shared_connection
from app.gateway.database import migrations
from app.gateway.database.connection import DatabaseError, connect
from app.gateway.database.migrations import make_login, migrate, scram_verifier
from app.gateway.database.settings import Database, read_database
from app.gateway.ledger import database as ledger_database
from app.gateway.ledger import writer
from app.gateway.ledger.database import Session, set_retention
from app.gateway.ledger.metrics import LedgerMetrics
from app.gateway.ledger.row import encode
from app.gateway.ledger.schema import LEDGER
from app.gateway.ledger.settings import LedgerSettings, read_settings
from app.gateway.ledger.writer import Ledger
from app.gateway.settings import SettingsError
from tests.gateway.harness import KeptLog, eventually
from tests.gateway.real_postgres import Postgres, Proxy, execute, folder_of, refuses, rows
from tests.gateway.test_ledger_spool import make_row


def make_ledger(database: Database, folder: Path, spool_bytes: int = 1_000_000) -> tuple[Ledger, KeptLog]:
    log = KeptLog()
    metrics = LedgerMetrics(CollectorRegistry())
    return Ledger(LedgerSettings(database, folder, spool_bytes), log, metrics), log


@contextlib.asynccontextmanager
async def at_work(ledger: Ledger) -> AsyncGenerator[None]:
    task = asyncio.ensure_future(ledger.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.close()


async def count(database: Database) -> int:
    return len(await rows(database, "id"))


def number(counter: Any) -> float:
    return counter._value.get()


# -- tables --


async def test_migrations_run_once_however_many_ask_for_them(empty_database: Database):
    async def one() -> list[int]:
        connection = await connect(empty_database)
        try:
            return await migrate(connection, LEDGER)
        finally:
            await connection.close()

    applied = await asyncio.gather(one(), one(), one())
    assert sorted(applied) == [[], [], [*range(1, LEDGER.version + 1)]]


async def test_each_day_has_a_partition_ahead_and_old_ones_are_dropped(empty_database: Database):
    connection = await connect(empty_database)
    await migrate(connection, LEDGER)
    await connection.execute(
        "CREATE TABLE penstock_ledger.usage_20200101 PARTITION OF penstock_ledger.usage "
        "FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    await set_retention(connection, 30)
    names = await connection.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits "
                                   "WHERE inhparent = 'penstock_ledger.usage'::regclass ORDER BY 1")  # fmt: skip
    today = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    await connection.close()
    found = [row["name"].rpartition("usage_")[2] for row in names]
    assert found[-1] == "other"
    assert len(found) == 10
    assert f"{today:%Y%m%d}" in found
    assert "20200101" not in found


async def test_a_row_of_a_day_without_partition_is_kept_too(empty_database: Database, tmp_path: Path):
    ledger, _ = make_ledger(empty_database, tmp_path)
    ledger.record(make_row(1, ended=0.0))
    assert await ledger.flush()
    ledger.record(make_row(2, ended=time.time()))
    await ledger.close()
    found = await rows(empty_database, "day::text, tableoid::regclass::text AS part", "ORDER BY day")
    assert found[0]["day"] == "1970-01-01"
    assert found[0]["part"] == "penstock_ledger.usage_other"
    assert found[1]["part"].startswith("penstock_ledger.usage_2")


async def test_a_row_comes_back_as_it_was(empty_database: Database, tmp_path: Path):
    ledger, _ = make_ledger(empty_database, tmp_path)
    ledger.record(make_row(7, zone=None, itl_ms=None))
    await ledger.close()
    (row,) = await rows(empty_database)
    assert row["ended_at"].timestamp() == 1795247999.25
    assert row["day"].isoformat() == "2026-11-21"
    assert row["cost_usd"] == Decimal("0.000033")
    assert (row["tenant"], row["key_id"], row["feature"], row["model"]) == ("acme", "first", "search", "tiny")
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"]) == (17, 8, 4)
    assert (row["zone"], row["itl_ms"], row["ttft_ms"], row["estimated"]) == (None, None, 12.5, False)


# -- rights --


async def test_a_writer_can_add_rows_and_do_nothing_else(empty_database: Database, tmp_path: Path):
    owner = await connect(empty_database)
    await migrate(owner, LEDGER)
    await make_login(owner, "gate", "old password", (LEDGER,), LEDGER.lock)
    await make_login(owner, "gate", "new 'password'", (LEDGER,), LEDGER.lock)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(replace(empty_database, user="gate", password="old password"))
    gate = replace(empty_database, user="gate", password="new 'password'")
    ledger, log = make_ledger(gate, tmp_path)
    ledger.record(make_row())
    await ledger.close()
    assert log.of("ledger") == [{"event": "ledger", "connected": True}]
    assert await count(empty_database) == 1
    connection = await connect(gate)
    await refuses(
        connection,
        "SELECT * FROM penstock_ledger.usage",
        "UPDATE penstock_ledger.usage SET cost_usd = 0",
        "DELETE FROM penstock_ledger.usage",
        "TRUNCATE penstock_ledger.usage",
        "DROP TABLE penstock_ledger.usage",
        "UPDATE penstock_ledger.settings SET keep_days = 2",
        "INSERT INTO penstock_ledger.migrations VALUES (99)",
        "CREATE TABLE penstock_ledger.mine (a int)",
    )
    await connection.close()
    await owner.execute("DROP OWNED BY gate; DROP ROLE gate")
    await owner.close()


async def test_without_tables_and_rights_the_writer_says_what_to_do(empty_database: Database):
    owner = await connect(empty_database)
    await owner.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    with pytest.raises(DatabaseError, match=r"run `python -m app\.gateway\.database migrate`"):
        await Session.open(replace(empty_database, user="poor", password="poor"))
    await owner.execute("DROP ROLE poor")
    await owner.close()


def test_the_verifier_is_that_of_rfc_5803():
    # Made by PostgreSQL 17 for this password and salt.
    assert scram_verifier("secret", bytes(range(16))).startswith("SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$")


# -- the writer --


async def test_the_same_rows_again_change_nothing(empty_database: Database, tmp_path: Path):
    lines = b"".join(encode(make_row(one)) for one in range(5))
    for name in ("0001-dead-1.rows", "0002-dead-1.rows"):
        (tmp_path / name).write_bytes(lines + b"torn")
    ledger, log = make_ledger(empty_database, tmp_path)
    assert await ledger.flush()
    assert await count(empty_database) == 5
    assert (number(ledger.metrics.stored), number(ledger.metrics.repeated)) == (5, 5)
    assert log.of("ledger_replay") == [{"event": "ledger_replay", "segments": 2}]
    assert folder_of(tmp_path) == []
    await ledger.close()


async def test_two_writers_on_one_folder_and_database_store_each_row_once(empty_database: Database, tmp_path: Path):
    (tmp_path / "0001-dead-1.rows").write_bytes(b"".join(encode(make_row(one)) for one in range(500)))
    first, second = (make_ledger(empty_database, tmp_path)[0] for _ in range(2))
    async with at_work(first), at_work(second):
        for turn in range(20):
            for one in range(100):
                for ledger in (first, second):
                    ledger.record(make_row(id=ledger.next_id(), request_id=f"{turn}-{one}"))
            await asyncio.sleep(0.01)
        await eventually(lambda: not first.spool.rows and not second.spool.rows)
    assert await count(empty_database) == 500 + 2 * 2000
    assert folder_of(tmp_path) == []


async def test_one_bad_row_holds_up_no_other(empty_database: Database, tmp_path: Path):
    good = [encode(make_row(one)) for one in range(20)]
    bad = b"not a row\n"
    (tmp_path / "0001-dead-1.rows").write_bytes(b"".join(good[:7]) + bad + b"".join(good[7:]) + bytes(9) + b"\n")
    ledger, log = make_ledger(empty_database, tmp_path)
    assert await ledger.flush()
    assert await count(empty_database) == 20
    assert number(ledger.metrics.lost["rejected"]) == 2
    assert [line["row"] for line in log.of("ledger_rejected")] == ["not a row\n", "\0" * 9 + "\n"]
    await ledger.close()
    assert folder_of(tmp_path) == []


async def test_a_segment_that_cannot_be_read_holds_up_no_other(empty_database: Database, tmp_path: Path):
    (tmp_path / "0001-dead-1.rows").write_bytes(encode(make_row(1)))
    (tmp_path / "0002-dead-1.rows").write_bytes(encode(make_row(2)))
    ledger, log = make_ledger(empty_database, tmp_path)
    assert ledger.spool.adopt() == 2
    broken = ledger.spool.sealed[0]
    os.close(broken.descriptor)
    broken.descriptor = os.open(tmp_path, os.O_RDONLY)  # reading a folder fails, as a bad disk does
    assert await ledger.flush()
    assert log.of("ledger_unreadable")[0]["file"] == "0001-dead-1.rows"
    assert await count(empty_database) == 1
    assert ledger.spool.adopt() == 0
    assert folder_of(tmp_path) == ["0001-dead-1.rows"]
    await ledger.close()


async def test_rows_wait_while_the_database_is_away_and_follow_when_it_is_back(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "FIRST_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.02)
    ledger, log = make_ledger(proxy.before, tmp_path)
    async with at_work(ledger):
        ledger.record(make_row(1))
        await eventually(lambda: not ledger.spool.rows)
        await proxy.stop()
        ledger.record(make_row(2))
        await eventually(lambda: [line["connected"] for line in log.of("ledger")] == [True, False])
        ledger.record(make_row(3))
        assert ledger.spool.rows == 2
        assert number(ledger.metrics.up) == 0
        await proxy.start()
        await eventually(lambda: not ledger.spool.rows)
    assert await count(proxy.database) == 3
    assert [line["connected"] for line in log.of("ledger")] == [True, False, True]


async def test_a_silent_database_is_given_up_and_asked_again(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ledger_database, "STORE_SECONDS", 0.3)
    monkeypatch.setattr(migrations, "STATEMENT_SECONDS", 0.3)
    monkeypatch.setattr(shared_connection, "CONNECT_SECONDS", 0.5)
    ledger, _ = make_ledger(proxy.before, tmp_path)
    assert await ledger.flush()
    proxy.mode = "silent"
    ledger.record(make_row(1))
    for _ in range(2):  # the open connection, then a new one
        begun = time.monotonic()
        assert not await ledger.flush()
        assert time.monotonic() - begun < 2
    assert ledger.spool.rows == 1
    proxy.mode = "on"
    assert await ledger.flush()
    assert await count(proxy.database) == 1
    await ledger.close()


async def test_rows_follow_after_the_server_has_ended_all_sessions(
    empty_database: Database, postgres: Postgres, tmp_path: Path
):
    ledger, _ = make_ledger(empty_database, tmp_path)
    assert await ledger.flush()
    ledger.record(make_row(1))
    await execute(
        postgres.database("postgres"),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock-ledger' "
        "AND pid <> pg_backend_pid()",
    )
    assert not await ledger.flush()
    assert await ledger.flush()
    assert await count(empty_database) == 1
    await ledger.close()


async def test_a_lost_commit_is_given_again_and_counted_once(empty_database: Database, tmp_path: Path):
    ledger, _ = make_ledger(empty_database, tmp_path)
    assert await ledger.flush()
    ledger.record(make_row(1))
    session = ledger._session
    assert session is not None
    store = session.store

    async def stores_but_answers_nothing(lines: bytes) -> int:
        await store(lines)
        raise ConnectionResetError("the answer to COMMIT was lost")

    session.store = stores_but_answers_nothing
    assert not await ledger.flush()
    assert ledger.spool.rows == 1
    assert await ledger.flush()
    assert number(ledger.metrics.repeated) == 1
    assert await count(empty_database) == 1
    await ledger.close()


async def test_a_table_that_is_locked_delays_rows_and_loses_none(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ledger_database, "STORE_SECONDS", 1.0)
    ledger, _ = make_ledger(empty_database, tmp_path)
    assert await ledger.flush()
    ledger.record(make_row(1))
    other = await connect(empty_database)
    async with other.transaction():
        await other.execute("LOCK TABLE penstock_ledger.usage IN ACCESS EXCLUSIVE MODE")
        assert not await ledger.flush()
    await other.close()
    assert await ledger.flush()
    assert await count(empty_database) == 1
    await ledger.close()


async def test_a_full_spool_leaves_rows_in_memory_and_then_counts_what_is_lost(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "MOST_ROWS_IN_MEMORY", 3)
    line = len(encode(make_row(1)))
    ledger, log = make_ledger(proxy.before, tmp_path, spool_bytes=4 * line)
    await proxy.stop()
    for one in range(1, 10):
        ledger.record(make_row(one))
    assert (ledger.spool.rows, ledger.rows_in_memory) == (4, 3)
    assert number(ledger.metrics.unspooled["full"]) == 3
    assert number(ledger.metrics.lost["full"]) == 2
    assert [line["usable"] for line in log.of("ledger_spool")] == [False]
    assert not await ledger.flush()
    await proxy.start()
    assert await ledger.flush()
    assert await count(proxy.database) == 7
    ledger.record(make_row(99))
    assert [line["usable"] for line in log.of("ledger_spool")] == [False, True]
    await ledger.close()


async def test_what_is_not_stored_at_the_end_is_said_and_stays(proxy: Proxy, tmp_path: Path):
    ledger, log = make_ledger(proxy.before, tmp_path)
    await proxy.stop()
    ledger.record(make_row(1))
    await ledger.close(0.5)
    assert log.of("ledger_left")[0]["rows_in_memory"] == 0
    assert len(folder_of(tmp_path)) == 1
    await proxy.start()
    after, _ = make_ledger(proxy.before, tmp_path)
    await after.close()
    assert await count(proxy.database) == 1


# -- settings and the command --

ENVIRONMENT = {"PENSTOCK_DATABASE_ADDRESS": "db:5432", "PENSTOCK_DATABASE_USER": "gate"}


def test_without_a_user_there_is_no_ledger():
    assert read_settings({"PENSTOCK_DATABASE_ADDRESS": "db:5432"}) is None
    assert read_settings({}) is None


def test_a_password_file_is_read_at_each_connection_and_no_password_is_shown(tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("one\n")
    database = read_database(ENVIRONMENT | {"PENSTOCK_DATABASE_PASSWORD_FILE": str(file)})
    assert database is not None
    assert database.read_password() == "one"
    file.write_text("two")
    assert database.read_password() == "two"
    given = read_database(ENVIRONMENT | {"PENSTOCK_DATABASE_PASSWORD": "hidden"})
    assert "hidden" not in repr(given)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PENSTOCK_DATABASE_TLS", "on", "prefer, require, verify-full"),
        ("PENSTOCK_DATABASE_ADDRESS", "db", "HOST:PORT"),
        ("PENSTOCK_LEDGER_SPOOL_BYTES", "1k", "65536 or more"),
        ("PENSTOCK_LEDGER_SPOOL_BYTES", "1000", "65536 or more"),
    ],
)
def test_a_mistake_in_the_ledger_settings_names_the_variable(name: str, value: str, said: str):
    with pytest.raises(SettingsError, match=name) as refused:
        read_settings(ENVIRONMENT | {name: value})
    assert said in str(refused.value)


async def test_the_command_migrates_makes_a_writer_and_can_be_run_again(
    as_owner: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PENSTOCK_DATABASE_LOGIN_PASSWORD", "pass")
    first = ("applied 1, 2, 3, 4, 5", "applied 1, 2, 3", "applied 1, 2", "applied 1")
    for ledger, keys, feedback, rest in (first, ("nothing to apply",) * 4):
        assert await asyncio.to_thread(command.main, ["migrate", "--keep-days", "30", "--login", "hand"]) == 0
        said = (
            f"ledger: {ledger}; keys: {keys}; budget: {rest}; feedback: {feedback}; console: {rest}; hand may use all\n"
        )
        assert capsys.readouterr().out == said
    session = await Session.open(replace(as_owner, user="hand", password="pass"))
    assert await session.store(encode(make_row())) == 1
    session.close()
    await execute(as_owner, "DROP OWNED BY hand; DROP ROLE hand")


def test_a_wrong_writer_or_a_database_that_is_away_ends_in_one_sentence(
    as_owner: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert command.main(["migrate", "--login", "a b"]) == 2
    monkeypatch.setenv("PENSTOCK_DATABASE_ADDRESS", "127.0.0.1:1")
    assert command.main(["migrate"]) == 1
    monkeypatch.delenv("PENSTOCK_DATABASE_USER")
    assert command.main(["migrate"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert json.dumps(said[0]).count("--login") == 1
    assert as_owner.password not in "".join(said)
