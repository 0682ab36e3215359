"""What one try of a request holds: its place at an engine, its connection, its deadline; and how it gives them back."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway import retry
from app.gateway.choose import Engine
from app.gateway.client import Connection
from app.gateway.errors import EngineError
from app.gateway.rewrite import EventStream

if TYPE_CHECKING:
    from app.gateway.attempt import Attempt
    from app.gateway.exchange import Exchange
    from app.gateway.providers.batch import Batch

CONNECTING, WAITING, ERROR, JSON, THROUGH, STREAM, DONE = range(7)


class Held:
    """The lowest layer of an attempt."""

    __slots__ = (
        "_connection",
        "_content_type",
        "_headers",
        "_kept",
        "_last_at",
        "_parts",
        "_probe",
        "_relayed",
        "_state",
        "_status",
        "_stream",
        "_tail",
        "engine",
        "exchange",
        "model",
        "outside",
        "times",
    )

    def __init__(self, exchange: Exchange, engine: Engine) -> None:
        assert exchange.target is not None  # noqa: S101 - an attempt follows admission
        self.exchange = exchange
        self.engine = engine
        self.model = exchange.target.route.name
        self.outside = exchange.target.outside
        own = exchange.service.config.timeouts if self.outside is None else self.outside.times
        self.times = exchange.times or own
        self._headers: list[tuple[bytes, bytes]] = []
        self._connection: Connection | Batch | None = None
        self._state = CONNECTING
        self._status = 0
        self._content_type = b"application/json"
        self._parts: list[bytes] = []
        self._kept = 0
        self._tail = b""
        self._stream: EventStream | None = None
        self._last_at = 0.0
        self._relayed = False
        self._probe = False

    def _wait(self, seconds: float) -> None:
        exchange = self.exchange
        exchange.deadline = min(monotonic() + seconds, exchange.total_deadline)

    def _leave(self: Attempt, *, well: bool, reason: str = "") -> None:
        if self._state != DONE:
            self._state = DONE
            if self.exchange.span is not None:
                self.exchange.span.left(self, reason)
            self.engine.in_flight -= 1
            self.engine.probes -= self._probe
            target = self.exchange.target
            if target is not None:
                if well and self.engine.failures:
                    target.pool.succeeded(self.engine)
                if target.room is not None:
                    target.room.freed()

    def _fail(self: Attempt, failure: retry.Failure) -> None:
        self._leave(well=failure.reason == "refused", reason=failure.reason)
        self.exchange.attempt_failed(self, failure)

    def _drop_connection(self: Attempt) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        elif self._state == CONNECTING:
            client = self.exchange.service.client if self.outside is None else self.outside.client
            client.cancel_connect(self)

    def _refused(self, error: EngineError) -> retry.Failure:
        if self.outside is not None:
            return self.outside.failure(error, self._headers, self.model)
        return retry.from_reply(error, self.model)
