"""HTTP/1.1 on one connection: httptools parses, replies are written as uvicorn writes them. No tasks, no queues.

A handler answers a request at once (`Request.send`) or opens a stream and writes events whenever tokens come. While one
request is being answered, reading is paused, so that pipelined requests wait in the socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast
from urllib.parse import unquote

import httptools

KEEP_ALIVE_SECONDS = 5.0
"""vLLM's default (VLLM_HTTP_TIMEOUT_KEEP_ALIVE)."""

MAX_BODY_BYTES = 16 << 20
MAX_HEADERS = 256
"""vLLM's default (--h11-max-header-count)."""

JSON_TYPE = b"application/json"
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Application(Protocol):
    """What a connection needs of the server."""

    connections: set[Connection]
    date: bytes
    """The `date` header's value, kept current."""

    def handle(self, request: Request) -> None: ...

    def record(self, request: Request, status: int, size: int) -> None: ...


class Request:
    """One request, and the way to answer it once. `on_disconnect` is called if the client leaves before the end."""

    __slots__ = (
        "_connection", "_keep_alive", "_started", "body", "done", "headers", "method", "on_disconnect",
        "path", "received", "route", "version",
    )  # fmt: skip

    def __init__(self, connection: Connection, method: str, path: str, version: str) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        self.version = version
        self.headers: dict[str, str] = {}
        self.body = b""
        self.received = connection.loop.time()
        self._keep_alive = True
        self._started = False
        self.done = False
        self.route = "none"
        """The route's template, once it is known."""
        self.on_disconnect: Callable[[], None] | None = None

    @property
    def peer(self) -> str:
        return self._connection.peer

    @property
    def streaming(self) -> bool:
        """The status is sent: what fails from now on can only be an event."""
        return self._started

    @property
    def paused(self) -> bool:
        """The client reads more slowly than the engine writes."""
        return self._connection.paused

    def keep_alive(self, wanted: bool) -> None:
        self._keep_alive = wanted

    def send(
        self, status: int, body: bytes, content_type: bytes | None = JSON_TYPE, extra: bytes = b"", *, vary: bool = True
    ) -> None:
        """The whole reply. `extra` are header lines with CRLF. vLLM's `/health` has no content type."""
        if self.done:
            return
        head = [self._status_line(status), extra, b"content-length: %d\r\n" % len(body)]
        if content_type is not None:
            head.append(b"content-type: %b\r\n" % content_type)
        if vary:
            head.append(b"vary: Origin\r\n")
        if not self._keep_alive:
            head.append(b"connection: close\r\n")
        self._connection.write(b"".join((*head, b"\r\n", b"" if self.method == "HEAD" else body)))
        self._finish(status, len(body))

    def start_stream(self, extra: bytes = b"") -> None:
        """Sends the status and headers of a stream of server-sent events."""
        self._started = True
        chunked = b"" if self.version == "1.0" else b"transfer-encoding: chunked\r\n"
        if self.version == "1.0":
            self._keep_alive = False
        close = b"" if self._keep_alive else b"connection: close\r\n"
        line = self._status_line(200)
        fixed = b"content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\n"
        self._connection.write(b"".join((line, extra, fixed, chunked, close, b"\r\n")))

    def event(self, data: bytes) -> None:
        """One chunk of a stream."""
        if not self.done:
            if self.version == "1.0":
                self._connection.write(data)
            else:
                self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        if not self.done:
            if self.version != "1.0":
                self._connection.write(b"0\r\n\r\n")
            self._finish(200, 0)

    def disconnected(self) -> None:
        if not self.done:
            self.done = True
            if self.on_disconnect is not None:
                self.on_disconnect()

    def _status_line(self, status: int) -> bytes:
        return b"%bdate: %b\r\nserver: uvicorn\r\n" % (STATUS_LINES[status], self._connection.application.date)

    def _finish(self, status: int, size: int) -> None:
        self.done = True
        self._connection.application.record(self, status, size)
        self._connection.finished(self._keep_alive)


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.application = application
        self.loop = loop
        self.peer = "-"
        self.paused = False
        self.closing = False
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._incoming: Request | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._current: Request | None = None
        self._pipelined: deque[Request] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio.Transport, so isinstance would not do.
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        if address:
            self.peer = f"{address[0]}:{address[1]}"
        self.application.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.application.connections.discard(self)
        self._cancel_timer()
        self.closing = True
        for request in filter(None, (self._current, *self._pipelined)):
            request.disconnected()
        self._pipelined.clear()

    def data_received(self, data: bytes) -> None:
        self._cancel_timer()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # nothing here upgrades; the request itself is answered
        except httptools.HttpParserError:
            self._refuse(400, b"Invalid HTTP request received.")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._body = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        if len(self._headers) > MAX_HEADERS:
            self._refuse(400, b"Too many headers.")

    def on_headers_complete(self) -> None:
        path = httptools.parse_url(self._url).path or b"/"
        version = self._parser.get_http_version()
        request = Request(self, self._parser.get_method().decode(), unquote(path.decode("latin-1")), version)
        for name, value in self._headers:
            request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        request.keep_alive(version != "1.0" and self._parser.should_keep_alive())
        self._incoming = request
        if request.headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._refuse(413, b"The request body is too large.")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, None
        if request is None or self.closing:
            return
        request.body = b"".join(self._body)
        self._body = []
        if self._current is not None:
            self._pipelined.append(request)
            if self._transport is not None:
                self._transport.pause_reading()
            return
        self._begin(request)

    # What requests call.

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self.closing:
            self._transport.write(data)

    def finished(self, keep_alive: bool) -> None:
        """The current request is answered; the next one may be."""
        self._current = None
        if not keep_alive:
            self.close()
        elif self._pipelined and not self.closing:
            # Not at once: a hundred pipelined requests would nest a hundred calls.
            self.loop.call_soon(self._next)
        else:
            self._timer = self.loop.call_later(KEEP_ALIVE_SECONDS, self.close)

    def close(self) -> None:
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self.closing = True
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        if self._current is None and self._pipelined and not self.closing:
            request = self._pipelined.popleft()
            if not self._pipelined and self._transport is not None:
                self._transport.resume_reading()
            self._begin(request)

    def _begin(self, request: Request) -> None:
        self._current = request
        self.application.handle(request)

    def _refuse(self, status: int, message: bytes) -> None:
        if not self.closing:
            head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            line = b"%bdate: %b\r\nserver: uvicorn\r\n" % (STATUS_LINES[status], self.application.date)
            self.write(line + head % len(message) + message)
            self.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
