"""One inference request on the client's side: read, authenticate, validate, try engines, write the reply, account."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.gateway import retry
from app.gateway.account import Usage, settle
from app.gateway.admit import Admitted, Refused, Route, admit, request_id
from app.gateway.attempt import Attempt
from app.gateway.choose import Engine
from app.gateway.config import ApiKey
from app.gateway.continuation import DONE
from app.gateway.errors import Problem, interruption_event, no_engine, too_large, too_many
from app.gateway.progress import Kept
from app.gateway.resume import Resumption
from app.gateway.rewrite import include_usage

if TYPE_CHECKING:
    from app.gateway.protocol import Connection
    from app.gateway.service import Service, Target

CLIENT_GONE = 499
"""nginx's status for a client that closed first; it is in metrics and logs, nobody receives it."""
SMALL_BODY_BYTES = 64 * 1024
"""A refused body up to this size is read to its end, so that the connection can be kept."""
FOREVER = float("inf")


class _NoEvent:
    """Stands where uvicorn's protocol sets an event of its ASGI cycles."""

    def set(self) -> None: ...


def reply_head(
    service: Service,
    status: int,
    content_type: bytes,
    length: int | None,
    *,
    keep_alive: bool,
    request: bytes = b"",
    extra: bytes = b"",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """Status line and headers of a reply. `length` None: chunked, or to the end of the connection for HTTP/1.0."""
    parts = [STATUS_LINE[status], service.date_header, b"content-type: ", content_type, b"\r\n", extra]
    if request:
        parts += (b"x-request-id: ", request, b"\r\n")
    parts += [b"%b: %b\r\n" % header for header in headers]
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


class Exchange:
    """Takes the place of uvicorn's request-response cycle; uvicorn looks at the first block of attributes."""

    message_event = _NoEvent()

    def __init__(
        self,
        protocol: Connection,
        route: Route,
        headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        chunked: bool,
        problem: Problem | None = None,
    ) -> None:
        self.keep_alive = keep_alive
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.disconnected = False

        self.protocol = protocol
        self.service: Service = protocol.service
        self.route: Route = route
        self.chunked = chunked
        self.key: ApiKey | None = None
        self.target: Target | None = None
        self.admitted: Admitted | None = None
        self.deadline = FOREVER
        self.total_deadline = FOREVER
        self.started_at = monotonic()
        self.first_event_at = 0.0
        self.trace = b""
        self.body = b""
        self.attempt: Attempt | None = None
        self.kept: Kept | None = None
        """What was relayed of a stream, while it could be continued at another engine."""
        self.resumption: Resumption | None = None
        self.tries = 0
        self._tried: list[Engine] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._my_turn = False
        self._problem = problem
        self._read_head(headers)

    # -- the request arrives --

    def _read_head(self, headers: list[tuple[bytes, bytes]]) -> None:
        authorization = given_id = None
        unreadable = self._problem is not None
        length: int | None = None
        encoding = b"identity"
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name == b"x-request-id":
                given_id = value
            elif name == b"content-length":
                length = int(value)  # the parser let only digits through
            elif name == b"content-encoding":
                encoding = value.strip().lower()
            elif name == b"traceparent" or name == b"tracestate":
                self.trace += b"%b: %b\r\n" % (name, value)
        self.request_id = request_id(given_id, b"") or b"req-" + os.urandom(12).hex().encode()
        try:
            self.key = self.service.keys.authenticate(authorization)
        except Refused as refused:
            self._problem = self._problem or refused.problem
        limit = self.service.config.max_body_bytes
        if length is not None and length > limit and self._problem is None:
            self._problem = too_large(limit)
        if encoding != b"identity" and self._problem is None:
            message = (
                f"`Content-Encoding: {encoding.decode('latin-1')[:50]}` is not supported; send the body as plain JSON."
            )
            self._problem = Problem(415, message, "unsupported_encoding")
        self._expects_continue = self.protocol.expect_100_continue
        self._refuse_early = unreadable or length is None or length > SMALL_BODY_BYTES or self._expects_continue

    def turn(self) -> None:
        """The replies of earlier pipelined requests are out: this one's may begin."""
        self._my_turn = True
        service = self.service
        if len(service.exchanges) >= service.config.max_concurrent_requests and self._problem is None:
            service.metrics.refused.labels("concurrency").inc()
            self._problem = too_many(service.config.max_concurrent_requests)
        service.exchanges.add(self)
        if self._problem is not None:
            if self._refuse_early or not self.more_body:
                self.answer(self._problem)
        elif not self.more_body:
            self._admit()
        elif self._expects_continue:
            self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def body_part(self, part: bytes) -> None:
        if self.response_complete or self._problem is not None:
            return
        self._size += len(part)
        if self._size > self.service.config.max_body_bytes:
            self._parts.clear()
            self._refuse_early = True
            self.refuse(too_large(self.service.config.max_body_bytes))
            return
        self._parts.append(part)

    def body_complete(self) -> None:
        self.more_body = False
        if self._my_turn and not self.response_complete:
            if self._problem is not None:
                self.answer(self._problem)
            else:
                self._admit()

    def refuse(self, problem: Problem) -> None:
        """Ends a request that cannot be read on."""
        self._problem = problem
        if self._my_turn and not self.response_complete:
            self.answer(problem)

    def _admit(self) -> None:
        service = self.service
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        try:
            admitted = admit(self.route, body, service.routes)
        except Refused as refused:
            self.answer(refused.problem)
            return
        self.admitted = admitted
        self.body = include_usage(body, admitted.stream_options) if admitted.add_usage else body
        if admitted.stream and service.config.resume.enabled:
            self.kept = Kept(service.config.resume.max_kept_bytes)
        self.target = target = service.by_name[admitted.model]
        target.in_flight += 1
        now = self.started_at = monotonic()
        self.total_deadline = now + service.config.timeouts.total_seconds
        service.budget.request(now)
        engine = target.pool.choose(now)
        if engine is None:
            self.answer(no_engine(target.route.name))
        else:
            self._try(engine)

    # -- engines --

    def _try(self, engine: Engine, *, fresh: bool = False) -> None:
        self.tries += not fresh
        self._tried.append(engine)
        self.attempt = Attempt(self, engine)
        self.attempt.start(fresh=fresh)

    def attempt_failed(self, attempt: Attempt, failure: retry.Failure) -> None:
        """Nothing of this attempt was relayed: another engine may try, else the client gets the reason."""
        target, service = self.target, self.service
        assert target is not None  # noqa: S101 - an attempt follows admission
        now, engine = monotonic(), attempt.engine
        if failure.rest == "drain":
            target.pool.drains(engine, now)
        elif failure.rest != "no":
            target.pool.failed(engine, now, grow=failure.rest == "growing")
        if self.resumption is not None:
            if not self.resumption.failed(engine, failure):
                self._end_broken(*_told(failure))
            return
        if failure.retry and now < self.total_deadline:
            if failure.reason == "stale_connection":
                service.metrics.retries.labels(failure.reason).inc()
                self._try(engine, fresh=True)
                return
            other = target.pool.choose(now, self._tried) if self.tries < service.config.retries.attempts else None
            if other is not None and (not failure.budgeted or service.budget.take(now)):
                service.metrics.retries.labels(failure.reason).inc()
                self._try(other)
                return
        self.answer(failure.problem)

    def stream_broke(self, engine: Engine, last_at: float, usage: Usage | None) -> bool:
        """A stream lost its engine after `last_at`. True when it goes on elsewhere, or is whole and ended."""
        if self.resumption is None:
            self.resumption = Resumption(self)
        if self.resumption.broke(engine, last_at, usage):
            return True
        if self.resumption.whole:
            self._end_broken("", "")
            return True
        return False

    def go_on(self, engine: Engine, *, fresh: bool = False) -> None:
        """Asks an engine to continue the stream."""
        self._try(engine, fresh=fresh)

    def _end_broken(self, message: str, code: str) -> None:
        """No engine goes on with this stream. Where only its end is missing the client gets that."""
        resumption = self.resumption
        assert resumption is not None  # noqa: S101 - the stream broke
        if resumption.whole:
            self.relay(DONE)
            self.end("ok", resumption.usage, resumption.plan.seen)
        else:
            self.cut_stream(message, code, None, resumption.plan.seen)

    # -- the reply --

    def _head(
        self, status: int, content_type: bytes, length: int | None, extra: bytes = b"", problem: Problem | None = None
    ) -> bytes:
        if self.service.draining or (length is None and not self.chunked):
            self.keep_alive = False
        self.response_started = True
        self.status = status
        own = self.target.reply_headers if self.target is not None else self.service.plain_headers
        return reply_head(
            self.service,
            status,
            content_type,
            length,
            keep_alive=self.keep_alive,
            request=self.request_id,
            extra=own + extra if extra else own,
            headers=problem.headers if problem is not None else (),
        )

    def answer(self, problem: Problem) -> None:
        """The whole reply is an error."""
        if self.disconnected or self.response_complete:
            return
        if self.more_body:
            self.keep_alive = False
        body = problem.body()
        self.protocol.transport.write(
            self._head(problem.status, b"application/json", len(body), problem=problem) + body
        )
        self._finish(problem.status, problem.code or "error", None, 0)

    def reply(self, content_type: bytes, body: bytes, usage: Usage | None, status: int) -> None:
        """The whole reply at once."""
        self.protocol.transport.write(self._head(status, content_type, len(body)) + body)
        self._finish(status, "ok", usage, 0)

    def begin(self, content_type: bytes, status: int) -> bytes:
        """The head of a reply whose length is not known; to be written with the first part."""
        extra = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
        if self.chunked:
            extra += b"transfer-encoding: chunked\r\n"
        return self._head(status, content_type, None, extra)

    def relay(self, events: bytes, head: bytes = b"") -> None:
        """Writes whole events of a stream."""
        if self.kept is not None:
            self.kept.add(events)
        if self.chunked:
            self.protocol.transport.write(b"%b%x\r\n%b\r\n" % (head, len(events), events))
        else:
            self.protocol.transport.write(head + events)

    def write(self, data: bytes, head: bytes = b"") -> None:
        if self.chunked:
            self.protocol.transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        else:
            self.protocol.transport.write(head + data)

    def end(self, outcome: str, usage: Usage | None, events: int) -> None:
        if self.chunked:
            self.protocol.transport.write(b"0\r\n\r\n")
        self._finish(self.status, outcome, usage, events)

    def cut_stream(self, message: str, code: str, usage: Usage | None, events: int, *, retryable: bool = True) -> None:
        """A stream cannot go on. The client is told by an event, and the connection ends after it."""
        self.keep_alive = False
        progress = None if self.kept is None else self.kept.progress()
        if progress is not None and not progress.obstacle:
            usage, events = usage or progress.usage, progress.tokens
        if self.resumption is not None and self.resumption.reason:
            message = f"{message} (It could not go on at another engine: {self.resumption.reason}.)"
        prompt = None if usage is None else usage.prompt_tokens
        told = interruption_event(message, code, retryable=retryable, prompt_tokens=prompt, completion_tokens=events)
        self.write(told)
        if self.target is not None:
            self.service.metrics.interrupted.labels(self.target.route.name).inc()
        self.end(code, usage, events)

    def cut(self, code: str) -> None:
        """A long JSON reply cannot go on: without its last chunk the client sees that it is not whole."""
        self.keep_alive = False
        self._finish(self.status, code, None, 0)

    # -- from outside --

    def expired(self, now: float) -> None:
        if self.attempt is not None:
            self.attempt.expired(now)

    def pause(self) -> None:
        if self.attempt is not None:
            self.attempt.pause()

    def resume(self) -> None:
        if self.attempt is not None:
            self.attempt.resume()

    def client_gone(self) -> None:
        """The client left: the engine must stop, and what it did is accounted."""
        self.disconnected = True
        usage, events = self.attempt.used() if self.attempt is not None else (None, 0)
        if self.attempt is not None:
            self.attempt.abort()
        self._finish(CLIENT_GONE, "client_gone", usage, events)

    def stop(self) -> None:
        """The drain's time is over."""
        if self.attempt is not None:
            self.attempt.stop()
        elif not self.response_complete:
            self.protocol.transport.abort()

    # -- the end --

    def _finish(self, status: int, outcome: str, usage: Usage | None, events: int) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        self.deadline = FOREVER
        service, target, attempt = self.service, self.target, self.attempt
        service.exchanges.discard(self)
        seconds = monotonic() - self.started_at
        metrics = service.other if target is None else target.metrics
        stream = self.admitted is not None and self.admitted.stream
        metrics.count(status, stream=stream)
        metrics.duration.observe(seconds)
        fields = {}
        if target is not None:
            target.in_flight -= 1
            account = settle(usage, events, target.route)
            metrics.input_tokens.inc(account.input_tokens)
            metrics.output_tokens.inc(account.output_tokens)
            if account.cached_tokens:
                metrics.cached_tokens.inc(account.cached_tokens)
            metrics.cost.inc(account.cost_usd)
            fields = {
                "input_tokens": account.input_tokens,
                "output_tokens": account.output_tokens,
                "cached_tokens": account.cached_tokens,
                "cost_usd": round(account.cost_usd, 9),
                "estimated": account.estimated,
            }
        service.log.event(
            "request",
            request_id=self.request_id.decode("ascii"),
            route=self.route,
            model=None if target is None else target.route.name,
            status=status,
            outcome=outcome,
            stream=stream,
            key=None if self.key is None else self.key.id,
            tenant=None if self.key is None else self.key.tenant,
            engine=None if attempt is None else attempt.engine.name,
            zone=None if attempt is None else attempt.engine.zone,
            tries=self.tries,
            ttft_ms=round((self.first_event_at - self.started_at) * 1e3, 2) if self.first_event_at else None,
            duration_ms=round(seconds * 1e3, 2),
            **fields,
            **({} if self.resumption is None else self.resumption.log_fields()),
        )
        self.body = b""
        self.attempt = self.kept = self.resumption = None
        if not self.disconnected:
            self.protocol.exchange_done(self)


def _told(failure: retry.Failure) -> tuple[str, str]:
    """Message and code of the event that ends a stream when the last engine asked to continue it failed so."""
    if failure.reason in ("shutting_down", "total_timeout"):
        return failure.problem.message, failure.problem.code or "upstream_interrupted"
    return "The engine was lost in the middle of the answer, and no other one could go on.", "upstream_interrupted"
