"""Sends the copies: after the original's last byte, by sampling, few at a time, and never with an effect on anything.

A copy goes straight to an engine of the other colour, so it passes no key, no limit, no ledger and no cache. Its body
is the one that the original's engine got, so what guards masked stays masked. What comes back is compared and dropped;
neither text is logged or kept.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.choose import Engine, Pool, Sighting
from app.gateway.metrics import REQUEST_BUCKETS, TTFT_BUCKETS
from app.gateway.shadow.compare import Answer, certain, compared, read_reply, read_stream, text_of
from app.gateway.tally import Counts, Spread

if TYPE_CHECKING:
    from app.gateway.account import Account
    from app.gateway.client import Connection
    from app.gateway.exchange import Exchange
    from app.gateway.service import Service
    from app.gateway.shadow.settings import ShadowConfig

HEADER = b"x-penstock-shadow"
"""On a copy; and on a client's request that is not to be copied, whatever its value."""
PATHS = {"chat": b"/v1/chat/completions", "completions": b"/v1/completions"}
ENGINES_OWN = ("miss", "bypass", None)
"""What the cache did where an engine made the answer."""


@dataclass(frozen=True, slots=True)
class Copy:
    model: str
    path: bytes
    request_id: bytes
    body: bytes
    stream: bool
    original: Answer


