"""Words that stand everywhere cost a bounded time, and never the passages that hold all words."""

from __future__ import annotations

import time

from app.retrieval import store as store_module
from app.retrieval.store import Stores
from tests.retrieval.conftest import Platform


async def test_passages_with_some_words_are_left_out_where_they_take_too_long(platform: Platform, monkeypatch):
    for number in range(4):
        await platform.ingest(f"Common note, and rare{number} word.")
    monkeypatch.setattr(
        store_module,
        "_ANY_WORD",
        f"(SELECT {store_module._ANY_WORD} FROM (SELECT pg_sleep(1)) AS late)",  # noqa: S608 - of this test
    )
    stores = Stores(platform.database)
    begun = time.monotonic()
    async with stores.of("first", reading=True) as one:
        index = await one.index("notes")
        assert index is not None
        for few in (True, False):
            every, some = await one.by_words(index, "common rare2", 10, few=few, milliseconds=100)
            assert (len(every), some) == (1, [])
        assert await one.connection.fetchval("SHOW statement_timeout") == "15s", "what follows has its time"
    assert time.monotonic() - begun < 5
    stores.close()


async def test_the_two_ways_of_reading_words_agree(platform: Platform):
    for number in range(6):
        await platform.ingest(f"Common note, and rare{number % 3} word.", name=str(number))
    stores = Stores(platform.database)
    async with stores.of("first", reading=True) as one:
        index = await one.index("notes")
        assert index is not None
        found = [await one.by_words(index, "common rare1", 10, few=few) for few in (True, False)]
    assert found[0] == found[1]
    assert [len(part) for part in found[0]] == [2, 4]
    stores.close()
