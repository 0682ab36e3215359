"""One inference request on the client's side: read, authenticate, validate, try engines, write the reply, account."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from app.gateway import retry
from app.gateway.account import Account, Usage
from app.gateway.admit import RESUMABLE, Admitted, Refused, Route, admit, request_id
from app.gateway.attempt import Attempt
from app.gateway.balance import placing
from app.gateway.choose import Engine, Near
from app.gateway.continuation import DONE
from app.gateway.errors import Problem, too_large, too_many
from app.gateway.finish import finish
from app.gateway.keys.problems import UnknownSignerError
from app.gateway.keys.signer import await_signer
from app.gateway.ledger.record import record
from app.gateway.ledger.row import FEATURE_RULE, read_feature
from app.gateway.limits.charge import charge, reservation
from app.gateway.progress import Kept
from app.gateway.reply import Reply
from app.gateway.resume import Resumption
from app.gateway.rewrite import hold_output, include_usage
from app.gateway.routing.wishes import WISHES

if TYPE_CHECKING:
    from app.gateway.balance.hedge import Hedge
    from app.gateway.config import Timeouts
    from app.gateway.keys.grant import Grant
    from app.gateway.limits.limiter import Permit
    from app.gateway.protocol import Connection
    from app.gateway.queue.room import Place
    from app.gateway.routing.course import Course
    from app.gateway.service import Service, Target

CLIENT_GONE = 499
"""nginx's status for a client that closed first; it is in metrics and logs, nobody receives it."""
SMALL_BODY_BYTES = 64 * 1024
"""A refused body up to this size is read to its end, so that the connection can be kept."""
FOREVER = float("inf")


class _NoEvent:
    """Stands where uvicorn's protocol sets an event of its ASGI cycles."""

    def set(self) -> None: ...


