"""The SQL of retrieval: each operation is one transaction that sees one tenant. asyncpg is imported here."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg

from app.gateway.database.connection import STATEMENT_SECONDS
from app.gateway.database.settings import Database
from app.jobs.pool import Pool
from app.retrieval.schema import ROLE

NEAR_SCANNED = 20_000
"""Most rows that one search by vectors looks at to find those of its tenant (hnsw.max_scan_tuples' default)."""
EXACT_ROWS = 5000
"""So few passages are compared one by one: quicker than the graph, and nothing is missed."""

_ALL_WORDS = "plainto_tsquery($1::text::regconfig, $2)"
_ANY_WORD = f"replace({_ALL_WORDS}::text, '&', '|')::tsquery"


@dataclass(frozen=True)
class Passage:
    ordinal: int
    heading: str
    page: int | None
    text: str
    embedding: str
    """As pgvector reads it."""
    dimensions: int


@dataclass(frozen=True)
class Index:
    id: int
    collection: int
    language: str
    model: str
    chunk_tokens: int
    overlap_tokens: int


@dataclass(frozen=True)
class Left:
    """An index that was begun and is not made on."""

    index: int
    tenant: str
    key_id: str


@dataclass(frozen=True)
class NewDocument:
    id: str
    digest: bytes
    name: str
    media_type: str
    bytes: int
    text: str
    metadata: Mapping[str, str]


class IndexChangedError(Exception):
    """The collection's index was switched, or the collection removed, meanwhile."""


class Store:
    """What one tenant may do within one transaction."""

    def __init__(self, connection: asyncpg.Connection, tenant: str) -> None:
        self.connection = connection
        self.tenant = tenant

    # -- collections --

    async def collection(self, name: str) -> asyncpg.Record | None:
        return await self.connection.fetchrow(
            "SELECT id, name, language, created_at FROM penstock_retrieval.collections WHERE name = $1", name
        )

    async def collections(self) -> list[asyncpg.Record]:
        return await self.connection.fetch(
            "SELECT c.id, c.name, c.language, c.created_at, i.model, i.chunk_tokens, i.overlap_tokens, "
            "(SELECT count(*) FROM penstock_retrieval.documents AS d WHERE d.collection = c.id) AS documents "
            "FROM penstock_retrieval.collections AS c "
            "JOIN penstock_retrieval.indexes AS i ON i.collection = c.id AND i.state = 'current' ORDER BY c.name"
        )

    async def create(self, name: str, language: str, model: str, chunk_tokens: int, overlap_tokens: int) -> None:
        """Does nothing where it is there."""
        found = await self.connection.fetchval(
            "INSERT INTO penstock_retrieval.collections (tenant, name, language) VALUES ($1, $2, $3) "
            "ON CONFLICT (tenant, name) DO NOTHING RETURNING id",
            self.tenant, name, language,
        )  # fmt: skip
        if found is not None:
            await self.add_index(found, model, chunk_tokens, overlap_tokens, "current")

    async def remove(self, name: str) -> bool:
        return (
            await self.connection.execute("DELETE FROM penstock_retrieval.collections WHERE name = $1", name)
            != "DELETE 0"
        )

    # -- indexes --

    async def add_index(
        self, collection: int, model: str, chunk_tokens: int, overlap_tokens: int, state: Literal["current", "building"]
    ) -> int | None:
        """None where one is being built already."""
        return await self.connection.fetchval(
            "INSERT INTO penstock_retrieval.indexes (tenant, collection, model, chunk_tokens, overlap_tokens, state) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING id",
            self.tenant, collection, model, chunk_tokens, overlap_tokens, state,
        )  # fmt: skip

    async def index(self, name: str, state: Literal["current", "building"] = "current") -> Index | None:
        row = await self.connection.fetchrow(
            "SELECT i.id, i.collection, c.language, i.model, i.chunk_tokens, i.overlap_tokens "
            "FROM penstock_retrieval.collections AS c "
            "JOIN penstock_retrieval.indexes AS i ON i.collection = c.id AND i.state = $2 WHERE c.name = $1",
            name, state,
        )  # fmt: skip
        return None if row is None else Index(*row)

    async def progress(self, index: Index) -> tuple[int, int]:
        """Documents that are in an index, and all."""
        row = await self.connection.fetchrow(
            "SELECT (SELECT count(DISTINCT document) FROM penstock_retrieval.chunks WHERE index_id = $1) AS done, "
            "(SELECT count(*) FROM penstock_retrieval.documents WHERE collection = $2) AS every",
            index.id, index.collection,
        )  # fmt: skip
        assert row is not None  # noqa: S101 - it is a row of numbers
        return row["done"], row["every"]

    async def missing(self, index: Index) -> asyncpg.Record | None:
        """A document that is not in the index yet."""
        return await self.connection.fetchrow(
            "SELECT id, text, media_type FROM penstock_retrieval.documents AS d WHERE collection = $2 AND NOT EXISTS "
            "(SELECT FROM penstock_retrieval.chunks AS one WHERE one.tenant = d.tenant AND one.document = d.id "
            "AND one.index_id = $1) ORDER BY seq LIMIT 1",
            index.id, index.collection,
        )  # fmt: skip

    async def switch(self, index: Index) -> bool:
        """Takes an index in use, where it lacks nothing. Waits for documents that are being added; new ones wait."""
        await self.connection.execute(
            "SELECT FROM penstock_retrieval.collections WHERE id = $1 FOR UPDATE", index.collection
        )
        if await self.missing(index) is not None:
            return False
        await self.connection.execute(
            "UPDATE penstock_retrieval.indexes SET state = 'old' WHERE collection = $1 AND state = 'current'",
            index.collection,
        )
        done = await self.connection.execute(
            "UPDATE penstock_retrieval.indexes SET state = 'current' WHERE id = $1 AND state = 'building'", index.id
        )
        if done != "UPDATE 1":
            raise IndexChangedError
        return True

    async def building(self, identity: int) -> Index | None:
        row = await self.connection.fetchrow(
            "SELECT i.id, i.collection, c.language, i.model, i.chunk_tokens, i.overlap_tokens "
            "FROM penstock_retrieval.collections AS c JOIN penstock_retrieval.indexes AS i ON i.collection = c.id "
            "WHERE i.id = $1 AND i.state = 'building'",
            identity,
        )
        return None if row is None else Index(*row)

    async def hold(self, index: Index, token: uuid.UUID, seconds: float, key_id: str | None) -> bool:
        """Takes the lease of an index that is being made; False where another has it.

        `key_id`: in whose name others may go on with it; None: nobody's.
        """
        done = await self.connection.execute(
            "UPDATE penstock_retrieval.indexes SET lease = $2, lease_until = now() + $3 * interval '1 second', "
            "key_id = $4 WHERE id = $1 AND state = 'building' AND (lease_until IS NULL OR lease_until < now())",
            index.id, token, seconds, key_id,
        )  # fmt: skip
        return done == "UPDATE 1"

    async def renew(self, index: Index, token: uuid.UUID, seconds: float) -> bool:
        """False where the lease is another's, or the index is no longer being made."""
        done = await self.connection.execute(
            "UPDATE penstock_retrieval.indexes SET lease_until = now() + $3 * interval '1 second' "
            "WHERE id = $1 AND state = 'building' AND lease = $2",
            index.id, token, seconds,
        )  # fmt: skip
        return done == "UPDATE 1"

    async def let_go(self, index: Index, token: uuid.UUID, seconds: float | None) -> None:
        """In so many seconds others may go on with it; None: whoever asks for it, at once."""
        await self.connection.execute(
            "UPDATE penstock_retrieval.indexes SET lease_until = now() + coalesce($3, 0) * interval '1 second', "
            "key_id = CASE WHEN $3::float8 IS NULL THEN NULL ELSE key_id END "
            "WHERE id = $1 AND state = 'building' AND lease = $2",
            index.id, token, seconds,
        )  # fmt: skip

    async def take_over(self, token: uuid.UUID, seconds: float) -> Left | None:
        """The lease of an index, of any tenant, that was begun with a key and that nobody makes."""
        row = await self.connection.fetchrow("SELECT * FROM penstock_retrieval.take_over($1, $2)", token, seconds)
        return None if row is None else Left(*row)

    async def remove_old(self, collection: int) -> None:
        await self.connection.execute(
            "DELETE FROM penstock_retrieval.indexes WHERE collection = $1 AND state = 'old'", collection
        )

    async def give_up(self, index: Index) -> None:
        await self.connection.execute(
            "DELETE FROM penstock_retrieval.indexes WHERE id = $1 AND state = 'building'", index.id
        )

    # -- documents --

    async def known(self, collection: int, digest: bytes) -> str | None:
        """The document with this content, where it is there."""
        return await self.connection.fetchval(
            "SELECT id FROM penstock_retrieval.documents WHERE tenant = $1 AND collection = $2 AND digest = $3",
            self.tenant, collection, digest,
        )  # fmt: skip

    async def count(self, collection: int) -> int:
        return await self.connection.fetchval(
            "SELECT count(*) FROM penstock_retrieval.documents WHERE collection = $1", collection
        )

    async def add(self, index: Index, new: NewDocument, passages: Iterable[Passage]) -> str:
        """The document's id: of one with the same content where that was quicker. Raises IndexChangedError."""
        await self.connection.execute(
            "SELECT FROM penstock_retrieval.collections WHERE id = $1 FOR SHARE", index.collection
        )
        state = await self.connection.fetchval("SELECT state FROM penstock_retrieval.indexes WHERE id = $1", index.id)
        if state != "current":
            raise IndexChangedError
        added = await self.connection.fetchval(
            "INSERT INTO penstock_retrieval.documents "
            "(id, tenant, collection, digest, name, media_type, bytes, text, metadata) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb) ON CONFLICT (tenant, collection, digest) "
            "DO NOTHING RETURNING id",
            new.id, self.tenant, index.collection, new.digest, new.name, new.media_type, new.bytes, new.text,
            json.dumps(dict(new.metadata)),
        )  # fmt: skip
        if added is None:
            found = await self.known(index.collection, new.digest)
            if found is None:
                raise IndexChangedError
            return found
        await self.add_passages(index, new.id, passages)
        return new.id

    async def add_passages(self, index: Index, document: str, passages: Iterable[Passage]) -> None:
        """Does nothing for those that are there."""
        await self.connection.executemany(
            "INSERT INTO penstock_retrieval.chunks "
            "(tenant, index_id, document, ordinal, heading, page, text, words, dimensions, embedding) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, setweight(to_tsvector($10::text::regconfig, $5), 'A') || "
            "to_tsvector($10::text::regconfig, $7), $8, $9::text::halfvec) "
            "ON CONFLICT (tenant, index_id, document, ordinal) DO NOTHING",
            [
                (self.tenant, index.id, document, one.ordinal, one.heading, one.page, one.text, one.dimensions,
                 one.embedding, index.language)
                for one in passages
            ],
        )  # fmt: skip

    async def documents(self, collection: int, before: int | None, limit: int) -> list[asyncpg.Record]:
        """The newest first, `before` the one of that number."""
        return await self.connection.fetch(
            "SELECT id, name, media_type, bytes, metadata, created_at, seq FROM penstock_retrieval.documents "
            "WHERE collection = $1 AND ($2::bigint IS NULL OR seq < $2) ORDER BY seq DESC LIMIT $3",
            collection, before, limit,
        )  # fmt: skip

    async def document(self, collection: int, identity: str) -> asyncpg.Record | None:
        return await self.connection.fetchrow(
            "SELECT id, name, media_type, bytes, metadata, created_at, seq FROM penstock_retrieval.documents "
            "WHERE collection = $1 AND id = $2",
            collection, identity,
        )  # fmt: skip

    async def delete(self, collection: int, identity: str) -> bool:
        done = await self.connection.execute(
            "DELETE FROM penstock_retrieval.documents WHERE collection = $1 AND id = $2", collection, identity
        )
        return done != "DELETE 0"

    # -- search --

    async def few(self, index: Index) -> bool:
        """Whether an index has so few passages that all of them are looked at."""
        found = await self.connection.fetchval(
            "SELECT count(*) FROM (SELECT FROM penstock_retrieval.chunks WHERE tenant = $1 AND index_id = $2 "  # noqa: S608
            f"LIMIT {EXACT_ROWS + 1}) AS few",
            self.tenant, index.id,
        )  # fmt: skip
        return found <= EXACT_ROWS

    async def by_words(
        self, index: Index, question: str, most: int, *, few: bool, milliseconds: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Passages with all words of the question, and those with some, each best first.

        `milliseconds`: the latter are left out where common words make so many of them that it takes longer.
        """
        every = await self._words(index, question, most, few, _ALL_WORDS)
        found = [row["id"] for row in every]
        if len(found) >= most:
            return found, []
        try:
            async with self.connection.transaction():
                if milliseconds is not None:
                    await self.connection.execute(f"SET LOCAL statement_timeout = {int(milliseconds)}")
                rows = await self._words(index, question, most, few, _ANY_WORD)
        except asyncpg.QueryCanceledError:
            rows = []
        if milliseconds is not None:
            await self.connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS:.0f}s'")
        return found, [row["id"] for row in rows if not row["has_all"]]

    async def _words(
        self,
        index: Index,
        question: str,
        most: int,
        few: bool,
        wanted: str,
    ) -> list[asyncpg.Record]:
        return await self.connection.fetch(
            f"SELECT id, has_all FROM penstock_retrieval.by_words($3, {wanted}, {_ALL_WORDS}, $4, $5)",  # noqa: S608
            index.language, question, index.id, most, few,
        )  # fmt: skip

    async def by_meaning(self, index: Index, embedding: str, dimensions: int, most: int, *, few: bool) -> list[int]:
        kind = f"halfvec({int(dimensions)})"
        # `+ 0`: no index gives this order, so that each row is compared.
        order = f"(embedding::{kind} <=> $3::text::{kind})" + (" + 0" if few else "")
        rows = await self.connection.fetch(
            "SELECT id FROM penstock_retrieval.chunks WHERE tenant = $1 AND index_id = $2 "  # noqa: S608 - numbers alone
            f"AND dimensions = {int(dimensions)} ORDER BY {order} LIMIT $4",
            self.tenant, index.id, embedding, most,
        )  # fmt: skip
        return [row["id"] for row in rows]

    async def passages(self, ids: Sequence[int]) -> dict[int, asyncpg.Record]:
        rows = await self.connection.fetch(
            "SELECT one.id, one.document, one.ordinal, one.heading, one.page, one.text, d.name, d.metadata "
            "FROM penstock_retrieval.chunks AS one JOIN penstock_retrieval.documents AS d "
            "ON d.tenant = one.tenant AND d.id = one.document WHERE one.id = ANY($1::bigint[])",
            list(ids),
        )
        return {row["id"]: row for row in rows}


class Stores:
    """Transactions of tenants, over a few connections."""

    def __init__(self, database: Database, most: int = 4) -> None:
        self._pool = Pool(database, "penstock-retrieval", most)

    @contextlib.asynccontextmanager
    async def of(self, tenant: str, *, reading: bool = False) -> AsyncGenerator[Store]:
        """Raises FAILURES. `reading`: one picture of the data throughout, and nothing may change."""
        async with self._pool.connection() as connection:
            isolation: Any = "repeatable_read" if reading else "read_committed"
            async with connection.transaction(isolation=isolation, readonly=reading):
                await connection.execute(
                    f"SET LOCAL ROLE {ROLE}; SET LOCAL hnsw.iterative_scan = 'strict_order'; "
                    f"SET LOCAL hnsw.ef_search = 100; SET LOCAL hnsw.max_scan_tuples = {NEAR_SCANNED}"
                )
                await connection.fetchval("SELECT set_config('app.tenant', $1, true)", tenant)
                yield Store(connection, tenant)

    def close(self) -> None:
        self._pool.close()
