"""A worker: takes rows, asks a gateway, keeps the answers. Many may run; each may die at any moment.

An answer counts once its part is in S3 and the row says so. While S3 or the database is away a worker keeps the answers
that it has, takes nothing new, and tries again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from app.gateway.database.connection import FAILURES
from app.gateway.log import Log
from app.jobs import webhooks
from app.jobs.batches import Batches
from app.jobs.config import JobsConfig
from app.jobs.lines import body_of
from app.jobs.objects import Objects, StorageError
from app.jobs.pool import Pool
from app.jobs.queue import Chunk, Claimed, Depth, Queue, Row
from app.jobs.sender import Answered, Gate, Later, Sender
from app.jobs.settings import Place

T = TypeVar("T")

IDLE_SECONDS = 0.25
SWEEP_SECONDS = 0.5
FLUSH_SECONDS = 1.0
"""So long an answer waits at most for others of its chunk, before they are stored together."""
RETRY_SECONDS = 1.0
LAST_FLUSH_SECONDS = 5.0
CLEAN_SECONDS = 60.0
DELIVERY_SLACK_SECONDS = 30.0


class Worker:
    def __init__(self, config: JobsConfig, place: Place, gateways: Callable[[], Sequence[str]], log: Log) -> None:
        self._config = config
        self._secret = place.secret
        self._pool = Pool(place.database, "penstock-jobs-worker", 6)
        self._objects = Objects(place.bucket)
        self._sender = Sender(gateways, place.secret, config.most_attempts, Gate(config.concurrency))
        self._batches = Batches(config, self._objects, self._ask)
        self._log = log
        self._stopping = asyncio.Event()
        self._chunks: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._tokens: set[uuid.UUID] = set()
        """Leases that are extended."""
        self._in_hand = 0
        self._loops: dict[str, asyncio.Task[None]] = {}
        self.stored_ok = True
        self.rows_done = 0
        self.rows_failed = 0
        self.rows_retried = 0
        """An engine failed them."""
        self.rows_pushed_back = 0
        """There was no room for them, or no gateway: no try of theirs."""

    @property
    def rows_ended(self) -> int:
        return self.rows_done + self.rows_failed

    @property
    def in_hand(self) -> int:
        return self._in_hand

    @property
    def ended_loops(self) -> list[str]:
        """Parts of the work that an unforeseen error has ended. Nothing but a new process brings them back."""
        return [name for name, task in self._loops.items() if task.done()]

    async def depth(self) -> Depth:
        """Raises FAILURES."""
        return await self._ask(lambda queue: queue.depth())

    async def run(self, grace_seconds: float = 20.0) -> None:
        """Until `stop`; then what is under way gets so many seconds, and the rest goes back to the queue."""
        parts: dict[str, tuple[Callable[[], Coroutine[Any, Any, bool]], float]] = {
            "beat": (self._beat, self._config.lease_seconds / 3),
            "sweep": (self._sweep, SWEEP_SECONDS),
            "batch": (self._work_on_batch, SWEEP_SECONDS),
            "webhook": (self._deliver, SWEEP_SECONDS),
            "clean": (self._clean, CLEAN_SECONDS),
        }
        self._loops = {name: asyncio.ensure_future(self._for_ever(name, *part)) for name, part in parts.items()}
        try:
            await self._take_chunks()
            self._sender.stopping = True
            await self._sender.gate.let_all_in()
            if self._chunks:
                await asyncio.wait(self._chunks.values(), timeout=grace_seconds)
            for task in list(self._chunks.values()):
                task.cancel()
            await asyncio.gather(*self._chunks.values(), return_exceptions=True)
        finally:
            loops, self._loops = list(self._loops.values()), {}
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._sender.close()
            self._pool.close()
            self._objects.close()
        self._log.event("stopped", rows_ended=self.rows_ended)

    def stop(self) -> None:
        self._stopping.set()

    async def _ask(self, work: Callable[[Queue], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            return await work(Queue(connection))

    async def _pause(self, seconds: float) -> None:
        """Ends at once when the worker stops."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _for_ever(self, doing: str, work: Callable[[], Coroutine[Any, Any, bool]], seconds: float) -> None:
        """`work` says whether there is more to do at once. What the database or S3 does to it ends nothing."""
        while True:
            more = False
            try:
                more = await work()
            except (*FAILURES, StorageError) as error:
                self._log.event("jobs_worker", doing=doing, failed=str(error)[:300])
            if not more:
                await asyncio.sleep(seconds)

    # -- rows --

    async def _take_chunks(self) -> None:
        config = self._config
        while not self._stopping.is_set():
            room = int(self._sender.gate.limit) + config.chunk_rows - self._in_hand
            chunk = None
            if room > 0 and self.stored_ok:
                try:
                    most = min(room, config.chunk_rows)
                    chunk = await self._ask(lambda queue, most=most: queue.claim(most, config.lease_seconds))
                except FAILURES as error:
                    self._log.event("jobs_worker", doing="claim", failed=str(error)[:300])
                    await self._pause(RETRY_SECONDS)
                    continue
            if chunk is None:
                await self._pause(IDLE_SECONDS if room > 0 else IDLE_SECONDS / 5)
                continue
            self._in_hand += len(chunk.rows)
            self._tokens.add(chunk.token)
            task = asyncio.ensure_future(self._do(chunk))
            self._chunks[chunk.token] = task
            task.add_done_callback(lambda task, token=chunk.token: self._forget(task, token))

    def _forget(self, task: asyncio.Task[None], token: uuid.UUID) -> None:
        self._chunks.pop(token, None)
        self._tokens.discard(token)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.event("jobs_worker", doing="chunk", failed=repr(error)[:300])

    async def _do(self, chunk: Chunk) -> None:
        left = list(chunk.rows)
        tasks: dict[asyncio.Task[Answered | Later], Row] = {}
        try:
            bodies = await self._bodies(chunk)
            tasks = {
                asyncio.ensure_future(self._sender.send(row, chunk.endpoint, bodies[row.id])): row for row in chunk.rows
            }
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, timeout=FLUSH_SECONDS)
                await self._keep(chunk, {tasks[task]: task.result() for task in done}, left)
        except StorageError as error:
            self._log.event("jobs_worker", doing="read", batch=chunk.batch, failed=str(error)[:300])
            await self._pause(RETRY_SECONDS)
            await self._insist(lambda queue: queue.put_back(chunk, left, RETRY_SECONDS, tried=False))
        except asyncio.CancelledError:
            # The grace is over. Answers that came are kept, the rest goes back.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            came = {row: task.result() for task, row in tasks.items() if row in left and _came(task)}
            try:
                async with asyncio.timeout(LAST_FLUSH_SECONDS):
                    await self._keep(chunk, came, left)
                    await self._ask(lambda queue: queue.put_back(chunk, left, 0.0, tried=False))
            except (*FAILURES, StorageError) as error:
                self._log.event("jobs_worker", doing="hand back", batch=chunk.batch, failed=str(error)[:300])
            raise
        finally:
            self._in_hand -= len(left)

    async def _bodies(self, chunk: Chunk) -> dict[str, bytes]:
        """Raises StorageError."""
        first, last = chunk.rows[0], chunk.rows[-1]
        wanted = sum(row.size for row in chunk.rows)
        span = last.start + last.size - first.start
        if span > 2 * wanted + 65_536:  # few rows far apart: those of a chunk that came back
            return {
                row.id: body_of(await self._objects.get(chunk.input_object, row.start, row.size)) for row in chunk.rows
            }
        data = await self._objects.get(chunk.input_object, first.start, span)
        return {
            row.id: body_of(data[row.start - first.start : row.start - first.start + row.size]) for row in chunk.rows
        }

    async def _keep(self, chunk: Chunk, came: dict[Row, Answered | Later], left: list[Row]) -> None:
        """Stores answers and puts rows back. Goes on until it is done."""
        for failed in (False, True):
            rows = [row for row, one in came.items() if isinstance(one, Answered) and one.failed == failed]
            if rows:
                lines = b"".join(one.line for row in rows if isinstance(one := came[row], Answered))
                await self._store(chunk, rows, lines, failed=failed)
                self._drop(rows, left)
        later: dict[tuple[float, bool], list[Row]] = {}
        for row, one in came.items():
            if isinstance(one, Later):
                later.setdefault((round(one.seconds, 1), one.tried), []).append(row)
        for (seconds, tried), rows in later.items():
            if tried:
                self.rows_retried += len(rows)
            else:
                self.rows_pushed_back += len(rows)
            await self._insist(
                lambda queue, rows=rows, seconds=seconds, tried=tried: queue.put_back(chunk, rows, seconds, tried=tried)
            )
            self._drop(rows, left)

    def _drop(self, rows: Sequence[Row], left: list[Row]) -> None:
        for row in rows:
            left.remove(row)
        self._in_hand -= len(rows)

    async def _store(self, chunk: Chunk, rows: Sequence[Row], lines: bytes, *, failed: bool) -> None:
        part = uuid.uuid4()
        key = f"parts/{chunk.batch}/{part.hex}"
        while True:
            try:
                await self._objects.put(key, lines)
            except StorageError as error:
                if self.stored_ok:
                    self._log.event("jobs_worker", doing="store", batch=chunk.batch, failed=str(error)[:300])
                self.stored_ok = False  # nothing new is taken: there is no place for its answers
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.stored_ok = True
                break
        ended = await self._insist(lambda queue: queue.ended(chunk, rows, part, key, failed=failed))
        if failed:
            self.rows_failed += ended
        else:
            self.rows_done += ended

    async def _insist(self, work: Callable[[Queue], Awaitable[T]]) -> T:
        while True:
            try:
                return await self._ask(work)
            except FAILURES as error:
                self._log.event("jobs_worker", doing="record", failed=str(error)[:300])
                await asyncio.sleep(RETRY_SECONDS)

    # -- beside the rows --

    async def _beat(self) -> bool:
        if self._tokens:
            await self._ask(lambda queue: queue.extend(list(self._tokens), self._config.lease_seconds))
        return False

    async def _sweep(self) -> bool:
        await self._ask(lambda queue: queue.sweep())
        return False

    async def _work_on_batch(self) -> bool:
        if self._stopping.is_set():
            return False
        claimed: Claimed | None = await self._ask(lambda queue: queue.claim_batch(self._config.lease_seconds))
        if claimed is None:
            return False
        self._tokens.add(claimed.token)
        try:
            await self._batches.work(claimed)
        except (*FAILURES, StorageError):
            await self._ask(lambda queue: queue.release_batch(claimed, RETRY_SECONDS))
            raise
        except asyncio.CancelledError:
            async with asyncio.timeout(LAST_FLUSH_SECONDS):
                await self._ask(lambda queue: queue.release_batch(claimed, 0.0))
            raise
        finally:
            self._tokens.discard(claimed.token)
        return True

    async def _deliver(self) -> bool:
        rules = self._config.webhooks
        found = await self._ask(lambda queue: queue.claim_delivery(rules.timeout_seconds + DELIVERY_SLACK_SECONDS))
        if found is None:
            return False
        secret = webhooks.secret_of(self._secret, found["tenant"])
        over, result = await webhooks.deliver(
            found["url"], f"msg_{found['id'].hex}", found["body"].encode(), secret, rules
        )
        tries = found["attempts"]
        wait = None if over or tries >= rules.attempts else webhooks.WAITS_SECONDS[tries - 1]
        self._log.event("webhook", batch=found["batch"], attempt=tries, result=result, done=wait is None)
        await self._ask(lambda queue: queue.delivered(found["id"], result, wait))
        return True

    async def _clean(self) -> bool:
        old = await self._ask(lambda queue: queue.old_files())
        if old:
            await self._objects.delete(*(file["object_key"] for file in old))
            await self._ask(lambda queue: queue.forget_files([file["id"] for file in old]))
        await self._ask(lambda queue: queue.forget_batches(self._config.keep_days))
        return bool(old)


def _came(task: asyncio.Task[Answered | Later]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