class Exchange(Reply):
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
        self.key: Grant | None = None
        self.target: Target | None = None
        self.admitted: Admitted | None = None
        self.deadline = FOREVER
        self.total_deadline = FOREVER
        self.started_at = monotonic()
        self.first_event_at = 0.0
        self.trace = b""
        self.feature: str | None = None
        """The client's tag for reports."""
        self.account: Account | None = None
        self.body = b""
        self.attempt: Attempt | None = None
        self.kept: Kept | None = None
        """What was relayed of a stream, while it could be continued at another engine."""
        self.resumption: Resumption | None = None
        self.tries = self.tries_before = 0
        self.tried: list[Engine] = []
        self.hedge: Hedge | None = None
        self.cache_headers: list[tuple[bytes, bytes]] = []
        self.place: Place | None = None
        """Where it waits for an engine."""
        self.queued_seconds = 0.0
        self.near: Near | None = None
        """What keeps it near an engine."""
        self.sticky_headers: list[tuple[bytes, bytes]] = []
        self.wishes: dict[bytes, bytes] = {}
        """What the client says about routing, by header."""
        self.course: Course | None = None
        """Its way down a chain of models, where its name has a route."""
        self.times: Timeouts | None = None
        """Other time-outs than the platform's, of a route."""
        self._parts: list[bytes] = []
        self._size = 0
        self._my_turn = False
        self.permit: Permit | None = None
        self._unheld = b""
        """The body without the ceiling on its output that the gateway gave it."""
        self._problem = problem
        self.token: bytes | None = None
        """An `Authorization` header whose signing key the issuer is asked for."""
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
            elif name == b"origin":
                self.origin_lines = self.service.origins.reply_lines(value)
            elif name == b"content-encoding":
                encoding = value.strip().lower()
            elif name == b"traceparent" or name == b"tracestate":
                self.trace += b"%b: %b\r\n" % (name, value)
            elif name in self.service.sticky_headers:
                self.sticky_headers.append((name, value))
            elif name == b"x-penstock-cache" or name == b"cache-control":
                self.cache_headers.append((name, value))
            elif name in WISHES:
                self.wishes[name] = value
            elif name == b"x-penstock-feature":
                self.feature = read_feature(value)
                if self.feature is None and self._problem is None:
                    message = f"Invalid value for the header `x-penstock-feature`: it must be {FEATURE_RULE}."
                    self._problem = Problem(400, message, "invalid_feature")
        if self.service.tracer is not None:
            self.span = self.service.tracer.begin(self.trace)
        self.request_id = request_id(given_id, b"") or b"req-" + os.urandom(12).hex().encode()
        try:
            self.key = self.service.keys.authenticate(authorization)
            self.key.require_route(self.route)
        except UnknownSignerError:
            self.token = authorization
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
        batch = self.key is not None and self.key.priority == "batch"
        most = service.most_batch_requests if batch else service.config.max_concurrent_requests
        if len(service.exchanges) >= most and self._problem is None:
            service.metrics.refused.labels("batch_concurrency" if batch else "concurrency").inc()
            self._problem = too_many(most)
        service.exchanges.add(self)
        if self._problem is not None:
            if self._refuse_early or not self.more_body:
                self.answer(self._problem)
        elif not self.more_body:
            self.admit()
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
                self.admit()

    def refuse(self, problem: Problem) -> None:
        """Ends a request that cannot be read on."""
        self._problem = problem
        if self._my_turn and not self.response_complete:
            self.answer(problem)

    def admit(self) -> None:
        """The request is here, and whose it is. Called again once an issuer was asked."""
        service = self.service
        if self.token is not None and await_signer(self):
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        try:
            admitted = admit(self.route, body, service.routes if self.key is None else self.key.visible(service.routes))
            target = service.by_name[admitted.model]
            if service.steward is not None:
                service.steward.require(self.key)
            if self.wishes or admitted.model in service.router.plans or (self.key and self.key.most_usd):
                target, body = service.router.take(self, admitted, body)
        except Refused as refused:
            self.answer(refused.problem)
            return
        self.admitted = admitted
        self.target = target
        target.in_flight += 1
        if service.guards is not None:
            body = service.guards.request(self, body)
            if self.response_complete:
                return
        self.body = include_usage(body, admitted.stream_options) if admitted.add_usage else body
        if admitted.add_limit:
            self._unheld = self.body
            self.body = hold_output(
                self.body, admitted.add_limit, min(admitted.ceiling, target.route.max_output_tokens)
            )
        if admitted.stream and self.route in RESUMABLE and service.config.resume.enabled:
            self.kept = Kept(service.config.resume.max_kept_bytes)
        if service.guards is not None:
            service.guards.classify(self, body, self._ask_limits)
        else:
            self._ask_limits()

    def _ask_limits(self) -> None:
        service, target, admitted = self.service, self.target, self.admitted
        assert target is not None  # noqa: S101 - the request is admitted
        assert admitted is not None  # noqa: S101
        plan = None if self.key is None else service.limiter.plan(self.key, target.route)
        if plan is None:
            self._look(target)
            return
        tokens, nano = reservation(admitted, self._size, target.route)
        self.permit = service.limiter.permit(plan, tokens, nano)
        self.permit.ask(self._limits_answered)

    def _limits_answered(self, problem: Problem | None) -> None:
        """The limits let this request in or not; it may have ended meanwhile."""
        permit, target = self.permit, self.target
        if self.response_complete or permit is None or target is None:
            return
        self.limit_lines = permit.lines
        if problem is not None:
            self.answer(problem)
        else:
            self._look(target)

    def _look(self, target: Target) -> None:
        """In the cache, where there is one; then to an engine."""
        known = self.course is not None and self.course.decision.text is not None
        if self.service.cache is None or known or not self.service.cache.look(self):
            self._begin(target)

    def begin_at_engine(self) -> None:
        """The cache has nothing for this request."""
        if self.target is not None:
            self._begin(self.target)

    def take_over(self, other: Exchange) -> None:
        """Goes on with the answer under way of an identical request whose client left: its engine works on."""
        if other.course is not None:
            other.course.pass_to(self)
        self.attempt, other.attempt = other.attempt, None
        self.kept, other.kept = other.kept, None
        self.resumption, other.resumption = other.resumption, None
        self.tries, other.tries = other.tries, 0
        self.tried, self._unheld = other.tried, other._unheld
        self.deadline, self.total_deadline = other.deadline, other.total_deadline

    def _begin(self, target: Target) -> None:
        service = self.service
        now = self.started_at = monotonic()
        self.total_deadline = now + service.config.timeouts.total_seconds
        service.budget.request(now)
        if self.course is not None:
            self.course.start(self._unheld or self.body)
        else:
            placing.place(self, target, now)

    def turn_to(self, target: Target, body: bytes, unheld: bytes) -> None:
        """Another model is to answer, with the body given, and `unheld` where that has a ceiling of the gateway."""
        if self.target is not None:
            self.target.in_flight -= 1
        target.in_flight += 1
        self.target, self.body, self._unheld = target, body, unheld
        self.tries_before, self.tried, self.hedge, self.times = self.tries, [], None, None

    # -- engines --

    def try_engine(self, engine: Engine, *, fresh: bool = False) -> None:
        self.tries += not fresh
        self.tried.append(engine)
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
        if self.hedge is not None and (failure.retry or attempt is not self.attempt) and self.hedge.goes_on(attempt):
            return
        if self.resumption is not None:
            if not self.resumption.failed(engine, failure):
                self._end_broken(*_told(failure))
            return
        if self._unheld and failure.problem.code == "context_length_exceeded":
            # Prompt and ceiling do not fit the model together: then its context holds the answer below the ceiling.
            self.body, self._unheld = self._unheld, b""
            self.try_engine(engine, fresh=True)
            return
        if failure.retry and now < self.total_deadline:
            if failure.reason == "stale_connection":
                service.metrics.retries.labels(failure.reason).inc()
                self.try_engine(engine, fresh=True)
                return
            more = self.tries - self.tries_before < service.config.retries.attempts
            other = placing.choose(self, target, now) if more else None
            waits = other is None and placing.may_wait(self, target, failure, more=more)
            paced = waits and failure.reason in placing.PACED
            if (other is not None or waits) and (paced or not failure.budgeted or service.budget.take(now)):
                service.metrics.retries.labels(failure.reason).inc()
                if self.course is not None:
                    self.course.other_engine(failure)
                if other is not None:
                    self.try_engine(other)
                else:
                    placing.wait(self, target, engine, failure, now)
                return
        if self.course is None or not self.course.failed(failure):
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
        self.try_engine(engine, fresh=fresh)

    def _end_broken(self, message: str, code: str) -> None:
        """No engine goes on with this stream. Where only its end is missing the client gets that."""
        resumption = self.resumption
        assert resumption is not None  # noqa: S101 - the stream broke
        if resumption.whole:
            self._account(self.status, "ok", resumption.usage, resumption.plan.seen)
            self.relay(DONE)
            self.end("ok", resumption.usage, resumption.plan.seen)
        else:
            self.cut_stream(message, code, None, resumption.plan.seen)

    # -- from outside --

    def expired(self, now: float) -> None:
        if placing.expired(self, now):
            return
        if self.attempt is not None:
            self.attempt.expired(now)
        elif self.cache_part is not None:
            self.cache_part.expired()

    def pause(self) -> None:
        if self.attempt is not None:
            self.attempt.pause()

    def resume(self) -> None:
        if self.attempt is not None:
            self.attempt.resume()

    def client_gone(self) -> None:
        """The client left: the engine must stop, and what it did is accounted."""
        self.disconnected = True
        if self.cache_part is not None and self.cache_part.gone():
            self._finish(CLIENT_GONE, "client_gone", None, 0)
            return
        usage, events = self.attempt.used() if self.attempt is not None else (None, 0)
        if self.attempt is not None:
            self.attempt.abort()
        self._finish(CLIENT_GONE, "client_gone", usage, events)

    def stop(self) -> None:
        """The drain's time is over."""
        if self.hedge is not None:
            self.hedge.close()
        if self.place is not None:
            self.answer(retry.shutting_down().problem)
        elif self.attempt is not None:
            self.attempt.stop()
        elif self.cache_part is not None:
            self.cache_part.stop()
        elif not self.response_complete:
            self.protocol.transport.abort()

    # -- the end --

    def _record(self, status: int, outcome: str, account: Account) -> None:
        if self.service.ledger is not None:
            record(self.service.ledger, self, status, outcome, account)

    def _finish(self, status: int, outcome: str, usage: Usage | None, events: int) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        self.deadline = FOREVER
        placing.leave(self, status)
        if self.course is not None:
            self.course.ended(outcome)
        if self.screen is not None and self.service.guards is not None:
            self.service.guards.ended(self)
        account = self._account(status, outcome, usage, events)
        finish(self, status, outcome, account)
        if self.permit is not None and self.admitted is not None and account is not None and self.target is not None:
            asked = self.tries > 0 and status == CLIENT_GONE
            self.permit.settle(*charge(account, self.target.route, len(self.body) if asked else 0))
        if self.cache_part is not None:
            self.cache_part.done(status, outcome, usage)
        self.body = b""
        self.attempt = self.kept = self.resumption = None
        if not self.disconnected:
            self.protocol.exchange_done(self)


def _told(failure: retry.Failure) -> tuple[str, str]:
    """Message and code of the event that ends a stream when the last engine asked to continue it failed so."""
    if failure.reason in ("shutting_down", "total_timeout"):
        return failure.problem.message, failure.problem.code or "upstream_interrupted"
    return "The engine was lost in the middle of the answer, and no other one could go on.", "upstream_interrupted"
