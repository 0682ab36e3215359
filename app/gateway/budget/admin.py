"""The admin API's part about budgets: GET /admin/v1/budget, PUT and DELETE /admin/v1/budget/override."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from app.gateway.budget.levels import Level
from app.gateway.errors import Problem, Refused, unknown_url, wrong_method
from app.gateway.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.gateway.keys.admin import Call
    from app.gateway.keys.store import Store
    from app.gateway.service import Service

SHORTEST_SECONDS, LONGEST_SECONDS = 10, 31 * 86_400
NO_BUDGET = Problem(404, "There is no budget that this gateway acts by: `budget` is not configured.", "no_budget")


class NewOverride(Strict):
    level: Level = Field(description="The level that counts over all signals.")
    seconds: int = Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS, description="How long; then signals count again.")
    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = Field(
        description="For people, and for the audit."
    )


def work(service: Service, call: Call, parts: list[str]) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """What a request asks for. Raises Refused."""
    from app.gateway.keys import forms

    steward = service.steward
    if steward is None:
        raise Refused(NO_BUDGET)
    if parts == ["budget"]:
        if call.method != "GET":
            raise Refused(wrong_method(call.method, call.path, "GET"))
        return lambda store: _show(service)
    if parts != ["budget", "override"]:
        raise Refused(unknown_url(call.method, call.path))
    if call.method == "DELETE":
        return lambda store: _clear(service, store)
    if call.method != "PUT":
        raise Refused(wrong_method(call.method, call.path, "PUT, DELETE"))
    wanted = forms.read(NewOverride, call.body)
    return lambda store: _set(service, store, wanted)


async def _show(service: Service) -> tuple[int, Any]:
    if service.budget_follower is not None:
        await service.budget_follower.loaded()
    assert service.steward is not None  # noqa: S101 - looked at in `work`
    return 200, service.steward.state()


async def _set(service: Service, store: Store, wanted: NewOverride) -> tuple[int, Any]:
    from app.gateway.budget.store import set_override

    async with store.connection.transaction():
        await set_override(store.connection, wanted.level, wanted.seconds, store.actor.name, wanted.reason)
        await store.audit_row("budget.override", wanted.level, wanted.model_dump(mode="json"))
    return await _show(service)


async def _clear(service: Service, store: Store) -> tuple[int, Any]:
    """Safe to repeat."""
    from app.gateway.budget.store import clear_override

    async with store.connection.transaction():
        await clear_override(store.connection)
        await store.audit_row("budget.clear", "override", {})
    return await _show(service)
