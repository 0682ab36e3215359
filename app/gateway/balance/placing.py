"""How a request comes to an engine: straight, through the waiting room, or to a second one."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.balance.affinity import affinity
from app.gateway.errors import Problem, no_engine
from app.gateway.retry import Failure

PACED = frozenset({"overloaded", "engine_draining", "connect"})
"""Engines that took nothing: who waits for them costs them nothing, so neither tries nor the retry budget count."""

if TYPE_CHECKING:
    from app.gateway.choose import Engine
    from app.gateway.exchange import Exchange
    from app.gateway.retry import Failure
    from app.gateway.service import Target


def place(exchange: Exchange, target: Target, now: float) -> None:
    """Sends an admitted request to an engine, or lets it wait, or answers it with 503."""
    if target.near:
        tenant = "" if exchange.key is None else exchange.key.tenant
        prefix = b"" if exchange.admitted is None else exchange.admitted.prefix
        exchange.near, exchange.balance_lines = affinity(target.route, tenant, exchange.sticky_headers, prefix)
    else:
        exchange.near = None  # of the target that was tried before
    room = target.room
    engine = choose(exchange, target, now) if not room else None  # nobody overtakes those that wait
    if engine is not None:
        exchange.try_engine(engine)
        if target.hedger is not None:
            exchange.hedge = target.hedger.watch(exchange)
    elif room is not None:
        room.enter(exchange)
        room.freed()
    else:
        no_place(exchange, no_engine(target.route.name), "no_engine")


def choose(exchange: Exchange, target: Target, now: float) -> Engine | None:
    return target.pool.choose(now, exchange.tried, exchange.near)


def no_place(exchange: Exchange, problem: Problem, reason: str) -> None:
    """The model has no room for the request: the next one of its chain answers, or the problem does."""
    course = exchange.course
    if course is None or exchange.response_started or not course.failed(Failure(reason, problem, rest="no")):
        exchange.answer(problem)


def place_from_room(exchange: Exchange, target: Target, now: float) -> None:
    """An engine has room for this request, which waited: its time for the answer begins."""
    exchange.total_deadline = now + exchange.service.config.timeouts.total_seconds
    if not exchange.response_started:
        exchange.balance_lines += b"x-penstock-queued-seconds: %.3f\r\n" % exchange.queued_seconds
    engine = choose(exchange, target, now) or target.pool.choose(now)
    if engine is None:
        no_place(exchange, no_engine(target.route.name), "no_engine")
    else:
        exchange.try_engine(engine)


def may_wait(exchange: Exchange, target: Target, failure: Failure, *, more: bool) -> bool:
    """True where a request that no other engine can take now may wait. `more`: it may be tried again."""
    if target.room is None:
        return False
    if failure.reason in PACED:
        return exchange.course is None  # else the next model of its chain is better than a wait
    return more and len(target.pool.engines) > 1


def wait(exchange: Exchange, target: Target, engine: Engine, failure: Failure, now: float) -> None:
    """Lets a request wait that an engine did not take."""
    if target.room is None:
        return
    if failure.reason in PACED:
        target.pool.full(engine, now)
        exchange.tries_before = exchange.tries  # it was not at work on it
        exchange.tried.clear()
    target.room.enter(exchange)


def expired(exchange: Exchange, now: float) -> bool:
    """A deadline passed. True when it was none of the engine's that answers."""
    if exchange.place is not None and exchange.target is not None and exchange.target.room is not None:
        exchange.target.room.expired(exchange, now)
        return True
    return exchange.hedge is not None and exchange.hedge.expired(now)


def leave(exchange: Exchange, status: int) -> None:
    """The request ends, wherever it is."""
    if exchange.place is not None and exchange.target is not None and exchange.target.room is not None:
        exchange.target.room.leave(exchange, monotonic())
    if exchange.hedge is not None:
        exchange.hedge.close(status)


def may_go_on(exchange: Exchange) -> bool:
    """True for a stream of plain text: another engine can most likely go on with it."""
    progress = None if exchange.kept is None else exchange.kept.progress()
    return progress is not None and not progress.obstacle and not progress.beyond_text


def log_fields(exchange: Exchange) -> dict[str, object]:
    fields: dict[str, object] = {}
    if exchange.queued_seconds:
        fields["queued_ms"] = round(exchange.queued_seconds * 1e3, 2)
    if exchange.hedge is not None and exchange.hedge.sent:
        fields["hedged"] = True
    return fields
