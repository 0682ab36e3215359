"""The server side of a connection: uvicorn's HTTP protocol, with the inference routes taken off the ASGI path.

Tested against the uvicorn release in the lock file: it overrides methods that uvicorn does not promise to keep.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.gateway.admit import ROUTES
from app.gateway.errors import Problem
from app.gateway.exchange import Exchange
from app.gateway.reply import reply_head
from app.gateway.service import Service

MOST_HEAD_BYTES = 64 * 1024
HEAD_PIECE_BYTES = 16 * 1024
"""What is parsed of a head between two looks at its size, and so how much too large one may be."""
HEAD_SECONDS = 15.0
"""From a connection's or request's first byte to the end of its headers."""
BODY_SILENCE_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 75.0
"""Above the idle time-out of an Application Load Balancer (60 s): the balancer must be the one that closes."""
LINGER_SECONDS = 2.0
"""After an early error the rest of the body is read and dropped for this long: a reset could overtake the reply."""
UNREAD_SECONDS = 60.0
"""A connection that is to be closed waits so long for its client to read the rest; else a client could keep it."""

BAD_REQUEST = Problem(400, "This is not a valid HTTP/1.1 request.", "bad_request")
HEAD_TOO_LARGE = Problem(431, f"The request headers are larger than {MOST_HEAD_BYTES} bytes.", "headers_too_large")
UPGRADE = Problem(400, "`Upgrade` is not supported with a request body: send plain HTTP/1.1.", "upgrade_not_supported")
"""The parser stops at the headers of such a request, as what follows may be another protocol."""
TOO_SLOW = Problem(408, "The request did not arrive in time.", "request_timeout")


class Connection(HttpToolsProtocol):
    """One client connection."""

    def __init__(self, service: Service, config: Config) -> None:
        super().__init__(config, service.state, app_state={}, _loop=service.loop)
        self.service = service
        self.answering: Exchange | None = None
        """The exchange whose turn it is; later pipelined ones wait."""
        self._head_bytes = 0
        self._in_head = True
        self._receiving_since = 0.0
        self._lingers_until = 0.0
        self._idle_since = 0.0
        """Since when nothing came after a whole reply; 0: something did."""
        self._closing_since = 0.0

    # -- asyncio --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._receiving_since = monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self.answering = self.answering, None
        self.pipeline.clear()
        super().connection_lost(exc)
        if exchange is not None:
            exchange.client_gone()
        # It holds this connection, which holds it: what a thousand clients leave behind would wait for the collector of
        # cycles, which comes rarely where most objects are freed at once.
        self.cycle = cast("Any", None)

    def data_received(self, data: bytes) -> None:
        while self._in_head and len(data) > HEAD_PIECE_BYTES:  # else a head that comes in one read has no limit
            self.data_received(data[:HEAD_PIECE_BYTES])
            data = data[HEAD_PIECE_BYTES:]
        if self._lingers_until or self.transport.is_closing():
            return
        self._idle_since = 0.0
        super().data_received(data)
        if self._in_head and not self._lingers_until and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.answering is not None:
            self.answering.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.answering is not None:
            self.answering.resume()

    # -- httptools --

    def on_message_begin(self) -> None:
        # The ASGI scope is made only once the path has shown that it is needed.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = True
        self._head_bytes = 0
        self._receiving_since = monotonic()

    def on_headers_complete(self) -> None:
        if self._lingers_until:  # more of the bytes in which the last request of this connection came
            return
        parser: Any = self.parser
        self._in_head = False
        self._receiving_since = monotonic()
        route, post = ROUTES.get(self.url), parser.get_method() == b"POST"
        if route is None and post:  # a query, or the absolute form that proxies use
            route = ROUTES.get(httptools.parse_url(self.url).path)
        if route is None or not post:
            self._to_asgi()
            return
        version = parser.get_http_version()
        upgrade = parser.should_upgrade()
        keep_alive = version != "1.0" and parser.should_keep_alive() and not upgrade
        exchange = Exchange(
            self,
            route,
            self.headers,
            keep_alive=keep_alive,
            chunked=version != "1.0",
            problem=UPGRADE if upgrade else None,
        )
        previous, self.cycle = self.cycle, cast("Any", exchange)
        if previous is None or previous.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, cast("Any", self.app)))

    def _to_asgi(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._receiving_since = monotonic()
        cycle: Any = self.cycle
        if isinstance(cycle, Exchange):
            cycle.body_part(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._receiving_since = 0.0
        cycle: Any = self.cycle
        if isinstance(cycle, Exchange):
            cycle.body_complete()
        else:
            super().on_message_complete()

    # -- uvicorn's inner calls --

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, Exchange):
            self.answering = cycle
            cycle.turn()
            return
        if self.service.draining:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """An `Upgrade` header (curl --http2 sends one) is answered in HTTP/1.1, as the standard allows."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        self._refuse(BAD_REQUEST)

    def on_response_complete(self) -> None:
        if self.pipeline:  # a deep pipeline must not become deep recursion
            self.loop.call_soon(self._next_in_pipeline)
            return
        # As uvicorn's, with the second's sweep (`check`) in place of a timer for each request.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._idle_since = monotonic()

    def _next_in_pipeline(self) -> None:
        if not self.transport.is_closing() and self.pipeline:
            super().on_response_complete()

    # -- the end --

    def exchange_done(self, exchange: Exchange) -> None:
        self.answering = None
        if exchange.more_body and not self.transport.is_closing():
            self._linger()
        elif not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _linger(self) -> None:
        self.pipeline.clear()
        self._lingers_until = monotonic() + LINGER_SECONDS
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _refuse(self, problem: Problem) -> None:
        """Answers what could not be read as a request; an earlier answer under way is the last one instead."""
        if self._lingers_until:
            return
        cycle: Any = self.cycle
        busy = cycle is not None and not cycle.response_complete
        if busy and (not cycle.more_body or self.pipeline or cycle.response_started):
            for waiting, _ in self.pipeline:
                waiting.disconnected = True
            self.pipeline.clear()
            if self.answering is not None:
                self.answering.keep_alive = False
            else:
                cycle.keep_alive = False
            self._lingers_until = float("inf")  # nothing more is read from this client
            return
        if busy and isinstance(cycle, Exchange):
            cycle.refuse(problem)
            return
        body = problem.body()
        own = self.service.fresh_request_id()
        head = reply_head(self.service, problem.status, b"application/json", len(body), keep_alive=False, request=own)
        self.transport.write(head + body)
        self._linger()

    def check(self, now: float) -> None:
        """Called every second: bounds the time that a client may take to send its request, and to read what is left."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > UNREAD_SECONDS:
                self.transport.abort()
        elif self._lingers_until:
            if now > self._lingers_until:
                self.transport.close()
        elif self._receiving_since:
            limit = HEAD_SECONDS if self._in_head else BODY_SILENCE_SECONDS
            if now - self._receiving_since > limit:
                if self._head_bytes or not self._in_head:
                    self._refuse(TOO_SLOW)
                else:
                    self.transport.close()
        elif self._idle_since and now - self._idle_since > KEEP_ALIVE_SECONDS:
            self.transport.close()

    def close_if_idle(self) -> None:
        """During a drain: ends a kept-alive connection on which nothing is under way."""
        if (self.cycle is None or self.cycle.response_complete) and not self._head_bytes:
            self.transport.close()

    def shutdown(self) -> None:
        """During a drain: the answer under way, or the next one, is the last of this connection."""
        if self.cycle is not None:
            self.cycle.keep_alive = False


def make_config(app: Any) -> Config:
    """uvicorn's settings: they only matter to the protocol, the server around it is ours."""
    config = Config(
        app,
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        interface="asgi3",
    )
    config.load()
    return config
