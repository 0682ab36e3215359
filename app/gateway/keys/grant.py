"""What one key or token may do, in the form that the hot path reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.gateway.config import Access, Limits, ModelRoute, Priority
from app.gateway.errors import Problem, Refused
from app.gateway.keys.problems import DISABLED, model_not_allowed, route_not_allowed

NEVER = float("inf")


@dataclass(slots=True, eq=False)
class Grant:
    """Two grants are the same only as one object: what is kept by grant ends with it."""

    id: str
    tenant: str = "default"
    priority: Priority = "interactive"
    limits: Limits | None = None
    models: frozenset[str] | None = None
    routes: frozenset[str] | None = None
    ceiling: int | None = None
    ceilings: Mapping[str, int] = field(default_factory=dict)
    most_usd: float | None = None
    """For one request."""
    expires_at: float = NEVER
    """Unix time."""
    barred: Problem | None = None
    """Why this key opens nothing, where it does not."""
    job: bool = False
    """Asked for by a worker, in the key's name."""
    stored: bool = False
    """From the database, which wants to know when it was last used."""
    used_day: int = 0
    """Days since 1970 (UTC)."""
    _visible: Visible | None = None

    @classmethod
    def of(cls, identity: str, access: Access, *, stored: bool = False) -> Grant:
        return cls(
            id=identity,
            tenant=access.tenant,
            priority=access.priority,
            limits=access.limits,
            models=None if access.models is None else frozenset(access.models),
            routes=None if access.routes is None else frozenset(access.routes),
            ceiling=access.max_output_tokens,
            ceilings=access.max_output_tokens_by_model,
            most_usd=access.max_usd_per_request,
            expires_at=NEVER if access.expires_at is None else access.expires_at.timestamp(),
            barred=None if access.enabled else DISABLED,
            stored=stored,
        )

    def require_route(self, route: str) -> None:
        """Raises Refused (403)."""
        if self.routes is not None and route not in self.routes:
            raise Refused(route_not_allowed(route, self.routes))

    def visible(self, routes: Mapping[str, ModelRoute]) -> Mapping[str, ModelRoute] | Visible:
        """The names that this key may ask for, of all that the gateway serves, with the key's ceilings."""
        if self.models is None and self.ceiling is None and not self.ceilings:
            return routes
        if self._visible is None or self._visible.all is not routes:
            self._visible = Visible(self, routes)
        return self._visible


class Visible:
    """A part of the gateway's models. Asking it for another one of them is refused, and says what is allowed."""

    __slots__ = ("_routes", "all")

    def __init__(self, grant: Grant, routes: Mapping[str, ModelRoute]) -> None:
        self.all = routes
        models = grant.models
        self._routes = {
            name: _held(grant, route)
            for name, route in routes.items()
            if models is None or name in models or route.name in models
        }

    def get(self, name: str) -> ModelRoute | None:
        """None for a name that nobody may ask for. Raises Refused (403)."""
        found = self._routes.get(name)
        if found is None and name in self.all:
            raise Refused(model_not_allowed(name, self._routes))
        return found

    def items(self) -> Iterable[tuple[str, ModelRoute]]:
        return self._routes.items()


def _held(grant: Grant, route: ModelRoute) -> ModelRoute:
    """The route with the lowest of the ceilings."""
    given = (route.max_output_tokens, grant.ceiling, grant.ceilings.get(route.name))
    least = min(one for one in given if one is not None)
    return route if least == route.max_output_tokens else route.model_copy(update={"max_output_tokens": least})
