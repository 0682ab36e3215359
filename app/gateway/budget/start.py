"""Brings budgets that act to life in a gateway. What is not used is not imported."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from app.gateway.budget.steward import Steward
from app.gateway.settings import SettingsError

if TYPE_CHECKING:
    from app.gateway.database.settings import Database
    from app.gateway.service import Service

QUEUE_URL = "PENSTOCK_EVENTS_QUEUE_URL"


def start(
    service: Service,
    database: Database | None,
    url: str,
    environment: Mapping[str, str],
    spawn: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """`url`: of the queue; empty: none is read. `environment`: the pod's AWS_ variables. Raises SettingsError."""
    rules = service.config.budget
    if rules is None:
        return
    if database is None:
        raise SettingsError(
            "budget: gateways agree on the level in the database: set PENSTOCK_KEYS_DATABASE and "
            "PENSTOCK_DATABASE_ADDRESS, or leave `budget` out"
        )
    from app.gateway.budget.follow import Follower  # asyncpg takes 4 MB, aiohttp 8
    from app.gateway.budget.queue import Queue

    queue = None
    if url:
        try:
            queue = Queue(url, environment)
        except ValueError as error:
            raise SettingsError(f"{QUEUE_URL}: {error}") from None
    else:
        service.log.event("budget_queue", usable=False, reason=f"{QUEUE_URL} is not set")
    service.steward = steward = Steward(service, rules)
    service.budget_follower = follower = Follower(steward, database, service.log, queue)
    spawn(follower.run())
    if queue is not None:
        spawn(follower.read_queue())
    if rules.monthly_usd is not None:
        spawn(follower.sum_up())
