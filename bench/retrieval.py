"""Search over many passages: time, recall of the graph against an exact search, and the isolation's price.

    .venv/bin/python -m bench.retrieval [--passages 100000] [--searches 200] [--dimensions 384] [--connections 4]

Starts the PostgreSQL of the local platform in a temporary folder (about 1 GB for 100,000 passages of 384 dimensions).
Texts are random words, drawn by Zipf's law; vectors lie around 500 centres, as those of real texts lie in topics.
Embeddings are not part of the time: it is that of `Store` alone, connection held. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import socket
import statistics
import tempfile
import time
from pathlib import Path

import asyncpg
import numpy as np

from app.gateway.database.connection import connect
from app.gateway.database.migrations import make_login, migrate
from app.gateway.database.settings import Database
from app.retrieval.embed import text_form
from app.retrieval.fuse import fuse
from app.retrieval.schema import RETRIEVAL, ROLE
from app.retrieval.store import Index, Stores
from app.retrieval.work import WORDS_MILLISECONDS
from infra.local.aws.planes.postgres import Cluster, Quarters, installations
from infra.local.processes import Processes

WORDS = 20_000
CENTRES = 500
SMALL_TENANT = 500
"""Passages of a second tenant in the same tables, whose searches must not suffer from the large one."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Corpus:
    def __init__(self, dimensions: int, seed: int = 7) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secrets
        self.numbers = np.random.default_rng(seed)
        self.centres = self.numbers.normal(size=(CENTRES, dimensions))
        self.words = [f"w{number:x}" for number in range(WORDS)]
        self.weights = list(itertools.accumulate(1 / (number + 10) for number in range(WORDS)))

    def text(self, count: int) -> str:
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=count))

    def vectors(self, count: int) -> np.ndarray:
        which = self.numbers.integers(0, CENTRES, count)
        found = self.centres[which] + 0.7 * self.numbers.normal(size=(count, self.centres.shape[1]))
        return found / np.linalg.norm(found, axis=1, keepdims=True)


async def fill(connection: asyncpg.Connection, corpus: Corpus, tenant: str, count: int) -> Index:
    collection = await connection.fetchval(
        "INSERT INTO penstock_retrieval.collections (tenant, name, language) VALUES ($1, 'c', 'simple') RETURNING id",
        tenant,
    )
    index = await connection.fetchval(
        "INSERT INTO penstock_retrieval.indexes (tenant, collection, model, chunk_tokens, overlap_tokens, state) "
        "VALUES ($1, $2, 'm', 100, 0, 'current') RETURNING id",
        tenant, collection,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO penstock_retrieval.documents "
        "(id, tenant, collection, digest, name, media_type, bytes, text, metadata) "
        "VALUES ($1 || '-doc', $1, $2, '', '', 'text/plain', 0, 'x', '{}')",
        tenant, collection,
    )  # fmt: skip
    for start in range(0, count, 1000):
        some = min(1000, count - start)
        rows = [
            (tenant, index, f"{tenant}-doc", start + at, corpus.text(60), *text_form(vector.tolist())[::-1])
            for at, vector in enumerate(corpus.vectors(some))
        ]
        await connection.executemany(
            "INSERT INTO penstock_retrieval.chunks "
            "(tenant, index_id, document, ordinal, heading, text, words, dimensions, embedding) "
            "VALUES ($1, $2, $3, $4, '', $5, to_tsvector('simple', $5), $6, $7::text::halfvec)",
            rows,
        )
    return Index(index, collection, "simple", "m", 100, 0)


async def search(stores: Stores, tenant: str, index: Index, question: str, vector: tuple[str, int]) -> dict[str, float]:
    """Seconds of one search and of its parts."""
    begun = time.perf_counter()
    async with stores.of(tenant, reading=True) as store:
        await store.index("c")
        at = time.perf_counter()
        few = await store.few(index)
        near = await store.by_meaning(index, *vector, 60, few=few)
        meant = time.perf_counter()
        every, some = await store.by_words(index, question, 60, few=few, milliseconds=WORDS_MILLISECONDS)
        worded = time.perf_counter()
        await store.passages([one for one, _ in fuse([(1.0, near), (1.0, every), (0.1, some)], 5)])
    return {"whole": time.perf_counter() - begun, "meaning": meant - at, "words": worded - meant}


