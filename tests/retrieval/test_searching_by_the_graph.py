"""In a large index the nearest passages are read from the graph (HNSW), and it is the right one."""

from __future__ import annotations

from typing import Any

from app.retrieval import store as store_module
from app.retrieval.embed import text_form
from app.retrieval.store import Store, Stores
from tests.retrieval.conftest import Platform, hashed

SIZE = 256
"""A size that the schema has a graph for."""


class Watched:
    """A connection that has each statement explained, as it is and with the values that it has."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plans: list[str] = []

    async def fetch(self, statement: str, *values: object) -> list[Any]:
        plan = await self._connection.fetch(f"EXPLAIN {statement}", *values)
        self.plans.append("\n".join(row[0] for row in plan))
        return await self._connection.fetch(statement, *values)


async def test_the_nearest_passages_come_from_the_graph_unless_there_are_few(platform: Platform):
    platform.engine.size = SIZE
    for number in range(12):
        assert (await platform.ingest(f"Note {number} about word{number} and thing{number}.")).status == 201
    vector, _ = text_form(hashed("Note about word7 and thing7.", SIZE))
    stores = Stores(platform.database)
    async with stores.of("first", reading=True) as one:
        index = await one.index("notes")
        assert index is not None
        # Twelve rows are sorted sooner than a graph is read; a planner that may not sort takes what index there is.
        await one.connection.execute("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off")
        watched = Watched(one.connection)
        store = Store(watched, one.tenant)  # ty: ignore[invalid-argument-type]
        near = await store.by_meaning(index, vector, SIZE, 5, few=False)
        exact = await store.by_meaning(index, vector, SIZE, 5, few=True)
    stores.close()
    assert (near[0], len(near)) == (exact[0], len(exact)), "the nearest is the same; others are as far as one another"
    assert f"Index Scan using chunks_near_{SIZE} on chunks" in watched.plans[0]
    assert "chunks_near_" not in watched.plans[1]


async def test_an_index_is_large_beyond_the_bound(platform: Platform, monkeypatch):
    monkeypatch.setattr(store_module, "EXACT_ROWS", 3)
    stores = Stores(platform.database)
    for number, few in enumerate((True, True, True, False)):
        await platform.ingest(f"Note {number}.")
        async with stores.of("first", reading=True) as one:
            index = await one.index("notes")
            assert index is not None
            assert await one.few(index) is few
    stores.close()
