"""How one try passes a stream on: whole events, the times between them, and what becomes of a stream that breaks."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway import retry
from app.gateway.attempt_state import Held
from app.gateway.rewrite import EventStream, only_comments

if TYPE_CHECKING:
    from app.gateway.account import Usage
    from app.gateway.attempt import Attempt


class Streaming(Held):
    """The middle layer of an attempt."""

    __slots__ = ()

    def _relay_events(self: Attempt, data: bytes) -> None:
        exchange, stream = self.exchange, self._stream
        assert stream is not None  # noqa: S101 - the state says so
        now = monotonic()
        exchange.deadline = min(now + self.times.between_bytes_seconds, exchange.total_deadline)
        self.engine.heard_at = now
        out = stream.feed(data)
        if out:
            if self._relayed:
                if exchange.first_event_at:
                    self._observe_gap(now)
                elif not only_comments(out):
                    self._first_event(now)
                self._last_at = now
                exchange.relay(out)
            else:
                self._begin_stream(out, now)
        if stream.failed:
            self._engine_error(stream)

    def _begin_stream(self, out: bytes, now: float) -> None:
        exchange = self.exchange
        self._relayed = True
        self._last_at = now
        if exchange.response_started:
            exchange.relay(out)
        else:
            exchange.relay(out, exchange.begin(self._content_type, self._status))
        if not only_comments(out):
            self._first_event(now)

    def _first_event(self, now: float) -> None:
        exchange = self.exchange
        target, resumption = exchange.target, exchange.resumption
        if resumption is not None:
            resumption.goes_on(now)
        if self.engine.failures and target is not None:  # it answers again; its end may be minutes away
            target.pool.succeeded(self.engine)
        if not exchange.first_event_at:
            exchange.first_event_at = now
            if target is not None:
                target.metrics.ttft.observe(now - exchange.started_at)

    def _observe_gap(self, now: float) -> None:
        if self.exchange.target is not None:
            self.exchange.target.metrics.itl.observe(now - self._last_at)

    def _engine_error(self: Attempt, stream: EventStream) -> None:
        """The engine said inside its stream that it failed. What came before that is relayed."""
        error = stream.error
        self._drop_connection()
        if not self._relayed:  # nothing is out yet: it can be a status, or go elsewhere
            self._fail(self._refused(error))
        else:
            self._cut(error.message, "engine_failed", retryable=error.status >= 500)

    def _end_stream(self: Attempt) -> None:
        stream, exchange = self._stream, self.exchange
        assert stream is not None  # noqa: S101 - the state says so
        rest = stream.finish()
        if not self._relayed and not rest:
            self._fail(retry.lost_before_answer(self.model))
            return
        if rest:
            if self._relayed:
                exchange.relay(rest)
            else:
                self._begin_stream(rest, monotonic())
        if not stream.complete:
            self._cut("The engine ended its answer early. Send the request again.")
            return
        self._leave(well=True)
        exchange.end("ok", stream.usage, stream.events)

    def _cut(
        self: Attempt, message: str, code: str = "upstream_interrupted", *, blame: bool = True, retryable: bool = True
    ) -> None:
        """Part of the answer is out: the rest will not come from this engine. `blame`: it is the engine's doing."""
        exchange = self.exchange
        if self._stream is not None and self._stream.complete:  # `[DONE]` was there: nothing is missing
            self._leave(well=False)
            exchange.end("ok", self._stream.usage, self._stream.events)
            return
        if blame and retryable and exchange.target is not None:
            exchange.target.pool.failed(self.engine, monotonic())
        self._leave(well=False, reason=code)
        if self._stream is None:
            exchange.cut(code)
            return
        usage = self._so_far(self._stream)
        if not (blame and retryable and exchange.stream_broke(self.engine, self._last_at, usage)):
            exchange.cut_stream(message, code, usage, self._stream.events, retryable=retryable)

    def _so_far(self, stream: EventStream) -> Usage | None:
        """What is known of the usage of a stream that has not ended. Engines tell that of each choice by itself."""
        kept = self.exchange.kept
        if stream.usage is None and kept is not None and kept.progress().beyond_text == "choices":
            return None
        return stream.so_far()