async def recall(stores: Stores, tenant: str, index: Index, vectors: list[tuple[str, int]]) -> float:
    """Share of the five nearest that the search by the graph finds."""
    found = 0
    for vector, size in vectors:
        async with stores.of(tenant, reading=True) as store:
            got = (await store.by_meaning(index, vector, size, 60, few=await store.few(index)))[:5]
            rows = await store.connection.fetch(
                "SELECT id FROM penstock_retrieval.chunks WHERE tenant = $1 AND index_id = $2 "  # noqa: S608 - a number
                f"ORDER BY (embedding::halfvec({size}) <=> $3::text::halfvec({size})) + 0 LIMIT 5",
                tenant, index.id, vector,
            )  # fmt: skip
        found += len({row["id"] for row in rows} & set(got))
    return found / (5 * len(vectors))


def milliseconds(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p95_ms": round(ordered[math.ceil(0.95 * len(ordered)) - 1] * 1000, 1),
    }


async def measure(database: Database, options: argparse.Namespace) -> dict[str, object]:
    corpus = Corpus(options.dimensions)
    connection = await connect(database, statement_seconds=3600)
    await migrate(connection, RETRIEVAL)
    await connection.execute("SET maintenance_work_mem = '512MB'")
    await make_login(connection, "bench", "bench", (RETRIEVAL,), RETRIEVAL.lock)
    size = text_form([1.0] * options.dimensions)[1]
    # Built at the end, which takes minutes less than growing it row by row; nothing of a search depends on it.
    names = (f"penstock_retrieval.chunks_near_{size}", "penstock_retrieval.chunks_words")
    definitions = [await connection.fetchval("SELECT pg_get_indexdef($1::text::regclass)", name) for name in names]
    await connection.execute(f"DROP INDEX {', '.join(names)}")
    begun = time.perf_counter()
    large = await fill(connection, corpus, "large", options.passages)
    small = await fill(connection, corpus, "small", SMALL_TENANT)
    filled = time.perf_counter()
    for definition in definitions:
        await connection.execute(definition)
    await connection.execute("ANALYZE penstock_retrieval.chunks")
    built = time.perf_counter()
    indexes = await connection.fetchval("SELECT pg_total_relation_size('penstock_retrieval.chunks')")
    await connection.close()
    own = Database(database.host, database.port, database.name, "bench", "bench")
    stores = Stores(own, options.connections)
    result: dict[str, object] = {
        "passages": options.passages, "dimensions": options.dimensions, "role": ROLE,
        "fill_s": round(filled - begun, 1), "indexes_s": round(built - filled, 1), "mib": indexes // 2**20,
    }  # fmt: skip
    for tenant, index in (("large", large), ("small", small)):
        vectors = [text_form(one.tolist()) for one in corpus.vectors(options.searches)]
        for vector in vectors[:10]:
            await search(stores, tenant, index, corpus.text(6), vector)
        times = [await search(stores, tenant, index, corpus.text(6), vector) for vector in vectors]
        parts = {part: milliseconds([one[part] for one in times]) for part in ("whole", "meaning", "words")}
        result[tenant] = parts | {"graph_recall_at_5": round(await recall(stores, tenant, index, vectors[:40]), 3)}
    stores.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-retrieval-") as name:
        folder = Path(name)
        installed = installations()
        cluster = Cluster(
            name="bench", installation=installed[max(installed)], quarters=Quarters(folder / "state"),
            processes=Processes(folder / "logs"), address="127.0.0.1", port=free_port(), username="owner",
            password="bench-of-the-owner",  # noqa: S106 - of a server that ends with this program
        )  # fmt: skip
        cluster.create(None)
        cluster.start()
        try:
            time.sleep(2)
            database = Database("127.0.0.1", cluster.port, "postgres", "owner", "bench-of-the-owner")
            print(json.dumps(asyncio.run(measure(database, options))))
        finally:
            cluster.stop()
            cluster.quarters.remove()


if __name__ == "__main__":
    main()
