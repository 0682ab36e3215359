"""How a request comes in: its headers, its turn in a pipeline, its body. It ends in `admit`, or in a refusal."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.admit import Refused, Route, request_id
from app.gateway.errors import Problem, too_large, too_many
from app.gateway.fault import FAULT, tell_fault
from app.gateway.keys.problems import UnknownSignerError
from app.gateway.ledger.row import FEATURE_RULE, read_feature
from app.gateway.reply import Reply
from app.gateway.routing.wishes import WISHES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.gateway.admit import Admitted
    from app.gateway.balance.hedge import Hedge
    from app.gateway.choose import Engine, Near
    from app.gateway.config import Timeouts
    from app.gateway.exchange import Exchange
    from app.gateway.limits.limiter import Permit
    from app.gateway.protocol import Connection
    from app.gateway.queue.room import Place
    from app.gateway.routing.course import Course
    from app.pipelines.authority import Step

SMALL_BODY_BYTES = 64 * 1024
"""A refused body up to this size is read to its end, so that the connection can be kept."""
FOREVER = float("inf")
NO_WISHES: Mapping[bytes, bytes] = {}


class _NoEvent:
    """Stands where uvicorn's protocol sets an event of its ASGI cycles."""

    def set(self) -> None: ...


class Arrival(Reply):
    """Takes the place of uvicorn's request-response cycle; uvicorn looks at the first block of attributes.

    What few requests have is set on the class: an instance of at most 30 attributes is made and read faster.
    """

    message_event = _NoEvent()
    more_body = True
    response_started = False
    response_complete = False
    disconnected = False

    id_given = False
    """True where the request's id may be the client's."""
    admitted: Admitted | None = None
    deadline = FOREVER
    total_deadline = FOREVER
    first_event_at = 0.0
    trace = b""
    unshadowed = False
    """True for a request that must not be copied to the other colour: the client's wish, or a copy itself."""
    replied = b""
    """A whole JSON answer, where copies are compared."""
    feature: str | None = None
    """The client's tag for reports."""
    body = b""
    tries = tries_before = 0
    hedge: Hedge | None = None
    cache_headers: Sequence[tuple[bytes, bytes]] = ()
    place: Place | None = None
    """Where it waits for an engine."""
    queued_seconds = 0.0
    near: Near | None = None
    """What keeps it near an engine."""
    sticky_headers: Sequence[tuple[bytes, bytes]] = ()
    wishes: Mapping[bytes, bytes] = NO_WISHES
    """What the client says about routing, by header."""
    course: Course | None = None
    """Its way down a chain of models, where its name has a route."""
    times: Timeouts | None = None
    """Other time-outs than the platform's, of a route."""
    permit: Permit | None = None
    model_permit: Permit | None = None
    """Under the own limits of a model that a chain brought it to."""
    token: bytes | None = None
    """An `Authorization` header whose signing key the issuer is asked for."""
    _size = 0
    _my_turn = False
    _unheld = b""
    """The body without the ceiling on its output that the gateway gave it."""
    _expects_continue = False
    _refuse_early = True

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
        self.protocol = protocol
        self.service = protocol.service
        self.route: Route = route
        self.chunked = chunked
        self.started_at = monotonic()
        self.tried: list[Engine] = []
        self._parts: list[bytes] = []
        self._problem = problem
        try:
            self._read_head(headers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            tell_fault(self, error)
            self._problem = FAULT

    def _read_head(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.request_id = self.service.fresh_request_id()
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
                self.sticky_headers = (*self.sticky_headers, (name, value))
            elif name == b"x-penstock-cache" or name == b"cache-control":
                self.cache_headers = (*self.cache_headers, (name, value))
            elif name == b"x-penstock-shadow":
                self.unshadowed = True
            elif name in WISHES:
                self.wishes = {**self.wishes, name: value}
            elif name == b"x-penstock-feature":
                self.feature = read_feature(value)
                if self.feature is None and self._problem is None:
                    message = f"Invalid value for the header `x-penstock-feature`: it must be {FEATURE_RULE}."
                    self._problem = Problem(400, message, "invalid_feature")
        if self.service.tracer is not None:
            self.span = self.service.tracer.begin(self.trace)
        if given_id is not None:
            self.request_id, self.id_given = request_id(given_id, self.request_id), True
        try:
            self.key = self.service.keys.authenticate(authorization)
            self.key.require_route(self.route)
            if self.service.keys.steps is not None:
                self._inherit(self.service.keys.steps.step(authorization))
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

    def _inherit(self, step: Step | None) -> None:
        """A step of a pipeline goes on under the client's request id, in its trace."""
        if step is not None:
            self.step, self.request_id, self.intent = step, step.request_id, step.intent
            if step.trace and self.service.tracer is not None:
                self.span = self.service.tracer.begin(step.trace)

    def turn(self: Exchange) -> None:
        """The replies of earlier pipelined requests are out: this one's may begin."""
        self._my_turn = True
        try:
            self._begin_turn()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            self.broke(error)

    def _begin_turn(self: Exchange) -> None:
        service = self.service
        batch = self.key is not None and self.key.priority == "batch"
        most = service.most_batch_requests if batch else service.config.max_concurrent_requests
        if len(service.exchanges) >= most and self._problem is None and self.step is None:
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

    def body_complete(self: Exchange) -> None:
        self.more_body = False
        if self._my_turn and not self.response_complete:
            try:
                if self._problem is not None:
                    self.answer(self._problem)
                else:
                    self.admit()
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
                self.broke(error)

    def refuse(self, problem: Problem) -> None:
        """Ends a request that cannot be read on."""
        self._problem = problem
        if self._my_turn and not self.response_complete:
            self.answer(problem)

    def admit(self: Exchange) -> None:
        """The request is here, and whose it is."""
        raise NotImplementedError

    def broke(self, error: Exception) -> None:
        """A stage raised what no stage may raise."""
        raise NotImplementedError
