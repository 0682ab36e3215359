"""One model's waiting room: a request waits here while no engine has room, or none is there.

Bounded in number and in time. A stream that waits is told its position by SSE comments, which also keep the connection
in use; its status is 200 from the first of them on, so a later refusal comes as an error event.
"""

from __future__ import annotations

from math import ceil
from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.balance import placing
from app.gateway.errors import RETRY_AFTER_SECONDS, Problem, retry_after
from app.gateway.queue.fair import FairQueue, Waiter

if TYPE_CHECKING:
    from app.gateway.balance.metrics import BalanceMetrics
    from app.gateway.balance.settings import QueueRules
    from app.gateway.exchange import Exchange
    from app.gateway.service import Service, Target

BYTES_PER_TOKEN = 4
LONGEST_RETRY_AFTER_SECONDS = 60
EVENT_STREAM = b"text/event-stream; charset=utf-8"


class Place(Waiter["Exchange"]):
    """Where one exchange waits."""

    __slots__ = ("since", "tell_at")

    def __init__(self, exchange: Exchange, tenant: str, *, batch: bool, cost: int, now: float, tell_at: float) -> None:
        super().__init__(exchange, tenant, batch, cost)
        self.since = now
        self.tell_at = tell_at


class WaitingRoom:
    def __init__(self, service: Service, target: Target, rules: QueueRules, metrics: BalanceMetrics) -> None:
        self._service = service
        self._target = target
        self._rules = rules
        self._seconds = metrics.queue_seconds.labels(target.route.name)
        self._refused = metrics.queue_refused
        self.queue: FairQueue[Exchange] = FairQueue()
        self._streams: dict[Place, None] = {}
        self._pumping = False
        self._interval = 0.0
        """Mean time between two that leave for an engine, of the last ones; 0 while unknown."""
        self._left_at = 0.0

    def __len__(self) -> int:
        return len(self.queue)

    def enter(self, exchange: Exchange) -> None:
        """Lets a request wait, or answers it with 503 when too many do."""
        rules, now = self._rules, monotonic()
        if len(self.queue) >= rules.max_waiting:
            self._refuse(exchange, "full", "queue_full", f"{len(self.queue)} requests wait for it already")
            return
        key, admitted = exchange.key, exchange.admitted
        output = 0 if admitted is None else admitted.output_tokens
        exchange.place = place = Place(
            exchange,
            "" if key is None else key.tenant,
            batch=key is not None and key.priority == "batch",
            cost=max(1, output + len(exchange.body) // BYTES_PER_TOKEN),
            now=now,
            tell_at=now + rules.position_seconds,
        )
        left = max(0.0, rules.max_wait_seconds - exchange.queued_seconds)
        exchange.deadline = min(now + left, exchange.total_deadline)
        self.queue.push(place)
        if admitted is not None and admitted.stream:
            self._streams[place] = None

    def leave(self, exchange: Exchange, now: float) -> None:
        """The request waits no longer, for whatever reason."""
        place, exchange.place = exchange.place, None
        if place is not None:
            self.queue.remove(place)
            self._streams.pop(place, None)
            exchange.queued_seconds += now - place.since
            self._seconds.observe(now - place.since)

    def expired(self, exchange: Exchange, now: float) -> None:
        """It waited as long as it may."""
        self.leave(exchange, now)
        seconds = self._rules.max_wait_seconds
        self._refuse(exchange, "expired", "queue_timeout", f"the request waited for {seconds:g} s, the longest allowed")

    def _refuse(self, exchange: Exchange, reason: str, code: str, why: str) -> None:
        name = self._target.route.name
        self._refused.labels(name, reason).inc()
        seconds = self.retry_after()
        message = f"No engine of the model `{name}` has room: {why}. Try again in {seconds} s."
        if self._target.pool.ready == 0:
            code, message = "no_engine", f"No engine of the model `{name}` is ready: {why}. Try again in {seconds} s."
        placing.no_place(exchange, Problem(503, message, code, headers=retry_after(seconds)), code)

    def retry_after(self) -> int:
        """When those that wait now may have left, in seconds: by the rate of the last ones, within bounds."""
        likely = ceil(len(self.queue) * self._interval)
        return max(RETRY_AFTER_SECONDS, min(likely, LONGEST_RETRY_AFTER_SECONDS))

    def freed(self) -> None:
        """An engine has room again: looked at once this turn of the loop is over."""
        if not self._pumping:
            self._pumping = True
            self._service.loop.call_soon(self.pump)

    def pump(self) -> None:
        """Sends those that wait to engines while there is room."""
        self._pumping = False
        now = monotonic()
        while self.queue and self._target.pool.has_room(now):
            waiter = self.queue.pop()
            if waiter is None:
                return
            exchange = waiter.item
            self.leave(exchange, now)
            self._note_departure(now)
            placing.place_from_room(exchange, self._target, now)

    def _note_departure(self, now: float) -> None:
        if self._left_at:
            gap = min(now - self._left_at, float(LONGEST_RETRY_AFTER_SECONDS))
            self._interval = gap if not self._interval else 0.9 * self._interval + 0.1 * gap
        self._left_at = now

    def tick(self, now: float) -> None:
        """Called by the sweep: engines may have come back by time alone, and streams are told where they stand."""
        if not self.queue:
            self._left_at = 0.0
            return
        self.pump()
        due = [place for place in self._streams if place.tell_at <= now]
        if not due:
            return
        positions = {waiter: number for number, waiter in enumerate(self.queue.in_order(), 1)}
        for place in due:
            place.tell_at = now + self._rules.position_seconds
            exchange = place.item
            told = b": queued position=%d\n\n" % positions[place]
            exchange.write(told, b"" if exchange.response_started else exchange.begin(EVENT_STREAM, 200))
