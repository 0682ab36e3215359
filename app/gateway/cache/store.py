"""The exact cache in Redis. What is not answered in time, or not as it was put there, is a miss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hiredis

from app.gateway.cache.entry import CorruptError, Entry, pack, unpack
from app.gateway.cache.normal import tag
from app.gateway.limits.link import Link, command

if TYPE_CHECKING:
    from app.gateway.cache.metrics import CacheMetrics
    from app.gateway.cache.normal import Scope

PREFIX = b"penstock:cache:1:"
MARKS = b"penstock:cache:purged:"
MOST_CORRUPT = 5
"""So many corrupt values without a sound one between them rest the cache: Redis, or what is before it, lies."""
REST_SECONDS = 30.0
CLOCKS_SECONDS = 1.0
"""By how much the clocks of two gateways may differ: a purge takes answers of so much later too."""
MARK_SECONDS = 31 * 86400
"""A purge is remembered longer than any answer lives."""
LOOK_SECONDS = 5.0
SCAN_KEYS = b"500"
PURGE_SECONDS = 60.0


class PurgeError(Exception):
    """Redis did not take the purge: answers may still be served from there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one answer lies."""

    digest: bytes
    name: bytes
    ask: bytes
    """The command that reads it, with the marks of purges that concern it."""


def place(scope: Scope, digest: bytes) -> Place:
    name = b"%b%b:%b" % (PREFIX, scope.tag(), digest.hex().encode())
    return Place(digest, name, command(b"MGET", name, *_marks(tag(scope.tenant), tag(scope.model))))


def _marks(tenant: bytes, model: bytes) -> tuple[bytes, ...]:
    return (MARKS + b"*:*", MARKS + tenant + b":*", MARKS + b"*:" + model, MARKS + tenant + b":" + model)


class Store:
    def __init__(
        self,
        link: Link,
        metrics: CacheMetrics,
        most_memory_share: float,
        tell: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.link = link
        self._metrics = metrics
        self._most_share = most_memory_share
        self._tell = tell
        self._clock = clock
        self._corrupt = 0
        self._rest_until = 0.0
        self.room = False
        """False while Redis is so full that answers would crowd out what else is there."""

    def get(self, place: Place, done: Callable[[Entry | None], None]) -> bool:
        """Calls `done` within the link's time. False, and no call, where Redis is away or rests."""
        if self._rest_until and not self._rested():
            return False
        return self.link.call(place.ask, lambda reply: done(self._read(place, reply)))

    def _rested(self) -> bool:
        if self._clock() < self._rest_until:
            return False
        self._rest_until, self._corrupt = 0.0, 0
        self._metrics.up.set(self.link.up)
        return True

    def _read(self, place: Place, reply: Any) -> Entry | None:
        if reply is None:  # the connection ended
            return None
        if type(reply) is not list or len(reply) != 5:
            if not isinstance(reply, hiredis.ReplyError):
                self.link.distrust("a look-up is answered with something else")
            return None
        value = reply[0]
        if value is None:
            return None
        try:
            if type(value) is not bytes:
                raise CorruptError("no bytes")
            entry = unpack(place.digest, value)
            purged = max((float(mark) for mark in reply[1:] if mark is not None), default=0.0)
        except (CorruptError, ValueError, TypeError) as error:
            self._lied(place, error)
            return None
        self._corrupt = 0
        return entry if entry.begun > purged else None

    def _lied(self, place: Place, error: Exception) -> None:
        self._metrics.corrupt.inc()
        self._corrupt += 1
        self.link.call(command(b"DEL", place.name), None)
        if self._corrupt == MOST_CORRUPT:
            self._rest_until = self._clock() + REST_SECONDS
            self._metrics.up.set(0)
            self._tell("cache", usable=False, reason=f"{MOST_CORRUPT} corrupt answers in a row: {error}")

    def put(self, place: Place, entry: Entry, ttl_seconds: int) -> None:
        """Keeps an answer. Nobody waits for it."""
        stored = self._metrics.stored
        if not self.room or self._rest_until:
            stored["memory" if self.link.up else "away"].inc()
            return
        value = pack(place.digest, entry)
        data = command(b"SET", place.name, value, b"EX", b"%d" % ttl_seconds)
        if not self.link.call(data, self._was_put):
            stored["away"].inc()

    def _was_put(self, reply: Any) -> None:
        if reply == b"OK":
            self._metrics.stored["stored"].inc()
        elif isinstance(reply, hiredis.ReplyError):
            self.room = self.room and not str(reply).startswith("OOM")
            self._metrics.stored["refused"].inc()
        else:
            self._metrics.stored["away"].inc()

    # -- beside the requests --

    def changed(self, up: bool, reason: str) -> None:
        """The connection came or went."""
        self._metrics.up.set(up and not self._rest_until)
        self._tell("cache", usable=up, **({"reason": reason} if reason else {}))
        if up:
            self.look_at_memory()

    async def keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look_at_memory()

    def look_at_memory(self) -> None:
        self.link.call(command(b"INFO", b"memory"), self._has_memory)

    def _has_memory(self, reply: Any) -> None:
        """Answers share Redis with the limits, whose writes must not fail for lack of memory."""
        fields: dict[bytes, int] = {}
        if type(reply) is bytes:
            for line in reply.splitlines():
                name, _, number = line.partition(b":")
                if number.isdigit():
                    fields[name] = int(number)
        used, most = fields.get(b"used_memory"), fields.get(b"maxmemory")
        room = used is not None and most is not None and (most == 0 or used < most * self._most_share)
        if room != self.room:
            self.room = room
            self._tell("cache_memory", room=room, used_bytes=used, most_bytes=most)

    async def purge(self, tenant: str | None = None, model: str | None = None) -> int:
        """Forgets the answers of a tenant, of a model, of both together, or all; returns how many were removed.

        From the first reply on none of them is served by any gateway, also none whose request is under way. Raises
        PurgeError where Redis does not take it.
        """
        parts = [b"*" if name is None else tag(name) for name in (tenant, model)]
        mark = command(
            b"SET",
            MARKS + b":".join(parts),
            b"%.6f" % (time.time() + CLOCKS_SECONDS),
            b"EX",
            b"%d" % MARK_SECONDS,
        )
        if await self._ask(mark) != b"OK":
            raise PurgeError("Redis did not take the mark of the purge")
        removed, cursor, until = 0, b"0", self._clock() + PURGE_SECONDS
        pattern = PREFIX + b":".join(parts) + b":*"
        while self._clock() < until:
            reply = await self._ask(command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_KEYS))
            if type(reply) is not list or len(reply) != 2:
                break
            cursor, names = reply
            if names:
                gone = await self._ask(command(b"UNLINK", *names))
                removed += gone if type(gone) is int else 0
            if cursor == b"0":
                break
        return removed

    async def _ask(self, data: bytes) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self.link.call(data, lambda reply: None if answer.done() else answer.set_result(reply)):
            raise PurgeError("Redis is away")
        return await answer