class Mirror:
    def __init__(self, service: Service, config: ShadowConfig, draw: Callable[[], float] = random.random) -> None:
        self.service = service
        self.config = config
        self.pools = {target.model: Pool("") for target in config.targets}
        self._draw = draw
        self._waiting: deque[Copy] = deque()
        self._running: set[Shadow] = set()
        self._left_out = frozenset(config.tenants_left_out)
        registry = service.metrics.registry
        self._compared = Counts(
            "penstock_shadow_compared",
            "Requests that were copied to the other colour: whether both answers had the same status, length or text.",
            ["model", "what", "same"],
            registry=registry,
        )
        self._dropped = Counts(
            "penstock_shadow_dropped",
            "Copies that were not sent: no engine, no room, a busy gateway, or too long.",
            ["model", "reason"],
            registry=registry,
        )
        self._ttft = Spread(
            "penstock_shadow_ttft_seconds",
            "Streams that were copied: request to first event, of the original and of the copy.",
            ["model", "of"],
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self._seconds = Spread(
            "penstock_shadow_request_seconds",
            "Requests that were copied, whole: the original and the copy.",
            ["model", "of"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )

    def update(self, model: str, sightings: Iterable[Sighting]) -> None:
        """Takes over the whole set of the other colour's engines of a model."""
        for engine in self.pools[model].update(sightings, monotonic()):
            self.service.client.drop(engine)

    def ended(self, exchange: Exchange, status: int, outcome: str, account: Account | None) -> None:
        """An exchange is over and accounted: it may be copied. Never raises."""
        try:
            copy = self._copy(exchange, status, outcome, account)
            if copy is not None:
                self._take(copy)
        except Exception as error:  # noqa: BLE001 - the original must not notice
            self.service.log.event("shadow", failed=f"{type(error).__name__}: {error}"[:300])

    def close(self) -> None:
        self._waiting.clear()
        for shadow in list(self._running):
            shadow.abort()

    # -- which ones --

    def _copy(self, exchange: Exchange, status: int, outcome: str, account: Account | None) -> Copy | None:
        """None for a request that is not to be copied, or whose answer says little of one engine."""
        target, admitted, key = exchange.target, exchange.admitted, exchange.key
        if status != 200 or outcome != "ok" or account is None or account.saved or target is None or admitted is None:
            return None
        if exchange.unshadowed or target.route.name not in self.pools or exchange.route not in PATHS:
            return None
        if key is None or key.tenant in self._left_out or key.priority != "interactive":
            return None
        if exchange.tries != 1 or exchange.queued_seconds or exchange.hedge or exchange.resumption or exchange.course:
            return None
        if exchange.cache_outcome not in ENGINES_OWN or not self._draw() * 100 < self.config.share_percent:
            return None
        return Copy(
            target.route.name, PATHS[exchange.route], exchange.request_id, exchange.body, admitted.stream,
            self._original(exchange, account),
        )  # fmt: skip

    def _original(self, exchange: Exchange, account: Account) -> Answer:
        stream = exchange.admitted is not None and exchange.admitted.stream
        text = None
        if self.config.text and exchange.screen is None and certain(exchange.body):
            if not stream:
                text = read_reply(exchange.replied)[2]
            elif exchange.kept is not None:
                text = text_of(exchange.kept)
        first = exchange.first_event_at - exchange.started_at if stream and exchange.first_event_at else None
        tokens = None if account.estimated else account.output_tokens
        return Answer(200, monotonic() - exchange.started_at, first, tokens, text)

    def _take(self, copy: Copy) -> None:
        service, config = self.service, self.config
        reason = ""
        if len(copy.body) > config.most_bytes:
            reason = "too_long"
        elif service.draining or len(service.exchanges) * 2 > service.config.max_concurrent_requests:
            reason = "busy"
        elif not self.pools[copy.model].ready:
            reason = "no_engine"
        elif len(self._running) >= config.most_running:
            if len(self._waiting) < config.most_waiting:
                self._waiting.append(copy)
                return
            reason = "full"
        if reason:
            self.dropped(copy.model, reason)
        else:
            self._send(copy)

    # -- sending --

    def _send(self, copy: Copy) -> None:
        engines = [e for e in self.pools[copy.model].engines.values() if e.ready and not e.draining]
        if not engines:
            self.dropped(copy.model, "no_engine")
            return
        shadow = Shadow(self, copy, min(engines, key=lambda engine: engine.in_flight))
        self._running.add(shadow)
        shadow.start()

    def left(self, shadow: Shadow) -> None:
        self._running.discard(shadow)
        while self._waiting and len(self._running) < self.config.most_running and not self.service.draining:
            self._send(self._waiting.popleft())

    def dropped(self, model: str, reason: str) -> None:
        self._dropped.child(model, reason).value += 1

    def answered(self, copy: Copy, answer: Answer) -> None:
        original, model = copy.original, copy.model
        for what, same in compared(original, answer).items():
            self._compared.child(model, what, "true" if same else "false").value += 1
        if answer.status != original.status:
            return
        for spread, first, second in (
            (self._ttft, original.ttft, answer.ttft),
            (self._seconds, original.seconds, answer.seconds),
        ):
            if first is not None and second is not None:
                spread.child(model, "original").observe(first)
                spread.child(model, "copy").observe(second)


class Shadow:
    """One copy under way."""

    __slots__ = (
        "_begun", "_connection", "_copy", "_engine", "_first_at", "_mirror", "_over", "_parts", "_size", "_status",
        "_timer",
    )  # fmt: skip

    def __init__(self, mirror: Mirror, copy: Copy, engine: Engine) -> None:
        self._mirror, self._copy, self._engine = mirror, copy, engine
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = monotonic()
        self._first_at = 0.0
        self._status = self._size = 0
        self._parts: list[bytes] = []
        self._over = False

    def start(self, *, fresh: bool = False) -> None:
        copy, engine, service = self._copy, self._engine, self._mirror.service
        if self._timer is None:
            engine.in_flight += 1
            self._timer = service.loop.call_later(self._mirror.config.seconds, self._expired)
        head = (
            b"POST %b HTTP/1.1\r\nhost: %b:%d\r\ncontent-type: application/json\r\nx-request-id: shadow-%b\r\n"
            b"%b: copy\r\ncontent-length: %d\r\n\r\n"
        ) % (copy.path, engine.host.encode(), engine.port, copy.request_id, HEADER, len(copy.body))
        service.client.send(engine, self, head, copy.body, fresh=fresh)

    def abort(self) -> None:
        """Nothing more is heard of it, and nothing is counted."""
        if self._over:
            return
        self._leave()
        if self._connection is not None:
            self._connection.abort()
        else:
            self._mirror.service.client.cancel_connect(self)

    def _expired(self) -> None:
        if not self._over:
            self.abort()
            self._mirror.answered(self._copy, Answer(0))
            self._mirror.left(self)

    def _leave(self) -> None:
        self._over = True
        self._engine.in_flight -= 1
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, answer: Answer) -> None:
        if not self._over:
            self._leave()
            self._mirror.answered(self._copy, answer)
            self._mirror.left(self)

    # -- what the connection tells --

    def upstream_connected(self, connection: Connection) -> None:
        self._connection = connection

    def upstream_unreachable(self, error: OSError) -> None:
        self._end(Answer(0))

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status

    def upstream_data(self, data: bytes) -> None:
        self._first_at = self._first_at or monotonic()
        self._size += len(data)
        if self._size > self._mirror.config.most_bytes * 8:  # events are many times as long as their text
            self.abort()
            self._mirror.dropped(self._copy.model, "too_long")
            self._mirror.left(self)
            return
        self._parts.append(data)

    def upstream_end(self) -> None:
        now, content, stream = monotonic(), b"".join(self._parts), self._copy.stream
        if self._status != 200:
            self._end(Answer(self._status))
            return
        whole, tokens, text = read_stream(content, self._mirror.config.most_bytes) if stream else read_reply(content)
        first = self._first_at - self._begun if stream and self._first_at else None
        self._end(Answer(200 if whole else 0, now - self._begun, first, tokens, text))

    def upstream_lost(self, *, stale: bool) -> None:
        self._connection = None
        if stale and not self._over:
            self.start(fresh=True)
        else:
            self._end(Answer(0))

    def upstream_fault(self, error: Exception) -> None:
        self._end(Answer(0))
