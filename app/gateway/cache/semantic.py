"""Answers to questions that mean the same, from PostgreSQL with pgvector. Slow or away, it is as if there were none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncpg

from app.gateway.cache.embed import EmbedError
from app.gateway.cache.entry import CorruptError, Entry, pack, unpack
from app.gateway.cache.facts import same_words
from app.gateway.cache.schema import CACHE, EXPIRE, FIND, FORGET_PURGES, KEEP, MARK_PURGE, PURGE, TRIM
from app.gateway.database.connection import FAILURES, DatabaseError, connect
from app.gateway.database.migrations import migrate_as_user

if TYPE_CHECKING:
    from app.gateway.cache.embed import Embedder
    from app.gateway.cache.metrics import CacheMetrics
    from app.gateway.cache.normal import Scope
    from app.gateway.cache.question import Question
    from app.gateway.cache.settings import SemanticCache
    from app.gateway.database.settings import Database

MOST_LOOKUPS = 32
"""Under way at once; beyond it a request goes to an engine."""
MOST_WAITING = 256
"""Answers that wait to be stored; beyond it they are not."""
FAILURES_TO_REST = 5
REST_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
STORE_SECONDS = 5.0
CLEAN_SECONDS = 60.0
CLOCKS_SECONDS = 1.0

Done = Callable[["Entry | None", float], None]
PROBLEMS = (*FAILURES, EmbedError, DatabaseError)


class SemanticError(Exception):
    """The database did not take a purge."""


def text_form(embedding: list[float]) -> str:
    """As pgvector reads it."""
    return "[" + ",".join(map(repr, embedding)) + "]"


class Semantic:
    def __init__(
        self,
        settings: SemanticCache,
        database: Database,
        embedder: Embedder,
        metrics: CacheMetrics,
        tell: Callable[..., None],
    ) -> None:
        self.settings = settings
        self._database = database
        self._embedder = embedder
        self._metrics = metrics
        self._tell = tell
        self._reader: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self._lost = asyncio.Event()
        self._lookups: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.Queue[tuple[Question, Scope, Entry]] = asyncio.Queue(MOST_WAITING)
        self._failed = 0
        self._rest_until = 0.0

    @property
    def vectors(self) -> str:
        return self._embedder.vectors

    @property
    def up(self) -> bool:
        return self._reader is not None

    # -- look-ups --

    def look(self, question: Question, scope: Scope, done: Done) -> bool:
        """Calls `done` with an answer and its similarity, or with None, in the time set. False: it is not called."""
        count = self._metrics.semantic
        rests = time.monotonic() < self._rest_until
        if self._reader is None or rests:
            question.refused = rests
            count["resting"].inc()
            return False
        if len(self._lookups) >= MOST_LOOKUPS:
            count["busy"].inc()
            return False
        task = asyncio.get_running_loop().create_task(self._look(question, scope, done))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)
        return True

    async def _look(self, question: Question, scope: Scope, done: Done) -> None:
        begun = time.monotonic()
        entry, alike, outcome = None, 0.0, "failed"
        try:
            async with asyncio.timeout(self.settings.lookup_seconds):
                question.embedding = await self._embedder.embed(question.text)
                entry, alike, outcome = await self._find(question, scope)
        except TimeoutError:
            outcome = "late"
        except PROBLEMS as error:
            question.refused = isinstance(error, EmbedError)
            self._tell("semantic_cache", failure=f"{type(error).__name__}: {error}"[:300])
        self._metrics.semantic[outcome].inc()
        self._metrics.semantic_seconds.observe(time.monotonic() - begun)
        if outcome in ("late", "failed"):
            self._failed += 1
            if self._failed >= FAILURES_TO_REST:
                self._failed, self._rest_until = 0, time.monotonic() + REST_SECONDS
        else:
            self._failed = 0
        done(entry, alike)

    async def _find(self, question: Question, scope: Scope) -> tuple[Entry | None, float, str]:
        embedding, reader = question.embedding, self._reader
        if embedding is None or reader is None:
            return None, 0.0, "failed"
        async with self._turn:
            try:
                rows = await reader.fetch(
                    FIND,
                    scope.tenant,
                    scope.model,
                    question.context,
                    question.facts.fixed,
                    text_form(embedding),
                    len(embedding),
                )
            except BaseException:
                # Cut off or refused: what this connection is at is not known.
                self._drop(reader)
                raise
        guarded = False
        for row in rows:
            if row["alike"] < self.settings.threshold:
                break
            if not same_words(self.settings.guard, row["words"], question.facts.words):
                guarded = True
                continue
            try:
                return unpack(question.context, row["entry"]), row["alike"], "hit"
            except CorruptError:
                self._metrics.corrupt.inc()
        return None, 0.0, "guarded" if guarded else "miss"

    def _drop(self, reader: asyncpg.Connection) -> None:
        reader.terminate()
        if self._reader is reader:
            self._reader = None
            self._lost.set()

    # -- beside the requests --

    def keep(self, question: Question, scope: Scope, entry: Entry) -> None:
        """Stores an answer later. One whose question got no vector is not: the embedder would be asked again for it."""
        if question.refused and question.embedding is None:
            self._metrics.semantic["not_stored"].inc()
            return
        try:
            self._waiting.put_nowait((question, scope, entry))
        except asyncio.QueueFull:
            self._metrics.semantic["not_stored"].inc()

    async def read(self) -> None:
        """Keeps the connection for look-ups, for ever."""
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                self._lost.clear()
                try:
                    self._reader = await self._open()
                except PROBLEMS as error:
                    self._tell("semantic_cache", connected=False, reason=f"{type(error).__name__}: {error}"[:500])
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                    continue
                self._tell("semantic_cache", connected=True)
                pause = FIRST_PAUSE_SECONDS
                await self._lost.wait()
                await asyncio.sleep(pause)
        finally:
            for task in list(self._lookups):
                task.cancel()
            if self._reader is not None:
                self._reader.terminate()

    async def _open(self) -> asyncpg.Connection:
        connection = await connect(self._database, "penstock-cache", max(1.0, self.settings.lookup_seconds))
        try:
            await migrate_as_user(connection, CACHE)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._drop)
        return connection

    async def write(self) -> None:
        """Stores what waits, for ever; what fails is not tried again."""
        connection: asyncpg.Connection | None = None
        cleaned = 0.0
        try:
            while True:
                question, scope, entry = await self._waiting.get()
                try:
                    async with asyncio.timeout(STORE_SECONDS):
                        if connection is None or connection.is_closed():
                            connection = await self._open_writer()
                        await self._store(connection, question, scope, entry)
                        if time.monotonic() - cleaned > CLEAN_SECONDS:
                            cleaned = time.monotonic()
                            await connection.execute(EXPIRE)
                            await connection.execute(FORGET_PURGES)
                except PROBLEMS as error:
                    self._metrics.semantic["not_stored"].inc()
                    self._tell("semantic_cache", failure=f"{type(error).__name__}: {error}"[:300])
                    if connection is not None:
                        connection.terminate()
                        connection = None
                else:
                    self._metrics.semantic["stored"].inc()
        finally:
            if connection is not None:
                connection.terminate()

    async def _open_writer(self) -> asyncpg.Connection:
        return await connect(self._database, "penstock-cache")

    async def _store(self, connection: asyncpg.Connection, question: Question, scope: Scope, entry: Entry) -> None:
        if question.embedding is None:
            question.embedding = await self._embedder.embed(question.text)
        await connection.execute(
            KEEP,
            scope.tenant,
            scope.model,
            question.context,
            question.facts.fixed,
            list(question.facts.words),
            text_form(question.embedding),
            pack(question.context, entry),
            entry.begun,
            float(self.settings.ttl_seconds),
        )
        await connection.execute(TRIM, scope.tenant, scope.model, question.context, self.settings.max_answers)

    async def purge(self, tenant: str | None = None, model: str | None = None) -> int:
        """Forgets answers, those under way too; returns how many were removed. Raises SemanticError."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                connection = await self._open_writer()
                try:
                    await connection.execute(MARK_PURGE, tenant or "", model or "", time.time() + CLOCKS_SECONDS)
                    said = await connection.execute(PURGE, tenant or "", model or "")
                finally:
                    connection.terminate()
        except PROBLEMS as error:
            raise SemanticError(f"{type(error).__name__}: {error}") from error
        return int(said.rpartition(" ")[2])
