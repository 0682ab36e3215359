"""New indexes beside those in use. One gateway makes each, under a lease; where it ends early another goes on.

What is done twice changes nothing: passages are added once, and one transaction switches. So a lease keeps gateways
from doing the same work, and nothing rests on it being kept.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from app.gateway.database.connection import FAILURES
from app.gateway.errors import Problem, Refused, retry_after
from app.retrieval.problems import ADD_SECONDS, AWAY, READ_SECONDS, no_collection
from app.retrieval.store import Index, IndexChangedError, Passage, Stores

if TYPE_CHECKING:
    from app.gateway.keys.errands import Errands
    from app.gateway.keys.grant import Grant
    from app.gateway.log import Log
    from app.retrieval.config import RetrievalConfig
    from app.retrieval.forms import ReindexForm

MOST_REINDEXING = 2
LEASE_SECONDS = 30.0
"""A gateway that dies leaves its index to others after so long."""
LOOK_SECONDS = 10.0
"""How often each gateway looks for indexes that were left."""
RETRY_SECONDS = 60.0
"""After an engine, a limit or the gateway itself refused for a while."""
LET_GO_SECONDS = 2.0
FOR_A_WHILE = (408, 429)
"""And all from 500 on."""

Cut = Callable[[Index, str, str, bytes], Awaitable[list[Passage]]]
"""Index, text, media type, authorization. Raises Refused."""


class Rebuilder:
    def __init__(self, config: RetrievalConfig, stores: Stores, cut: Cut, errands: Errands, log: Log) -> None:
        self._config = config
        self._stores = stores
        self._cut = cut
        self._errands = errands
        self._log = log
        self._building: dict[int, asyncio.Task[None]] = {}
        self._away = False

    async def begin(self, grant: Grant, authorization: bytes, collection: str, form: ReindexForm) -> dict[str, Any]:
        """A new index; where one is being made, that, whoever makes it. Raises Refused, FAILURES."""
        key_id, token = self._errands.key_of(grant), uuid.uuid4()
        async with asyncio.timeout(READ_SECONDS), self._stores.of(grant.tenant) as store:
            current = await store.index(collection)
            if current is None:
                raise no_collection(collection)
            tokens = form.chunk_tokens or self._config.chunk_tokens
            overlap = self._config.overlap_tokens if form.overlap_tokens is None else form.overlap_tokens
            if overlap * 2 > tokens:
                text = f"`overlap_tokens`: {overlap} is too large; allowed: half of `chunk_tokens`, {tokens // 2}."
                raise Refused(Problem(400, text, "invalid_value", "overlap_tokens"))
            await store.add_index(current.collection, form.model or self._config.model, tokens, overlap, "building")
            building = await store.index(collection, "building")
            if building is None:
                raise Refused(AWAY)
            if building.id not in self._building:
                if len(self._building) >= MOST_REINDEXING:
                    text = f"This gateway makes {MOST_REINDEXING} new indexes at once, the limit. Try again later."
                    raise Refused(Problem(503, text, "retrieval_busy", headers=retry_after(30)))
                ours = await store.hold(building, token, LEASE_SECONDS, key_id)
            else:
                ours = False
        if ours:
            self._start(grant.tenant, building, token, key_id, authorization)
        return {"model": building.model, "chunk_tokens": building.chunk_tokens}

    def _start(self, tenant: str, index: Index, token: uuid.UUID, key_id: str | None, authorization: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._build(tenant, index, token, key_id, authorization))
        self._building[index.id] = task
        task.add_done_callback(lambda _: self._building.pop(index.id, None))

    # -- one index --

    async def _build(
        self, tenant: str, index: Index, token: uuid.UUID, key_id: str | None, authorization: bytes
    ) -> None:
        """`key_id`: in whose name; None: `authorization` is sent as it came, and nobody else can go on with it."""
        if key_id is not None:
            authorization = self._errands.issue(key_id)
        work = asyncio.ensure_future(self._documents(tenant, index, authorization))
        lease = asyncio.ensure_future(self._keep(tenant, index, token))
        told: dict[str, Any] = {"ended": False}
        try:
            await asyncio.wait((work, lease), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                told["reason"] = "another gateway makes it, or the collection is gone"
                return
            told = {"ended": True, "documents": await work}
        except Refused as refused:
            told["reason"] = refused.problem.message[:300]
            status = refused.problem.status
            again = status >= 500 or status in FOR_A_WHILE
            await self._let_go(tenant, index, token, RETRY_SECONDS if again and key_id is not None else None)
        except (*FAILURES, IndexChangedError) as error:  # the lease ends by itself
            told["reason"] = type(error).__name__
        except asyncio.CancelledError:
            told["reason"] = "this gateway ends"
            await self._let_go(tenant, index, token, 0.0 if key_id is not None else None)
            raise
        finally:
            for task in (work, lease):
                task.cancel()
            await asyncio.gather(work, lease, return_exceptions=True)
            self._errands.end(authorization)
            self._log.event("retrieval_reindex", tenant=tenant, **told)

    async def _documents(self, tenant: str, index: Index, authorization: bytes) -> int:
        """How many documents were cut and embedded here, once the index is in use. Raises Refused, FAILURES."""
        done = 0
        while True:
            async with asyncio.timeout(ADD_SECONDS), self._stores.of(tenant) as store:
                row = await store.missing(index)
                if row is None and await store.switch(index):
                    break
            if row is None:
                continue
            passages = await self._cut(index, row["text"], row["media_type"], authorization)
            async with asyncio.timeout(ADD_SECONDS), self._stores.of(tenant) as store:
                if await store.document(index.collection, row["id"]) is not None:
                    await store.add_passages(index, row["id"], passages)
                    done += 1
        async with asyncio.timeout(ADD_SECONDS), self._stores.of(tenant) as store:
            await store.remove_old(index.collection)
        return done

    async def _keep(self, tenant: str, index: Index, token: uuid.UUID) -> None:
        """Returns once the lease is another's, or the index is no longer being made."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                async with asyncio.timeout(READ_SECONDS), self._stores.of(tenant) as store:
                    if not await store.renew(index, token, LEASE_SECONDS):
                        return
            except FAILURES:
                continue

    async def _let_go(self, tenant: str, index: Index, token: uuid.UUID, seconds: float | None) -> None:
        """Leaves the index to any gateway in so many seconds; None: to who asks for it again."""
        try:
            async with asyncio.timeout(LET_GO_SECONDS), self._stores.of(tenant) as store:
                await store.let_go(index, token, seconds)
        except FAILURES:
            return  # the lease ends by itself

    # -- what others left --

    async def run(self) -> None:
        """Takes over what was left, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - not all at once
            try:
                await self.look()
            except FAILURES as error:
                if not self._away:
                    self._log.event("retrieval_reindex_look", reason=f"{type(error).__name__}: {error}"[:300])
                self._away = True
            else:
                self._away = False

    async def look(self) -> None:
        """Goes on with one index that nobody makes, if there is one. Raises FAILURES."""
        if len(self._building) >= MOST_REINDEXING:
            return
        token = uuid.uuid4()
        async with asyncio.timeout(READ_SECONDS), self._stores.of("") as store:
            left = await store.take_over(token, LEASE_SECONDS)
        if left is None or left.index in self._building:
            return
        async with asyncio.timeout(READ_SECONDS), self._stores.of(left.tenant) as store:
            index = await store.building(left.index)
        if index is not None:
            self._log.event("retrieval_reindex_taken_over", tenant=left.tenant, key_id=left.key_id)
            self._start(left.tenant, index, token, left.key_id, b"")

    async def close(self) -> None:
        tasks = list(self._building.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
