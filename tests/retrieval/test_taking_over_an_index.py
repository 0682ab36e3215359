"""A new index whose gateway ends early: another goes on with it, in the name of the key that asked for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from app.gateway.config import KeyFile
from app.gateway.database.connection import connect
from app.gateway.errors import Refused
from app.gateway.keys.errands import Errands
from app.gateway.keys.grant import Grant
from app.gateway.keys.ring import KeyRing
from app.retrieval.rebuild import LEASE_SECONDS, Rebuilder
from tests.gateway.harness import KEY, Client, Running, eventually, make_config
from tests.gateway.real_postgres import execute, variables_of
from tests.retrieval.conftest import NARROW_KEY, SETTINGS, Platform, gateway_on, keys_of_all

ROOT = Path(__file__).parents[2]
NEW = {"chunk_tokens": 32, "overlap_tokens": 0}
REINDEX = "/v1/retrieval/collections/notes/reindex"


def rebuilder_of(running: Running) -> Rebuilder:
    assert running.service.retrieval is not None
    return running.service.retrieval._retrieval.rebuilder


async def state(platform: Platform) -> list[tuple[str, int, str | None]]:
    connection = await connect(platform.owner)
    try:
        rows = await connection.fetch("SELECT state, chunk_tokens, key_id FROM penstock_retrieval.indexes ORDER BY id")
        return [(row["state"], row["chunk_tokens"], row["key_id"]) for row in rows]
    finally:
        await connection.close()


async def lease_is_over(platform: Platform) -> None:
    """As if the time had passed."""
    await execute(platform.owner, "UPDATE penstock_retrieval.indexes SET lease_until = now() - interval '1 second'")


async def filled(platform: Platform) -> None:
    for number in range(4):
        await platform.ingest(f"Bee number {number} dances for nectar. " * 24, name=f"bee {number}")


async def ended(running: Running) -> list[dict]:
    await eventually(lambda: running.log.of("retrieval_reindex"))
    return running.log.of("retrieval_reindex")


@pytest.fixture
async def second(platform: Platform) -> AsyncIterator[Running]:
    assert platform.engine_process is not None
    running = await gateway_on(platform.database, platform.engine_process, {})
    yield running
    await running.stop()


async def test_another_gateway_goes_on_where_one_was_killed(platform: Platform, tmp_path: Path):
    """The killed one is a process of its own, which has done a part: nothing of that is done again."""
    await filled(platform)
    (tmp_path / "gateway.json").write_text(make_config(retrieval=SETTINGS).model_dump_json())
    (tmp_path / "keys.json").write_text(keys_of_all().model_dump_json())
    assert platform.engine_process is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.gateway", "--config", str(tmp_path / "gateway.json"),
        "--keys", str(tmp_path / "keys.json"), "--port", "0", "--engines", platform.engine_process.url,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={
            "PATH": os.environ["PATH"], "PENSTOCK_KEYS_DATABASE": "true", **variables_of(platform.database),
        },
    )  # fmt: skip
    try:
        assert process.stdout is not None
        while (line := json.loads(await asyncio.wait_for(process.stdout.readline(), 20)))["event"] != "listening":
            pass
        before, engine = len(platform.engine.asked), platform.engine

        async def holds_the_third(request, wire) -> None:
            if len(engine.asked) == before + 4:  # two documents of two requests each
                engine.hold = asyncio.Event()
            await engine.answer(request, wire)

        platform.engine_process.answer = holds_the_third
        client = await Client.connect(line["port"])
        await client.send(Client.request(NEW, REINDEX))
        assert (await asyncio.wait_for(client.reply(), 20)).status == 202
        await eventually(lambda: engine.hold is not None)
        client.close()
    finally:
        process.kill()
        await process.communicate()
    assert engine.hold is not None
    engine.hold.set()
    own = rebuilder_of(platform.running)
    await own.look()
    assert not platform.running.log.of("retrieval_reindex_taken_over"), "the dead one's lease still holds"
    await lease_is_over(platform)
    await own.look()
    (told,) = await ended(platform.running)
    assert (told["ended"], told["documents"]) == (True, 2)
    assert platform.running.log.of("retrieval_reindex_taken_over")[0]["key_id"] == "test"
    assert await state(platform) == [("current", 32, "test")]
    assert len((await platform.search("nectar", k=50)).json["data"]) > 8


async def test_a_gateway_that_ends_in_order_leaves_its_index_to_others_at_once(platform: Platform, second: Running):
    await filled(platform)
    platform.engine.hold = asyncio.Event()
    client = await second.connect()
    await client.send(Client.request(NEW, REINDEX))
    assert (await asyncio.wait_for(client.reply(), 20)).status == 202
    assert second.service.retrieval is not None
    await second.service.retrieval.close()
    assert second.log.of("retrieval_reindex")[0]["reason"] == "this gateway ends"
    platform.engine.hold.set()
    await rebuilder_of(platform.running).look()
    (told,) = await ended(platform.running)
    assert (told["ended"], told["documents"]) == (True, 4)
    assert [one[:2] for one in await state(platform)] == [("current", 32)]


async def test_each_gateway_looks_by_itself(platform: Platform, second: Running, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.retrieval.rebuild.LOOK_SECONDS", 0.01)
    await filled(platform)
    platform.engine.hold = asyncio.Event()
    assert (await platform.ask("POST", "collections/notes/reindex", NEW)).status == 202
    assert platform.running.service.retrieval is not None
    looking = asyncio.ensure_future(rebuilder_of(second).run())
    await rebuilder_of(platform.running).close()
    platform.engine.hold.set()
    assert (await ended(second))[0]["ended"] is True
    looking.cancel()


async def test_a_gateway_alone_makes_an_index_though_others_are_asked_for_it_too(platform: Platform, second: Running):
    await filled(platform)
    asked = len(platform.engine.asked)
    platform.engine.hold = asyncio.Event()
    assert (await platform.ask("POST", "collections/notes/reindex", NEW)).status == 202
    await eventually(lambda: len(platform.engine.asked) == asked + 1)
    client = await second.connect()
    await client.send(Client.request({"chunk_tokens": 500}, REINDEX))
    told = await asyncio.wait_for(client.reply(), 20)
    assert (told.status, told.json["reindexing"]["chunk_tokens"]) == (202, 32), "the one that is being made"
    await rebuilder_of(second).look()
    platform.engine.hold.set()
    await ended(platform.running)
    assert len(platform.engine.asked) == asked + 8, "four documents of two requests each, once"
    assert not second.log.of("retrieval_reindex")


async def test_an_index_is_left_where_its_key_is_gone(platform: Platform, second: Running):
    await filled(platform)
    platform.engine.hold = asyncio.Event()
    await platform.ask("POST", "collections/notes/reindex", NEW)
    await rebuilder_of(platform.running).close()
    platform.engine.hold.set()
    asked = len(platform.engine.asked)
    second.service.keys.take_file(KeyFile(keys=keys_of_all().keys[1:]).keys, ())
    await rebuilder_of(second).look()
    (told,) = await ended(second)
    assert told["ended"] is False
    assert "was revoked" in told["reason"]
    assert len(platform.engine.asked) == asked
    assert await state(platform) == [("current", 64, None), ("building", 32, None)], "and nobody tries again"
    await rebuilder_of(second).look()
    assert len(second.log.of("retrieval_reindex_taken_over")) == 1
    assert (await platform.ask("POST", "collections/notes/reindex", NEW)).status == 202
    assert (await ended(platform.running))[-1]["ended"] is not None
    await eventually(lambda: platform.running.log.of("retrieval_reindex")[-1]["ended"])


@pytest.mark.parametrize(("status", "again"), [(503, True), (400, False)])
async def test_what_fails_for_a_while_is_tried_again_and_what_is_wrong_is_not(
    platform: Platform, second: Running, status: int, again: bool
):
    await filled(platform)
    platform.engine.fails = status
    await platform.ask("POST", "collections/notes/reindex", NEW)
    assert (await ended(platform.running))[0]["ended"] is False
    platform.engine.fails = 0
    await rebuilder_of(second).look()
    assert not second.log.of("retrieval_reindex_taken_over"), "not at once"
    await lease_is_over(platform)
    await rebuilder_of(second).look()
    assert bool(second.log.of("retrieval_reindex_taken_over")) is again
    if again:
        assert (await ended(second))[0]["ended"] is True


async def test_a_gateway_whose_lease_was_taken_stops(platform: Platform, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.retrieval.rebuild.LEASE_SECONDS", 0.3)
    await filled(platform)
    platform.engine.hold = asyncio.Event()
    await platform.ask("POST", "collections/notes/reindex", NEW)
    await execute(platform.owner, "UPDATE penstock_retrieval.indexes SET lease = gen_random_uuid()")
    (told,) = await ended(platform.running)
    assert (told["ended"], told["reason"]) == (False, "another gateway makes it, or the collection is gone")
    platform.engine.hold.set()


async def test_the_login_learns_of_what_was_left_and_of_nothing_else(platform: Platform):
    await filled(platform)
    platform.engine.hold = asyncio.Event()
    await platform.ask("POST", "collections/notes/reindex", NEW)
    connection = await connect(platform.database)
    take = "SELECT * FROM penstock_retrieval.take_over(gen_random_uuid(), $1)"
    try:
        assert await connection.fetch(take, LEASE_SECONDS) == [], "it is being made"
        await lease_is_over(platform)
        (row,) = await connection.fetch(take, LEASE_SECONDS)
        assert set(dict(row)) == {"index_id", "tenant", "key_id"}
        assert await connection.fetch(take, LEASE_SECONDS) == [], "one gets it"
        for statement in (
            "SET ROLE penstock_retrieval_keeper",
            "UPDATE penstock_retrieval.indexes SET tenant = 'other'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        assert await connection.execute("UPDATE penstock_retrieval.indexes SET lease = NULL") == "UPDATE 0", (
            "without a tenant there are no rows"
        )
    finally:
        await connection.close()
        platform.engine.hold.set()


def test_an_errand_stands_for_the_key_as_it_is_now_and_for_nothing_once_it_ended():
    ring = KeyRing(keys_of_all().keys)
    ring.errands = errands = Errands(ring)
    narrow = ring.authenticate(f"Bearer {NARROW_KEY}".encode())
    assert errands.key_of(narrow) == "narrow"
    assert errands.key_of(Grant("jwt:somebody")) is None, "a token of an issuer is no key"
    assert errands.key_of(replace(narrow, job=True)) is None
    authorization = errands.issue("narrow")
    assert ring.authenticate(authorization) is narrow, "with its routes and limits"
    ring.take_file([one for one in keys_of_all().keys if one.id != "narrow"], ())
    with pytest.raises(Refused) as refused:
        ring.authenticate(authorization)
    assert refused.value.problem.code == "key_revoked"
    other = errands.issue("test")
    errands.end(other)
    assert len(errands) == 1
    for gone in (other, b"Bearer pe-", b"Bearer pe-" + b"A" * 32):
        with pytest.raises(Refused) as refused:
            ring.authenticate(gone)
        assert refused.value.problem.code == "invalid_api_key"
    assert ring.authenticate(f"Bearer {KEY}".encode()).id == "test"
