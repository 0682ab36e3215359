"""One try of a request on one engine: how its answer is read, judged and passed on.

Nothing is relayed before the first byte of the answer's body. Until then a failure may move to another engine. After it
a stream that breaks may be continued: then an attempt asks another engine to go on, and what it relays follows.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway import retry
from app.gateway.account import Usage, read_usage
from app.gateway.admit import GENERATING
from app.gateway.attempt_state import CONNECTING, ERROR, JSON, STREAM, THROUGH, WAITING
from app.gateway.attempt_stream import Streaming
from app.gateway.balance import placing
from app.gateway.client import Connection
from app.gateway.continued import ContinuedStream
from app.gateway.errors import parse_engine_error
from app.gateway.rewrite import EventStream, TypedEventStream, count_each, usage_in_tail

if TYPE_CHECKING:
    from app.gateway.providers.batch import Batch

MOST_KEPT_BYTES = 1024 * 1024
"""A JSON reply up to this size is kept until it is whole, so that a cut one ends in a clean 502; a longer one flows."""
MOST_JUDGED_BYTES = 16 * 1024 * 1024
"""The same where a guard judges the reply: it must be whole, and a longer one is refused."""
MOST_ERROR_BYTES = 64 * 1024
TAIL_BYTES = 8 * 1024

EVENTS = b"text/event-stream; charset=utf-8"


class Attempt(Streaming):
    """Called by the connection to the engine (`upstream_...`), by deadlines, probes, drains and the client's pace."""

    __slots__ = ()

    def start(self, *, fresh: bool) -> None:
        exchange, engine = self.exchange, self.engine
        body = exchange.body if exchange.resumption is None else exchange.resumption.plan.body
        if not engine.in_flight:
            engine.heard_at = monotonic()
        engine.in_flight += 1
        self._probe = engine.failures > 0
        engine.probes += self._probe
        self._wait(self.times.connect_seconds)
        trace = exchange.trace if exchange.span is None else exchange.span.upstream_lines(self)
        if self.outside is not None:
            refusal = self.outside.send(self, body, fresh=fresh)
            if refusal is not None:
                self._fail(refusal)
            return
        if exchange.counted and exchange.target is not None and exchange.target.route.usage_in_events:
            assert exchange.admitted is not None  # noqa: S101 - it is a stream
            body = count_each(body, exchange.admitted.stream_options)
        head = (
            b"POST %b HTTP/1.1\r\nhost: %b:%d\r\ncontent-type: application/json\r\nx-request-id: %b\r\n"
            b"%bcontent-length: %d\r\n\r\n"
        ) % (
            _PATHS[exchange.route],
            engine.host.encode(),
            engine.port,
            exchange.request_id,
            trace,
            len(body),
        )
        exchange.service.client.send(engine, self, head, body, fresh=fresh)

    # -- what the connection tells --

    def holds(self, batch: Batch) -> None:
        """Several calls are to be made: whatever ends this attempt ends them."""
        self._connection = batch

    def goes_on(self, pause: float) -> None:
        """One of several calls was answered, or is asked again after `pause` seconds."""
        self.engine.heard_at = monotonic()
        self._wait(pause + self.times.first_byte_seconds)

    def failed(self, failure: retry.Failure) -> None:
        self._connection = None
        self._fail(failure)

    def upstream_connected(self, connection: Connection | Batch) -> None:
        self._connection = connection
        self._state = WAITING
        if self.exchange.protocol.flow.write_paused:  # a client that reads slowly, of a stream that is continued
            connection.transport.pause_reading()
        admitted = self.exchange.admitted
        # An unstreamed generation sends its first byte when it is done, so only its total time can tell that it hangs.
        waits = (admitted is not None and admitted.stream) or self.exchange.route not in GENERATING
        self._wait(self.times.first_byte_seconds if waits else self.times.answer_seconds or self.times.total_seconds)

    def upstream_unreachable(self, error: OSError) -> None:
        self._connection = None
        self._fail(retry.cannot_connect(self.model))

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        self.engine.heard_at = monotonic()
        for name, value in headers:
            if name == b"content-type":
                self._content_type = value
        if status < 300 and self.exchange.hedge is not None:
            self.exchange.hedge.answered(self)
        if status >= 300:
            self._state = ERROR
            self._headers = headers
        elif self.outside is not None and self.exchange.resumption is None:
            self._stream = self.outside.open(self.exchange, self._content_type)
            self._state = JSON if self._stream is None else STREAM
            if self._stream is not None:
                self._content_type = EVENTS
        elif self._content_type.startswith(b"text/event-stream"):
            self._state = STREAM
            admitted, resumption = self.exchange.admitted, self.exchange.resumption
            strip = admitted is not None and admitted.add_usage
            if resumption is not None:
                self._stream = ContinuedStream(
                    resumption.plan, strip_usage=strip, kept=self.exchange.kept, counted=self.exchange.counted
                )
            elif self.exchange.route == "responses":
                self._stream = TypedEventStream(strip_usage=strip)
            else:
                self._stream = EventStream(strip_usage=strip, counted=self.exchange.counted)
        elif self.exchange.resumption is not None:
            self._drop_connection()
            self._fail(retry.lost_before_answer(self.model))
        else:
            self._state = JSON

    def upstream_data(self, data: bytes) -> None:
        if self._state == STREAM:
            self._relay_events(data)
            return
        self._wait(self.times.between_bytes_seconds)
        self.engine.heard_at = monotonic()
        if self._state == THROUGH:
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self.exchange.write(data)
            return
        self._kept += len(data)
        if self._state == ERROR and self._kept > MOST_ERROR_BYTES:
            return
        self._parts.append(data)
        if self._state == JSON and self._kept > (
            MOST_KEPT_BYTES if self.exchange.screen is None and self.outside is None else MOST_JUDGED_BYTES
        ):
            if self.exchange.screen is not None or self.outside is not None:
                self._drop_connection()
                self._fail(retry.too_long_to_judge(self.model))
                return
            self._state = THROUGH
            self._relayed = True
            head = self.exchange.begin(self._content_type, self._status)
            kept = b"".join(self._parts)
            self._parts = []
            self._tail = kept[-TAIL_BYTES:]
            self.exchange.write(kept, head)

    def upstream_end(self) -> None:
        state, self._connection = self._state, None
        if state == STREAM:
            self._end_stream()
        elif state == ERROR:
            self._fail(self._refused(parse_engine_error(self._status, b"".join(self._parts))))
        else:
            self._leave(well=True)
            if state == THROUGH:
                self.exchange.end("ok", usage_in_tail(self._tail), 0)
            else:
                self._reply(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))

    def _reply(self, body: bytes) -> None:
        """The whole answer is here. It is passed on unless it is no good, and something else may answer."""
        exchange = self.exchange
        if self.outside is not None:
            translated = self.outside.reply(exchange, body)
            if isinstance(translated, retry.Failure):
                exchange.attempt_failed(self, translated)
                return
            body, self._content_type = translated, b"application/json"
        usage = read_usage(body)
        if exchange.course is not None:
            fault = exchange.course.faulty(self._content_type, body, usage, self._status)
            if fault is not None:
                exchange.attempt_failed(self, fault)
                return
        exchange.reply(self._content_type, body, usage, self._status)

    def upstream_lost(self, *, stale: bool) -> None:
        self._connection = None
        if stale:
            self._fail(retry.stale_connection(self.model))
        elif self._relayed:
            self._cut("The engine's connection broke in the middle of the answer. Send the request again.")
        elif self._state == JSON and self._kept:
            self._fail(retry.lost_inside_answer(self.model))
        elif self._state == ERROR:
            self._fail(self._refused(parse_engine_error(self._status, b"".join(self._parts))))
        else:
            self._fail(retry.lost_before_answer(self.model))

    def upstream_fault(self, error: Exception) -> None:
        self._connection = None
        self.exchange.broke(error)

    # -- from outside --

    def abort(self) -> None:
        """Nobody waits any more: closes the connection, by which the engine learns that it can stop."""
        self._drop_connection()
        self._leave(well=False)

    def stop(self) -> None:
        """The gateway goes down before the answer was whole."""
        self._drop_connection()
        if self._relayed:
            self._cut("The gateway is shutting down. Send the request again.", "shutting_down", blame=False)
        else:
            self._fail(retry.shutting_down())

    def expired(self, now: float) -> None:
        """A deadline passed: which one follows from the state."""
        exchange, times = self.exchange, self.times
        total = now >= exchange.total_deadline
        connecting, waiting = self._state == CONNECTING, not self._kept and not self._relayed
        self._drop_connection()
        if self._relayed:
            what = f"{times.total_seconds:g} s in all" if total else f"{times.between_bytes_seconds:g} s of silence"
            self._cut(f"Time-out in the middle of the answer, after {what}.", "timeout", blame=not total)
        elif total:
            self._fail(retry.out_of_time(times.total_seconds))
        elif connecting:
            self._fail(retry.cannot_connect(self.model))
        elif waiting:
            stream = exchange.admitted is not None and exchange.admitted.stream
            whole = times.answer_seconds if not stream and exchange.route in GENERATING else None
            self._fail(retry.no_first_byte(whole or times.first_byte_seconds))
        else:
            self._fail(retry.silent_inside_answer(times.between_bytes_seconds))

    def engine_hangs(self) -> None:
        """Probes found the engine hung. What it has not begun to answer goes elsewhere, and a stream of text goes on.

        Any other answer waits for its time-out: it would be lost, and the probes may be wrong.
        """
        # A stream's head comes before its first token: with nothing behind it, nothing has been passed on.
        if self._state in (CONNECTING, WAITING) or (self._state == STREAM and not self._relayed):
            self._drop_connection()
            self._fail(retry.engine_hangs(self.model))
        elif self._state == STREAM and placing.may_go_on(self.exchange):
            self._drop_connection()
            self._cut("The engine fell silent in the middle of the answer.", "timeout")

    @property
    def connected(self) -> bool:
        return self._state != CONNECTING

    @property
    def waiting(self) -> bool:
        """True while nothing of an answer has come."""
        return self._state == CONNECTING or self._state == WAITING

    def whole(self) -> bool:
        """True for a stream of which all was read."""
        return self._stream is not None and self._stream.complete

    def used(self) -> tuple[Usage | None, int]:
        if self._stream is not None:
            return self._so_far(self._stream), self._stream.events
        resumption = self.exchange.resumption
        return None, 0 if resumption is None else resumption.plan.seen

    # -- backpressure --

    def pause(self) -> None:
        """The client reads too slowly: the engine's bytes stay in the kernel, and its silence is not its fault."""
        if self._connection is not None:
            self.exchange.deadline = self.exchange.total_deadline
            self._connection.transport.pause_reading()

    def resume(self) -> None:
        if self._connection is not None:
            self._wait(self.times.between_bytes_seconds)
            self._connection.transport.resume_reading()


_PATHS = {
    "chat": b"/v1/chat/completions",
    "completions": b"/v1/completions",
    "responses": b"/v1/responses",
    "embeddings": b"/v1/embeddings",
    "tokenize": b"/tokenize",
    "detokenize": b"/detokenize",
}
"""Where vLLM serves each route."""
