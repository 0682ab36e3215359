"""The gateway's HTTP/1.1 client to engines, and by TLS to outside providers: one `asyncio.Protocol` per connection.

Sockets have TCP_NODELAY (asyncio and uvloop both set it), pooled connections are dropped before vLLM drops them, and an
aborted request closes its connection at once, so that the engine stops computing.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol, cast

import httptools

from app.gateway.choose import Engine


class Sink(Protocol):
    """Who waits for an answer. One of `upstream_end`, `upstream_lost`, `upstream_unreachable` ends a request."""

    def upstream_connected(self, connection: Connection) -> None: ...

    def upstream_unreachable(self, error: OSError) -> None: ...

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def upstream_data(self, data: bytes) -> None: ...

    def upstream_end(self) -> None: ...

    def upstream_lost(self, *, stale: bool) -> None:
        """The connection ended inside a request. `stale`: it was a pooled one and not a byte of the answer had come."""

    def upstream_fault(self, error: Exception) -> None:
        """One of the calls above raised `error`. Nothing more follows."""


class Connection(asyncio.Protocol):
    """One connection to one engine, with one request at a time."""

    def __init__(self, client: Client, engine: Engine) -> None:
        self.client = client
        self.engine = engine
        self.sink: Sink | None = None
        self.idle_since = 0.0
        self._requests = 0
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._head_read = self._ended = self._framed = self._keep_alive = False
        self._received = False

    # -- asyncio --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:  # bytes that nobody asked for: this connection cannot be trusted
            self.abort()
            return
        self._received = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()
            sink.upstream_lost(stale=False)
            return
        try:
            if self._head_read:
                self._head_read = False
                sink.upstream_head(self._status, self._headers)
            if self._parts and self.sink is sink:
                body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts = []
                sink.upstream_data(body)
            if self._ended and self.sink is sink:
                self._release()
                sink.upstream_end()
        except Exception as error:  # noqa: BLE001 - a mistake of the sink's; it ends its request itself
            if self.sink is sink:
                self.abort()
            sink.upstream_fault(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.forget(self)
        self.parser = cast("httptools.HttpResponseParser", None)  # each holds the other: garbage that waits long
        sink, self.sink = self.sink, None
        if sink is None:
            return
        try:
            if exc is None and self._status and not self._framed:  # the end of the connection is the end of the answer
                sink.upstream_end()
            else:
                sink.upstream_lost(stale=self._requests > 1 and not self._received)
        except Exception as error:  # noqa: BLE001 - as above
            sink.upstream_fault(error)

    # -- httptools --

    def on_message_begin(self) -> None:
        if self._ended:  # a second answer to one request: the next client must never get it
            raise ValueError("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length" or name == b"transfer-encoding":
            self._framed = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._status = self.parser.get_status_code()
        self._keep_alive = self.parser.should_keep_alive()
        self._head_read = self._status >= 200

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._status < 200:  # 100 Continue and the like: the answer is still to come
            self._reset()
            self._received = True
        else:
            self._ended = True

    # -- requests --

    def send(self, sink: Sink, head: bytes, body: bytes) -> None:
        if self.transport.is_closing():  # closed between its opening and now
            sink.upstream_lost(stale=False)
            return
        self._requests += 1
        self.sink = sink
        sink.upstream_connected(self)
        self.transport.write(head + body)

    def _release(self) -> None:
        self.sink = None
        reusable = self._framed and self._keep_alive and not self.transport.is_closing()
        self._reset()
        if reusable:
            self.client.give_back(self)
        else:
            self.transport.close()

    def abort(self) -> None:
        """Ends the connection at once; its sink hears nothing more."""
        self.sink = None
        self.client.forget(self)
        self.transport.abort()


class Client:
    def __init__(self, loop: asyncio.AbstractEventLoop, idle_seconds: float) -> None:
        self._loop = loop
        self._idle_seconds = idle_seconds
        self._idle: dict[Engine, list[Connection]] = {}
        self._connecting: dict[Sink, asyncio.Task[None]] = {}

    def send(self, engine: Engine, sink: Sink, head: bytes, body: bytes, *, fresh: bool = False) -> None:
        """Sends a request on a pooled or a fresh connection; `sink` hears the rest, possibly before this returns."""
        pooled = None if fresh else self._idle.get(engine)
        oldest = monotonic() - self._idle_seconds
        while pooled:
            connection = pooled.pop()
            if connection.idle_since > oldest and not connection.transport.is_closing():
                connection.send(sink, head, body)
                return
            connection.transport.close()
        self._connecting[sink] = self._loop.create_task(self._connect(engine, sink, head, body))

    async def _connect(self, engine: Engine, sink: Sink, head: bytes, body: bytes) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self, engine),
                engine.host,
                engine.port,
                ssl=engine.tls,
                server_hostname=engine.host if engine.tls is not None else None,
            )
        except OSError as error:
            self._connecting.pop(sink, None)
            sink.upstream_unreachable(error)
            return
        self._connecting.pop(sink, None)
        connection.send(sink, head, body)

    def cancel_connect(self, sink: Sink) -> None:
        """Gives up a connection attempt; the sink hears nothing more of it."""
        task = self._connecting.pop(sink, None)
        if task is not None:
            task.cancel()

    def give_back(self, connection: Connection) -> None:
        connection.idle_since = monotonic()
        # A reading pause was the last client's; the end of an idle connection must be seen.
        connection.transport.resume_reading()
        self._idle.setdefault(connection.engine, []).append(connection)

    def forget(self, connection: Connection) -> None:
        pooled = self._idle.get(connection.engine)
        if pooled and connection in pooled:
            pooled.remove(connection)

    def drop(self, engine: Engine) -> None:
        """Closes the idle connections to an engine that left. Requests under way go on."""
        for connection in self._idle.pop(engine, ()):
            connection.transport.close()

    def expire(self, now: float) -> None:
        """Closes connections that have been idle for too long; called by the sweep."""
        oldest = now - self._idle_seconds
        for engine, pooled in list(self._idle.items()):
            while pooled and pooled[0].idle_since <= oldest:  # the list is ordered: last used, last appended
                pooled.pop(0).transport.close()
            if not pooled:
                del self._idle[engine]

    @property
    def idle(self) -> int:
        return sum(map(len, self._idle.values()))

    def close(self) -> None:
        for engine in list(self._idle):
            self.drop(engine)
        for sink in list(self._connecting):
            self.cancel_connect(sink)
