"""How a reply is written to the client: its head, whole answers, parts of a stream, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.gateway.account import Account, Usage, settle
from app.gateway.errors import Problem, interruption_event

if TYPE_CHECKING:
    from app.gateway.attempt import Attempt
    from app.gateway.cache.flight import Follower, Lead
    from app.gateway.cache.metrics import Outcome
    from app.gateway.guards.screen import Screen
    from app.gateway.keys.grant import Grant
    from app.gateway.progress import Kept
    from app.gateway.protocol import Connection
    from app.gateway.resume import Resumption
    from app.gateway.service import Service, Target
    from app.gateway.trace.span import Span
    from app.pipelines.authority import Step
    from app.pipelines.run import Run

NO_STREAM = Problem(502, "The engine answered a request for a stream without one.", "engine_failed")
"""For a stream that was told its place in the queue: its status and type are out."""


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


class Reply:
    """The writing half of an exchange. What it writes about is set by the reading half, the class on top of it."""

    service: Service
    protocol: Connection
    key: Grant | None = None
    target: Target | None = None
    attempt: Attempt | None = None
    account: Account | None = None
    counted: bool = False
    """Engines are asked for their usage in each event, which the client does not get."""
    kept: Kept | None = None
    """What was relayed of a stream, while it could be continued at another engine."""
    resumption: Resumption | None = None
    request_id: bytes = b""
    body: bytes
    replied: bytes
    chunked: bool
    keep_alive: bool
    more_body: bool
    response_started: bool
    response_complete: bool
    disconnected: bool
    status: int
    origin_lines: bytes = b""
    """Header lines for a page of another origin that may read the reply."""

    limit_lines: bytes = b""
    """Header lines about limits, empty where there are none."""
    cache_part: Lead | Follower | None = None
    """What this request is to the cache while it goes on."""
    cache_outcome: Outcome | None = None
    cache_lines: bytes = b""
    """Header lines about the cache."""
    saved: bool = False
    """True while another request's answer serves this one: what it cost is that one's."""
    balance_lines: bytes = b""
    """Header lines about the choice of an engine: the session's cookie, and how long the request waited."""
    span: Span | None = None
    """None where traces are off."""
    guard_lines: bytes = b""
    """A header line about what the guards found."""
    guarded: str = ""
    """The same for log and trace."""
    screen: Screen | None = None
    """Where the answer is searched: what searches its stream."""

    intent: str | None = None
    """What the request is after, as the classifier of traffic says."""
    run: Run | None = None
    """The steps of a pipeline, while they go on."""
    step: Step | None = None
    """What this request is a step of."""

    route_lines: bytes = b""
    """Header lines about the choice of a model."""

    def _finish(self, status: int, outcome: str, usage: Usage | None, events: int) -> None:
        raise NotImplementedError

    def _account(self, status: int, outcome: str, usage: Usage | None, events: int) -> Account | None:
        """Settles what the request used, once, and gives it to the ledger. None for one that was not admitted.

        To be called before the client gets the last byte: whatever happens to the gateway then, the row is kept.
        """
        if self.account is None and self.target is not None:
            self.account = Account() if self.saved else settle(usage, events, self.target.route, self.body)
            if self.service.ledger is not None:
                self._record(status, outcome, self.account)
        return self.account

    def _record(self, status: int, outcome: str, account: Account) -> None:
        raise NotImplementedError

    def account_saved(self, account: Account) -> None:
        """Settles a request that a kept or shared answer serves: its tokens, at no cost. As `_account` otherwise."""
        self.account = msgspec.structs.replace(account, cost_usd=0.0, saved=True)
        if self.service.ledger is not None:
            self._record(200, "ok", self.account)

    def _head(
        self, status: int, content_type: bytes, length: int | None, extra: bytes = b"", problem: Problem | None = None
    ) -> bytes:
        if self.service.draining or (length is None and not self.chunked):
            self.keep_alive = False
        self.response_started = True
        self.status = status
        own = self.target.reply_headers if self.target is not None else self.service.plain_headers
        if self.origin_lines:
            own += self.origin_lines
        if self.limit_lines:
            own += self.limit_lines
        if self.balance_lines:
            own += self.balance_lines
        if self.route_lines:
            own += self.route_lines
        if self.guard_lines:
            own += self.guard_lines
        if self.span is not None:
            own += self.span.reply_line()
        if self.cache_lines:
            own += self.cache_lines
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
        if self.cache_part is not None:
            self.cache_part.problem = problem
        if self.response_started:  # a stream that was told its place in the queue
            self.status = problem.status
            self.write(b"data: %b\n\n" % problem.body())
            self.end(problem.code or "error", None, 0)
            return
        body = problem.body()
        self._account(problem.status, problem.code or "error", None, 0)
        self.protocol.transport.write(
            self._head(problem.status, b"application/json", len(body), problem=problem) + body
        )
        self._finish(problem.status, problem.code or "error", None, 0)

    def reply(self, content_type: bytes, body: bytes, usage: Usage | None, status: int) -> None:
        """The whole reply at once."""
        if self.screen is not None and self.service.guards is not None:
            body, problem = self.service.guards.reply(self, body)
            if problem is not None:
                self._account(problem.status, problem.code or "error", usage, 0)
                self.answer(problem)
                return
        if self.response_started:
            self.answer(NO_STREAM)
            return
        self._account(status, "ok", usage, 0)
        if self.service.shadow is not None:
            self.replied = body
        self.protocol.transport.write(self._head(status, content_type, len(body)) + body)
        if self.cache_part is not None:
            self.cache_part.add(body)
        self._finish(status, "ok", usage, 0)

    def stream_whole(self, events: bytes) -> None:
        """A whole stream at once, which is accounted already."""
        self.write(events, self.begin(b"text/event-stream; charset=utf-8", 200))
        self.end("ok", None, 0)

    def begin(self, content_type: bytes, status: int) -> bytes:
        """The head of a reply whose length is not known; to be written with the first part."""
        if self.response_started:  # a stream that was told its place in the queue
            return b""
        extra = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
        if self.chunked:
            extra += b"transfer-encoding: chunked\r\n"
        return self._head(status, content_type, None, extra)

    def relay(self, events: bytes, head: bytes = b"") -> None:
        """Writes whole events of a stream."""
        if self.kept is not None:
            self.kept.add(events)
        if self.account is None and self.attempt is not None and self.attempt.whole():
            self._account(self.status, "ok", *self.attempt.used())
        if self.screen is not None:
            events = self.screen.feed(events)
            if not events:
                if head:
                    self.protocol.transport.write(head)
                if self.screen.blocked:
                    self._block()
                return
        if self.chunked:
            self.protocol.transport.write(b"%b%x\r\n%b\r\n" % (head, len(events), events))
        else:
            self.protocol.transport.write(head + events)
        if self.cache_part is not None:
            self.cache_part.add(events)

    def _let_go(self) -> None:
        """Writes what a guard still holds, at the end of a stream."""
        rest = b"" if self.screen is None else self.screen.finish()
        if rest:
            self.write(rest)
            if self.cache_part is not None:
                self.cache_part.add(rest)

    def _block(self) -> None:
        """A guard refuses the rest of a stream."""
        usage, events = None, 0
        if self.attempt is not None:
            usage, events = self.attempt.used()
            self.attempt.abort()
        message = "The rest of the answer was refused: it holds personal data or a secret. Ask without such data."
        self.cut_stream(message, "content_blocked", usage, events, retryable=False)

    def write(self, data: bytes, head: bytes = b"") -> None:
        if self.chunked:
            self.protocol.transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        else:
            self.protocol.transport.write(head + data)

    def end(self, outcome: str, usage: Usage | None, events: int) -> None:
        if self.response_complete:  # a guard cut it
            return
        if self.screen is not None:
            self._let_go()
        self._account(self.status, outcome, usage, events)
        if self.chunked:
            self.protocol.transport.write(b"0\r\n\r\n")
        self._finish(self.status, outcome, usage, events)

    def cut_stream(self, message: str, code: str, usage: Usage | None, events: int, *, retryable: bool = True) -> None:
        """A stream cannot go on. The client is told by an event, and the connection ends after it."""
        if self.response_complete:
            return
        if self.screen is not None:
            self._let_go()
        self.keep_alive = False
        progress = None if self.kept is None else self.kept.progress()
        if progress is not None and not progress.obstacle:
            if self.counted and usage is not None:
                progress.told(usage)
            usage, events = usage or progress.usage, progress.tokens
        if self.resumption is not None and self.resumption.reason:
            message = f"{message} (It could not go on at another engine: {self.resumption.reason}.)"
        if self.cache_part is not None:
            self.cache_part.cut(message, code)
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
