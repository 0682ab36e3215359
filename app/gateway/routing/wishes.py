"""What a client, or its key, says about routing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.gateway.errors import Problem, Refused
from app.gateway.routing.decide import Wishes

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant

TASK, MOST_COST, FALLBACK = b"x-penstock-task", b"x-penstock-max-cost-usd", b"x-penstock-fallback"
WISHES = frozenset({TASK, MOST_COST, FALLBACK})
MOST_USD = 1e9


def read_wishes(headers: Mapping[bytes, bytes], key: Grant | None) -> Wishes:
    """Raises Refused for a header that cannot be read."""
    most: float | None = None
    given = headers.get(MOST_COST)
    if given is not None:
        try:
            most = float(given)
        except ValueError:
            most = -1.0
        if not 0 < most < MOST_USD:
            message = "Invalid value for the header `x-penstock-max-cost-usd`: it must be US dollars above 0."
            raise Refused(Problem(400, message, "invalid_max_cost"))
    if key is not None and key.most_usd is not None:
        most = key.most_usd if most is None else min(most, key.most_usd)
    fallback = headers.get(FALLBACK, b"on").strip().lower()
    if fallback not in (b"on", b"off"):
        message = "Invalid value for the header `x-penstock-fallback`: it may be on or off."
        raise Refused(Problem(400, message, "invalid_fallback"))
    return Wishes(
        tenant="" if key is None else key.tenant,
        task=headers.get(TASK, b"").strip().decode("latin-1"),
        most_usd=most,
        fallback=fallback == b"on",
    )
