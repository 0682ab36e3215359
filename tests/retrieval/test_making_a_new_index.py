"""A collection is cut and embedded anew beside its use."""

from __future__ import annotations

import asyncio

from app.gateway.database.connection import connect
from tests.gateway.harness import eventually
from tests.retrieval.conftest import Platform

TEXT = "# Bees\n\n" + "Honey bees dance to tell where the nectar is. " * 12


async def shown(platform: Platform) -> dict:
    return (await platform.ask("GET", "collections/notes")).json


async def switched(platform: Platform) -> None:
    await eventually(lambda: platform.running.log.of("retrieval_reindex"))


async def rows(platform: Platform, what: str) -> list:
    connection = await connect(platform.owner)
    try:
        return [tuple(row) for row in await connection.fetch(what)]
    finally:
        await connection.close()


async def test_search_goes_on_until_the_new_index_takes_over_at_once(platform: Platform):
    await platform.ingest(TEXT, name="bees.md")
    before = (await platform.search("nectar", k=50)).json["data"]
    platform.engine.hold = asyncio.Event()
    begun = await platform.ask("POST", "collections/notes/reindex", {"chunk_tokens": 32, "overlap_tokens": 0})
    assert begun.status == 202
    assert (await shown(platform))["reindexing"] == {"model": "small", "chunk_tokens": 32, "documents": 0}
    during = (await platform.search("nectar", k=50, mode="words")).json["data"]
    assert len(during) == len(before)
    platform.engine.hold.set()
    await switched(platform)
    after = (await platform.search("nectar", k=50)).json["data"]
    assert len(after) > len(before)
    assert ((await shown(platform))["chunk_tokens"], (await shown(platform))["reindexing"]) == (32, None)
    assert await rows(platform, "SELECT state, chunk_tokens FROM penstock_retrieval.indexes") == [("current", 32)]
    assert platform.running.log.of("retrieval_reindex")[0]["ended"] is True


async def test_a_document_that_comes_meanwhile_is_in_the_new_index(platform: Platform):
    await platform.ingest(TEXT)
    release = platform.engine.hold = asyncio.Event()
    await platform.ask("POST", "collections/notes/reindex", {"model": "tiny"})
    await eventually(lambda: len(platform.engine.asked) == 2)
    platform.engine.hold = None
    late = await platform.ingest("Iron rusts in rain.", name="late")
    assert late.status == 201
    release.set()
    await switched(platform)
    found = (await platform.search("rust", k=1)).json["data"]
    assert [one["document_name"] for one in found] == ["late"]
    assert (await shown(platform))["model"] == "tiny"
    assert await rows(platform, "SELECT count(DISTINCT document) FROM penstock_retrieval.chunks") == [(2,)]


async def test_a_document_whose_index_is_switched_meanwhile_goes_into_the_new_one(platform: Platform):
    await platform.ingest("Something else.")
    release = platform.engine.hold = asyncio.Event()
    waiting = asyncio.ensure_future(platform.ingest("Iron rusts in rain.", name="late"))
    await eventually(lambda: len(platform.engine.asked) == 2)
    platform.engine.hold = None
    await platform.ask("POST", "collections/notes/reindex", {"chunk_tokens": 48})
    await switched(platform)
    release.set()
    assert (await waiting).status == 201
    found = (await platform.search("rust", k=1)).json["data"]
    assert [one["document_name"] for one in found] == ["late"]


async def test_a_broken_off_index_leaves_the_old_one_and_goes_on_when_asked_again(platform: Platform):
    await platform.ingest(TEXT)
    platform.engine.fails = 400
    await platform.ask("POST", "collections/notes/reindex", {"chunk_tokens": 32})
    await switched(platform)
    assert platform.running.log.of("retrieval_reindex")[0]["ended"] is False
    platform.engine.fails = 0
    assert (await platform.search("nectar", mode="words")).json["data"]
    assert (await shown(platform))["reindexing"]["documents"] == 0
    platform.running.log.events.clear()
    await platform.ask("POST", "collections/notes/reindex", {"chunk_tokens": 32})
    await switched(platform)
    assert (await shown(platform))["chunk_tokens"] == 32
    refused = await platform.ask("POST", "collections/notes/reindex", {"chunk_tokens": 40, "overlap_tokens": 30})
    assert refused.error["param"] == "overlap_tokens"
    assert (await platform.ask("POST", "collections/nothing/reindex", {})).status == 404
