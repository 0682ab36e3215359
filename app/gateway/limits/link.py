"""One connection to Redis: everything of one turn of the event loop goes out in one write, replies come back in order.

A reply that is late, wrong or missing ends the connection, as what follows could not be matched any more. Then callers
get None at once, and a task connects anew, more and more slowly while that fails.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

import hiredis

ANSWER_SECONDS = 0.05
"""A reply that takes longer counts as none: a request must not wait for a slow Redis."""
GRACE_SECONDS = 0.001
"""A deadline is looked at twice, with one read of the socket between: a busy event loop is not Redis' fault."""
CONNECT_SECONDS = 2.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
STEADY_SECONDS = 10.0
"""A connection that held for so long was good: the next pause is short again."""
MOST_WAITING = 50_000

OnReply = Callable[[Any], None]


def command(*parts: bytes) -> bytes:
    """A command in Redis' protocol (RESP)."""
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


class CacheError(Exception):
    """Redis cannot be used now. The message says why, and holds no secret."""


class _Connection(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop, answer_seconds: float) -> None:
        self._loop = loop
        self._answer_seconds = answer_seconds
        self._reader = hiredis.Reader()
        self._out: list[bytes] = []
        self._sources: list[Callable[[], None]] = []
        self._flushes = False
        self._waiting: deque[tuple[float, OnReply | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[str] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def call(self, data: bytes, on_reply: OnReply | None) -> bool:
        """False where the connection cannot take it; else `on_reply` is called once, later, with None for a failure."""
        if self.lost.done() or len(self._waiting) >= MOST_WAITING:
            return False
        if not self._flushes:
            self._flushes = True
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._waiting.append((self._loop.time() + self._answer_seconds, on_reply))
        if self._timer is None:
            self._timer = self._loop.call_later(self._answer_seconds, self._check, False)
        return True

    def before_write(self, source: Callable[[], None]) -> bool:
        """Runs `source` just before the next write, which takes along what it calls; False as for `call`."""
        if self.lost.done():
            return False
        if not self._flushes:
            self._flushes = True
            self._loop.call_soon(self._flush)
        self._sources.append(source)
        return True

    def hurry(self, answer_seconds: float) -> None:
        """The greeting is over: from now on replies must come within `answer_seconds`."""
        self._answer_seconds = answer_seconds
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        sources, self._sources = self._sources, []
        for source in sources:
            source()
        self._flushes = False
        out, self._out = self._out, []
        if out and self._transport is not None and not self.lost.done():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _check(self, again: bool) -> None:
        self._timer = None
        if not self._waiting:
            return
        left = self._waiting[0][0] - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check, False)
        elif again:
            self.end("slow")
        else:
            self._timer = self._loop.call_later(GRACE_SECONDS, self._check, True)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if not self._waiting:
                    self.end("unasked_reply")
                    return
                _, on_reply = self._waiting.popleft()
                if on_reply is not None:
                    on_reply(reply)
                if self.lost.done():
                    return
        except hiredis.ProtocolError:
            self.end("protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("closed")

    def end(self, reason: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(reason)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        sources, self._sources = self._sources, []
        for source in sources:  # what they call is refused
            source()
        waiting, self._waiting = self._waiting, deque()
        for _, on_reply in waiting:
            if on_reply is not None:
                on_reply(None)


class Link:
    """Keeps one connection. `up` says whether calls can be made; `on_change` is told of each change, with why."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: str,
        *,
        token: str = "",
        tls: bool = False,
        scripts: Iterable[str] = (),
        on_change: Callable[[bool, str], None] = lambda up, reason: None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._loop = loop
        self._token = token
        self._tls = ssl.create_default_context() if tls else None
        self._scripts = tuple(scripts)
        self._on_change = on_change
        self._answer_seconds = answer_seconds
        self._connection: _Connection | None = None
        self.by_digest = True
        """False where Redis, or a proxy before it, refuses SCRIPT LOAD: then scripts go along with each call (EVAL)."""

    @property
    def up(self) -> bool:
        return self._connection is not None

    def call(self, data: bytes, on_reply: OnReply | None) -> bool:
        """Sends a command. False where there is no connection: then `on_reply` is not called."""
        return self._connection is not None and self._connection.call(data, on_reply)

    def before_write(self, source: Callable[[], None]) -> bool:
        """Runs `source` once, just before the next write. False where there is no connection: then it is not run."""
        return self._connection is not None and self._connection.before_write(source)

    def distrust(self, reason: str) -> None:
        """The caller cannot make sense of a reply: connects anew."""
        if self._connection is not None:
            self._connection.end(reason)

    async def run(self) -> None:
        """Connects for ever."""
        pause, told = FIRST_PAUSE_SECONDS, ""
        while True:
            connection = None
            try:
                connection = await self._connect()
            except (CacheError, OSError, TimeoutError, ssl.SSLError) as error:
                reason = str(error) or type(error).__name__
            else:
                begun = self._loop.time()
                self._connection, told = connection, ""
                self._on_change(True, "")
                try:
                    reason = await asyncio.shield(connection.lost)
                finally:
                    self._connection = None
                    connection.end("stopped")
                if self._loop.time() - begun > STEADY_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
            if reason != told:
                told = reason
                self._on_change(False, reason)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the gateways' attempts
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _connect(self) -> _Connection:
        """A connection that answers. Raises CacheError, OSError or TimeoutError."""
        connection = _Connection(self._loop, CONNECT_SECONDS)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.create_connection(lambda: connection, self._host, self._port, ssl=self._tls)
                await self._greet(connection)
        except BaseException:
            connection.end("stopped")
            raise
        connection.hurry(self._answer_seconds)
        return connection

    async def _greet(self, connection: _Connection) -> None:
        if self._token:
            reply = await self._ask(connection, command(b"AUTH", self._token.encode()))
            if isinstance(reply, hiredis.ReplyError):
                raise CacheError("AUTH is refused")
        reply = await self._ask(connection, command(b"PING"))
        if reply != b"PONG":
            raise CacheError(f"PING is answered with {str(reply)[:80]!r}")
        self.by_digest = True
        for script in self._scripts:
            reply = await self._ask(connection, command(b"SCRIPT", b"LOAD", script.encode()))
            if isinstance(reply, hiredis.ReplyError):
                self.by_digest = False

    async def _ask(self, connection: _Connection, data: bytes) -> Any:
        answer: asyncio.Future[Any] = self._loop.create_future()
        connection.call(data, lambda reply: None if answer.done() else answer.set_result(reply))
        reply = await answer
        if reply is None:
            raise CacheError("the connection ended")
        return reply
