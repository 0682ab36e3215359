"""What retrieval does: takes documents in, and searches."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.errors import Problem, Refused
from app.retrieval import chunks
from app.retrieval.extract import KINDS, Extractor
from app.retrieval.fuse import fuse
from app.retrieval.problems import ADD_SECONDS, AWAY, READ_SECONDS, no_collection
from app.retrieval.rebuild import Rebuilder
from app.retrieval.store import Index, IndexChangedError, NewDocument, Passage, Store, Stores

if TYPE_CHECKING:
    from app.gateway.keys.errands import Errands
    from app.gateway.log import Log
    from app.retrieval.config import RetrievalConfig
    from app.retrieval.embed import Door
    from app.retrieval.forms import IngestForm

MOST_TRIES = 3
"""Of one document whose index is switched while it is cut and embedded."""
WORDS_MILLISECONDS = 100
"""For passages with some words, where there are those by meaning: very common words have very many."""
SOME_WORDS_WEIGHT = 0.1
"""Of passages that share only some words with the question. At 1 they pushed right ones out of the first five: recall
fell from 1.0 to 0.81 over tests/retrieval/corpus.py, whose questions use other words than the passages."""
WORDS = "words"
MODES = ("hybrid", "meaning", WORDS)


def fingerprint(form: IngestForm, content: bytes) -> bytes:
    """The same for the same content, media type, name and metadata."""
    rest = msgspec.json.encode([form.media_type, form.name, sorted(form.metadata.items())])
    return hashlib.sha256(hashlib.sha256(content).digest() + rest).digest()


class Retrieval:
    def __init__(self, config: RetrievalConfig, stores: Stores, door: Door, errands: Errands, log: Log) -> None:
        self.config = config
        self.stores = stores
        self._door = door
        self._extractor = Extractor(config)
        self.rebuilder = Rebuilder(config, stores, self._passages, errands, log)

    # -- documents --

    async def ingest(
        self, tenant: str, authorization: bytes, form: IngestForm, content: bytes
    ) -> tuple[str, bool, int]:
        """The document's id, whether it is new, and its passages (0 for a known one). Raises Refused, FAILURES."""
        digest = fingerprint(form, content)
        index, known = await self._place_for(tenant, form.collection, digest)
        if known is not None:
            return known, False, 0
        text = await self._extractor.text(content, form.media_type)
        new = NewDocument(
            f"doc_{secrets.token_hex(12)}", digest, form.name, form.media_type, len(content), text, form.metadata
        )
        for _ in range(MOST_TRIES):
            passages = await self._passages(index, text, form.media_type, authorization)
            try:
                async with asyncio.timeout(ADD_SECONDS), self.stores.of(tenant) as store:
                    identity = await store.add(index, new, passages)
            except IndexChangedError:
                index, _ = await self._place_for(tenant, form.collection, digest)
            else:
                return identity, identity == new.id, len(passages)
        raise Refused(AWAY)

    async def _place_for(self, tenant: str, collection: str, digest: bytes) -> tuple[Index, str | None]:
        """The collection's index, made where there is none, and the document where it is there."""
        config = self.config
        async with asyncio.timeout(READ_SECONDS), self.stores.of(tenant) as store:
            index = await store.index(collection)
            if index is None:
                if len(await store.collections()) >= config.max_collections:
                    text = f"This tenant has {config.max_collections} collections, the limit."
                    raise Refused(Problem(409, text, "too_many_collections", "collection"))
                await store.create(
                    collection, config.language, config.model, config.chunk_tokens, config.overlap_tokens
                )
                index = await store.index(collection)
                if index is None:
                    raise Refused(AWAY)
            known = await store.known(index.collection, digest)
            if known is None and await store.count(index.collection) >= config.max_documents:
                text = f"The collection has {config.max_documents} documents, the limit."
                raise Refused(Problem(409, text, "too_many_documents", "collection"))
        return index, known

    async def _passages(self, index: Index, text: str, media_type: str, authorization: bytes) -> list[Passage]:
        spans = chunks.cut(text, index.chunk_tokens, index.overlap_tokens)
        texts = [text[one.start : one.end].strip().replace("\f", "\n") for one in spans]
        # A passage is found by its headings as well, which it need not repeat.
        headed = [f"{one.heading}\n{inner}" if one.heading else inner for one, inner in zip(spans, texts, strict=True)]
        vectors = await self._door.embed(index.model, headed, authorization)
        paged = KINDS[media_type] == "pdf"
        return [
            Passage(ordinal, span.heading, chunks.page_of(text, span) if paged else None, inner, *vector)
            for ordinal, (span, inner, vector) in enumerate(zip(spans, texts, vectors, strict=True))
        ]

    # -- search --

    async def search(
        self, tenant: str, authorization: bytes, collection: str, query: str, k: int, mode: str = "hybrid"
    ) -> list[dict[str, Any]]:
        """The best passages, best first. Raises Refused, FAILURES."""
        query = query.replace("\0", " ")
        seconds = self.config.search_seconds
        async with asyncio.timeout(seconds), self.stores.of(tenant, reading=True) as store:
            index = await store.index(collection)
        for _ in range(MOST_TRIES):
            if index is None:
                raise no_collection(collection)
            vector = None
            if mode != WORDS:
                vector = (await self._door.embed(index.model, [query], authorization, query=True))[0]
            async with asyncio.timeout(seconds), self.stores.of(tenant, reading=True) as store:
                now = await store.index(collection)
                # The words may be of another model than the index that took over meanwhile.
                if now == index:
                    return await self._find(store, index, query, vector, k, words=mode != "meaning")
                index = now
        raise Refused(AWAY)

    async def _find(
        self, store: Store, index: Index, query: str, vector: tuple[str, int] | None, k: int, *, words: bool
    ) -> list[dict[str, Any]]:
        most = max(self.config.candidates, k)
        rankings: list[tuple[float, list[int]]] = []
        few = await store.few(index)
        if vector is not None:
            rankings.append((1.0, await store.by_meaning(index, *vector, most, few=few)))
        if words:
            bound = None if vector is None else WORDS_MILLISECONDS
            every, some = await store.by_words(index, query, most, few=few, milliseconds=bound)
            rankings += [(1.0, every), (SOME_WORDS_WEIGHT, some)]
        best = fuse(rankings, k)
        rows = await store.passages([identity for identity, _ in best])
        return [_shown(rows[identity], score) for identity, score in best if identity in rows]

    async def close(self) -> None:
        await self.rebuilder.close()
        self.stores.close()
        await self._door.close()


def _shown(row: Any, score: float) -> dict[str, Any]:
    return {
        "document_id": row["document"],
        "document_name": row["name"],
        "metadata": msgspec.json.decode(row["metadata"]),
        "passage": row["ordinal"],
        "heading": row["heading"],
        "page": row["page"],
        "text": row["text"],
        "score": round(score, 6),
    }
