"""Calls to a provider that together answer one request for embeddings.

Some are under way at once; a text that the provider throttles is asked again by itself, as long as the retry budget
allows it. The first call that fails for good ends the others, and the request with them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from app.gateway import retry
from app.gateway.errors import parse_engine_error
from app.gateway.providers import embeddings
from app.gateway.providers.keys import NoKey

if TYPE_CHECKING:
    from app.gateway.attempt import Attempt
    from app.gateway.client import Connection
    from app.gateway.providers.embeddings import Asked, Made
    from app.gateway.providers.outside import Outside

AT_ONCE = 8
"""Calls of one request: enough to hide the time of each, few beside a provider's `most_requests`."""
MOST_BYTES = 4 * 1024 * 1024
"""Of one reply: 96 vectors of 1,536 numbers are 3 MB."""
PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.5, 4.0
"""Before a text is asked again: the first pause, doubled each time. A provider that wants longer is left alone."""


class Owner(Protocol):
    """For whom the calls are made. `batch_done` or `batch_failed` comes once, and nothing after it."""

    def batch_connected(self, batch: Batch) -> None: ...

    def batch_goes_on(self, pause: float) -> None:
        """Something came, or is to be asked again in so many seconds."""

    def may_ask_again(self, failure: retry.Failure) -> bool: ...

    def batch_done(self, body: bytes) -> None: ...

    def batch_failed(self, failure: retry.Failure) -> None: ...

    def batch_fault(self, error: Exception) -> None: ...


class Part:
    """One call: a sink of the client's."""

    __slots__ = ("batch", "connection", "fresh", "headers", "kept", "number", "size", "status", "tries")

    def __init__(self, batch: Batch, number: int, tries: int) -> None:
        self.batch, self.number, self.tries = batch, number, tries
        self.connection: Connection | None = None
        self.fresh = False
        self._clear()

    def _clear(self) -> None:
        self.status, self.size = 0, 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.kept: list[bytes] = []

    def upstream_connected(self, connection: Connection) -> None:
        self.connection = connection
        self.batch.connected()

    def upstream_unreachable(self, error: OSError) -> None:
        self.batch.failed(self, retry.cannot_connect(self.batch.model))

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status, self.headers = status, headers

    def upstream_data(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= MOST_BYTES:
            self.kept.append(data)
            return
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        self.batch.failed(self, retry.too_long_to_judge(self.batch.model))

    def upstream_end(self) -> None:
        self.connection = None
        self.batch.ended(self, b"".join(self.kept))

    def upstream_lost(self, *, stale: bool) -> None:
        self.connection = None
        if stale:
            self._clear()
            self.fresh = True
            self.batch.send(self)
        else:
            self.batch.failed(self, retry.lost_before_answer(self.batch.model))

    def upstream_fault(self, error: Exception) -> None:
        self.connection = None
        self.batch.fault(error)

    def stop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        else:
            self.batch.outside.client.cancel_connect(self)


class Batch:
    """What an attempt holds in the place of a connection."""

    def __init__(self, outside: Outside, model: str, asked: Asked, owner: Owner, most_tries: int) -> None:
        self.outside, self.model = outside, model
        self._asked, self._owner, self._most_tries = asked, owner, most_tries
        self._waiting = deque((number, 0) for number in asked.parts)
        self._made: list[Made | None] = [None] * len(asked.parts)
        self._running: set[Part] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._at_once = AT_ONCE
        self._counted = 0
        self._connected = self._over = False

    def start(self) -> None:
        while self._waiting and not self._over and self._room():
            part = Part(self, *self._waiting.popleft())
            part.tries += 1
            self._running.add(part)
            self._count()
            self.send(part)

    def _room(self) -> bool:
        """One call is always allowed: it is the attempt's own place."""
        if not self._running:
            return True
        full = self.outside.engine.in_flight >= self.outside.provider.most_requests
        return len(self._running) < self._at_once and not full

    def _count(self) -> None:
        """Each call beside the first takes a place of its own at the provider."""
        beside = max(len(self._running) - 1, 0)
        self.outside.engine.in_flight += beside - self._counted
        self._counted = beside

    def send(self, part: Part) -> None:
        try:
            self.outside.invoke(part, self.model, self._asked.body(part.number), fresh=part.fresh)
        except NoKey as error:
            self.failed(part, self.outside.no_key(self.model, str(error)))

    # -- what calls tell --

    def connected(self) -> None:
        if not self._connected and not self._over:
            self._connected = True
            self._owner.batch_connected(self)

    def ended(self, part: Part, body: bytes) -> None:
        if part.status >= 300:
            error = parse_engine_error(part.status, body)
            self.failed(part, self.outside.failure(error, part.headers, self.model))
            return
        try:
            self._made[part.number] = embeddings.made(self._asked, part.number, body, part.headers)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            self.failed(part, self.outside.malformed(self.model, "embeddings", str(error)))
            return
        self._running.discard(part)
        self._count()
        found = [one for one in self._made if one is not None]
        if len(found) < len(self._made):
            self._owner.batch_goes_on(0.0)
            self.start()
            return
        self._over = True
        self._owner.batch_done(embeddings.whole(self._asked, found, self.model))

    def failed(self, part: Part, failure: retry.Failure) -> None:
        if self._over:
            return
        self._running.discard(part)
        self._count()
        throttled = failure.reason in ("rate_limited", "outside_overloaded")
        pause = max(failure.wait_seconds, PAUSE_SECONDS * 2 ** (part.tries - 1) * random.uniform(1, 1.5))  # noqa: S311
        if (
            (failure.retry or throttled)
            and part.tries < self._most_tries
            and pause <= MOST_PAUSE_SECONDS
            and self._owner.may_ask_again(failure)
        ):
            if throttled:
                self._at_once = max(1, self._at_once // 2)
            self._owner.batch_goes_on(pause)
            self._later(pause, part)
            return
        self.abort()
        self._owner.batch_failed(replace(failure, retry=False))

    def _later(self, pause: float, part: Part) -> None:
        def again() -> None:
            self._timers.discard(timer)
            self._waiting.appendleft((part.number, part.tries))
            self.start()

        timer = asyncio.get_running_loop().call_later(pause, again)
        self._timers.add(timer)

    def fault(self, error: Exception) -> None:
        self.abort()
        self._owner.batch_fault(error)

    # -- as a connection --

    def abort(self) -> None:
        """Ends all calls; the owner hears nothing more."""
        self._over = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        running, self._running = self._running, set()
        self._count()
        for part in running:
            part.stop()

    @property
    def transport(self) -> Batch:
        return self

    def pause_reading(self) -> None:
        """A client that reads slowly waits for one short reply: there is nothing to hold back."""

    def resume_reading(self) -> None:
        pass


class ForAttempt:
    """The calls of a client's request: its attempt hears of them as of one answer."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def batch_connected(self, batch: Batch) -> None:
        self._attempt.upstream_connected(batch)

    def batch_goes_on(self, pause: float) -> None:
        self._attempt.goes_on(pause)

    def may_ask_again(self, failure: retry.Failure) -> bool:
        service = self._attempt.exchange.service
        if not service.budget.take(monotonic()):
            return False
        service.metrics.retries.labels(failure.reason).inc()
        return True

    def batch_done(self, body: bytes) -> None:
        self._attempt.upstream_head(200, [(b"content-type", b"application/json")])
        self._attempt.upstream_data(body)
        self._attempt.upstream_end()

    def batch_failed(self, failure: retry.Failure) -> None:
        self._attempt.failed(failure)

    def batch_fault(self, error: Exception) -> None:
        self._attempt.upstream_fault(error)
