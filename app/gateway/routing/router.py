"""What routing knows for all requests: routes, rules, facts of models, circuit breakers. Each request gets a Course."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.config import ModelRoute
from app.gateway.errors import Problem, Refused
from app.gateway.routing.adapt import cap, ceiling, held, use_model
from app.gateway.routing.breaker import Breaker
from app.gateway.routing.config import Route
from app.gateway.routing.course import Course
from app.gateway.routing.decide import Decision, Facts, decide
from app.gateway.routing.features import read_features
from app.gateway.routing.knowledge import Knowledge, load_knowledge
from app.gateway.routing.metrics import NO_MODEL, RoutingMetrics
from app.gateway.routing.rules import Rules
from app.gateway.routing.wishes import read_wishes
from app.gateway.settings import SettingsError

if TYPE_CHECKING:
    from app.gateway.admit import Admitted
    from app.gateway.exchange import Exchange
    from app.gateway.service import Service, Target

_STATES = {"closed": 0.0, "half-open": 0.5, "open": 1.0}


class Plan:
    """One route, compiled. `route` is what admission checks a request against: the widest of its models."""

    __slots__ = ("facts", "route", "rules", "settings")

    def __init__(self, settings: Route, rules: Rules, targets: dict[str, Target]) -> None:
        self.settings = settings
        self.rules = rules
        models = [targets[name].route for name in dict.fromkeys(name for _, name in settings.models())]
        self.facts = {route.name: facts_of(route) for route in models}
        self.route = models[0].model_copy(
            update={
                "name": settings.name,
                "aliases": (),
                "context_tokens": max(route.context_tokens for route in models),
                "max_output_tokens": max(route.max_output_tokens for route in models),
                "limits": None,
            }
        )


def facts_of(route: ModelRoute) -> Facts:
    return Facts(
        route.name,
        route.context_tokens,
        route.max_output_tokens,
        route.input_usd_per_million_tokens,
        route.output_usd_per_million_tokens,
    )


class Router:
    """Raises SettingsError, at the start alone, for a pattern or a knowledge file that cannot be used."""

    def __init__(self, service: Service, metrics: RoutingMetrics) -> None:
        self.config = config = service.config
        routing = config.routing
        self.targets = targets = {**service.targets, **service.outside}
        self.none = _no_model(service)
        self.metrics = metrics
        self.plans: dict[str, Plan] = {}
        for settings in routing.routes:  # the route of a model is that of its aliases too
            plan = Plan(settings, _rules(settings, routing.templates), targets)
            own = targets.get(settings.name)
            self.plans |= dict.fromkeys((settings.name, *(own.route.aliases if own is not None else ())), plan)
        named = {name for plan in self.plans.values() for name in plan.facts}
        for name, plan in self.plans.items():
            service.by_name[name] = targets[plan.settings.to]
            service.routes[name] = plan.route
        self._own = dict(self.plans)
        """As configured; `plans` has other ones while names are moved."""
        self._moved: dict[str, Plan] = {}
        self._spared: frozenset[str] = frozenset()
        self.breakers = {name: Breaker(routing.breaker) for name in sorted(named)}
        for name, breaker in self.breakers.items():
            metrics.circuit.labels(name).set_function(lambda one=breaker: _STATES[one.state(monotonic())])
        # Own models without which a gateway is ready all the same: their routes have another way out.
        self.covered = frozenset(
            name
            for name, plan in self.plans.items()
            if plan.settings.canned is not None
            or any(targets[model].outside is not None for model in (plan.settings.to, *plan.settings.fallback))
        )
        self.knowledge: Knowledge | None = None
        if routing.knowledge_file is not None:
            try:
                self.knowledge = load_knowledge(Path(routing.knowledge_file))
            except ValueError as error:
                raise SettingsError(str(error)) from None

    def take(self, exchange: Exchange, admitted: Admitted, body: bytes) -> tuple[Target, bytes]:
        """Decides on a request: the first model, and the body for it. Raises Refused where it may cost too much."""
        moved = self._moved.get(admitted.model)
        if moved is not None and exchange.key is not None and exchange.key.tenant in self._spared:
            moved = None
        plan = moved or self._own.get(admitted.model)
        if plan is None:  # a plain model, of a client with a ceiling of cost
            plan = self._plain(admitted.model)
        features, wishes = read_features(body), read_wishes(exchange.wishes, exchange.key)
        if exchange.intent is not None:
            wishes = replace(wishes, intent=exchange.intent)
        decision = decide(plan.settings, plan.rules, features, wishes, plan.facts)
        if moved is not None and decision.reason not in ("template", "context", "cost"):
            decision = replace(decision, reason="budget")
        if decision.refusal:
            raise Refused(Problem(400, decision.refusal, "cost_ceiling_exceeded"))
        exchange.course = Course(self, exchange, plan.settings, decision, features, wishes, admitted.ceiling)
        first = decision.chain[0] if decision.chain else NO_MODEL
        if plan.settings.name in self.plans:
            self.metrics.routed.labels(plan.settings.name, first, decision.reason).inc()
            exchange.route_lines = _told(plan.settings.name, first, decision)
        if not decision.chain:
            admitted.output_tokens, admitted.add_limit = 0, b""
            return self.none, body
        target = self.targets[first]
        route = held(target.route, exchange.course.ceiling(target.route.name))
        admitted.ceiling = route.max_output_tokens
        tokens, admitted.add_limit = ceiling(exchange.route, features.asked_tokens, route)
        admitted.output_tokens = tokens * features.choices
        exchange.course.named = admitted.model
        if admitted.model not in (target.route.name, *target.route.aliases):
            exchange.course.named = target.route.name
            body = use_model(body, target.route.name)
        return target, cap(exchange.route, body, features.asked_tokens, route)

    def move(self, models: Mapping[str, str], spared: Collection[str] = ()) -> None:
        """From now on the names in `models` are answered by others, but not for the tenants `spared`. {}: none is.

        A request that the other model cannot hold, or that fails there, still gets the name's own model.
        """
        self._spared = frozenset(spared)
        own = {name: target for target in self.targets.values() for name in (target.route.name, *target.route.aliases)}
        to = {own[name].route.name if name in own else name: other for name, other in models.items()}
        self._moved = {name: self._moved_plan(plan, to) for name, plan in self._own.items() if _names(plan) & to.keys()}
        for name, other in models.items():
            names = [name]
            if name in own and name == own[name].route.name:
                names += own[name].route.aliases
            for each in names:
                if each in own and each not in self._own:
                    fallback = (own[each].route.name,)
                    settings = Route(name=each, to=other, fallback=fallback, check_output=False)
                    self._moved[each] = Plan(settings, Rules(settings, {}), self.targets)
        self.plans = self._own | self._moved

    def _moved_plan(self, plan: Plan, to: Mapping[str, str]) -> Plan:
        """A route with the same rules, whose models are others; its own first one is the last of its chain."""
        settings = plan.settings
        first = to.get(settings.name, to.get(settings.to, settings.to))
        chain = (*(to.get(name, name) for name in settings.fallback), settings.to)
        changes = {
            "to": first,
            "fallback": tuple(dict.fromkeys(name for name in chain if name != first)),
            "tasks": tuple(one.model_copy(update={"to": to.get(one.to, one.to)}) for one in settings.tasks),
            "when": tuple(one.model_copy(update={"to": to.get(one.to, one.to)}) for one in settings.when),
            "levels": tuple(one.model_copy(update={"to": to.get(one.to, one.to)}) for one in settings.levels),
        }
        if settings.experiment is not None:
            shares = settings.experiment.shares
            moved = tuple(one.model_copy(update={"to": to.get(one.to, one.to)}) for one in shares)
            changes["experiment"] = settings.experiment.model_copy(update={"shares": moved})
        return Plan(settings.model_copy(update=changes), plan.rules, self.targets)

    def _plain(self, name: str) -> Plan:
        target = next(t for t in self.targets.values() if name in (t.route.name, *t.route.aliases))
        settings = Route(name=name, to=target.route.name, check_output=False)
        return Plan(settings, Rules(settings, {}), self.targets)


def _names(plan: Plan) -> set[str]:
    """What moves a route: its own name, or a model of it."""
    return {plan.settings.name, *(name for _, name in plan.settings.models())}


def _rules(settings: Route, templates: dict[str, str]) -> Rules:
    try:
        return Rules(settings, templates)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _no_model(service: Service) -> Target:
    """The target of a request that no model answers: it is counted, and costs nothing."""
    from app.gateway.choose import Pool
    from app.gateway.service import Target

    route = ModelRoute(name=NO_MODEL, selector=NO_MODEL, context_tokens=1, max_output_tokens=1)
    headers = f"x-penstock-colour: {service.config.colour}\r\nx-penstock-model: {NO_MODEL}\r\n".encode()
    return Target(route, Pool(), service.metrics.models[NO_MODEL], headers)


def _told(name: str, first: str, decision: Decision) -> bytes:
    detail = f"; {decision.detail}" if decision.detail else ""
    return f"x-penstock-route: {name}; to={first}; reason={decision.reason}{detail}\r\n".encode()
