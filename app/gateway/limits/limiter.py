"""Asks Redis, or the own book while Redis is away, whether a request may go on, and settles what it used."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import hiredis
from prometheus_client import CollectorRegistry, Counter, Gauge

from app.gateway.limits.book import EPOCH, Book, Verdict
from app.gateway.limits.link import Link
from app.gateway.limits.plan import LEASE, Plan, make_plan
from app.gateway.limits.told import LOCAL_LINE, limit_lines, refusal, too_much
from app.gateway.tally import Counts

if TYPE_CHECKING:
    from app.gateway.config import GatewayConfig, Limits, ModelRoute
    from app.gateway.errors import Problem
    from app.gateway.keys.grant import Grant

MOST_BACKLOG = 20_000
"""Requests whose use Redis has not heard of yet; beyond it the oldest are forgotten, and counted."""
MOST_PLANS = 20_000
RENEW_SECONDS = LEASE / 1e6 / 3
RENEW_AT_ONCE = 500
FOR_EVER = 1e15

_NUMBERS = {int}

Done = Callable[["Problem | None"], None]


class LimitMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        checks = Counts("penstock_limit_checks", "Requests checked, by who did.", ["where"], registry=registry)
        self.refused = Counter(
            "penstock_limit_refusals", "Requests refused with 429.", ["scope", "limit"], registry=registry
        )
        self.local = Gauge(
            "penstock_limits_local",
            "1 while Redis is away and this gateway enforces its part of the limits alone.",
            registry=registry,
        )
        self.backlog = Gauge("penstock_limit_backlog", "Requests whose use is not in Redis yet.", registry=registry)
        self.forgotten = Counter(
            "penstock_limit_uses_forgotten", "Requests whose use Redis never heard of.", registry=registry
        )
        self.in_redis = checks.child("redis")
        self.in_book = checks.child("local")


class Permit:
    """One request's place under its limits. `ask` once, then `settle` once, whatever came of it."""

    __slots__ = ("_done", "_limiter", "_local", "_sent", "_settled", "asked_at", "lines", "name", "plan", "reserved")

    def __init__(self, limiter: Limiter, plan: Plan, tokens: int, nano: int) -> None:
        self._limiter = limiter
        self.plan = plan
        self.reserved = (tokens, nano)
        self.name = b""
        self.lines = b""
        """Header lines for the reply."""
        self.asked_at = 0.0
        self._done: Done | None = None
        self._sent = self._local = self._settled = False

    @property
    def member(self) -> bytes:
        return b"%b|%d|%d" % (self.name, *self.reserved)

    def ask(self, done: Done) -> None:
        """Calls `done` with a Problem, or with None where the request may go on: at once, or within 50 ms."""
        limiter = self._limiter
        rule = self.plan.policy.impossible(*self.reserved)
        if rule is not None:
            limiter.metrics.refused.labels(self.plan.policy.scopes[rule.scope].kind, rule.name).inc()
            self._settled = True
            done(too_much(self.plan.policy, rule, *self.reserved))
            return
        self.name = limiter.fresh_name()
        self._done = done
        link = limiter.link
        if link is not None and link.up:
            command = self.plan.admit(self.name, *self.reserved, whole=not link.by_digest)
            if link.call(command, self._replied):
                self._sent = True
                self.asked_at = time.monotonic()
                limiter.held[self.name] = self
                return
        self._decide_here()

    def _replied(self, reply: Any) -> None:
        limiter, link = self._limiter, self._limiter.link
        if type(reply) is list and _sound(reply, len(self.plan.policy.rules)):
            limiter.metrics.in_redis.value += 1
            done = self._done
            if reply[0] < 0 and done is not None and not self._settled and not self._local:
                self._done = None
                self.lines = self.plan.told.lines(reply)
                done(None)
            else:
                self._decided(_verdict(reply))
            return
        if reply is not None and link is not None:
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                if link.call(self.plan.admit(self.name, *self.reserved, whole=True), self._replied):
                    return
            else:
                link.distrust(f"a check is answered with {str(reply)[:80]!r}")
        if not self._settled:
            self._decide_here()

    def _decide_here(self) -> None:
        limiter = self._limiter
        limiter.metrics.in_book.value += 1
        self._local = True
        verdict = limiter.book.admit(
            self.plan.local, limiter.now(), FOR_EVER, self.name.decode("ascii"), *self.reserved
        )
        self._decided(verdict)

    def _decided(self, verdict: Verdict) -> None:
        limiter, done = self._limiter, self._done
        self._done = None
        rules = self.plan.local if self._local else self.plan.policy
        if verdict.admitted:
            problem = None
        else:
            rule = rules.rules[verdict.refused_by]
            problem = refusal(rules, verdict, self.reserved[0])
            if not self._settled:
                limiter.metrics.refused.labels(rules.scopes[rule.scope].kind, rule.name).inc()
                self._refused()
        if done is not None and not (self._settled and problem is None):
            self.lines = limit_lines(rules, verdict) + (LOCAL_LINE if self._local else b"")
            done(problem)

    def _refused(self) -> None:
        """Nothing is reserved, but Redis may have done so before its answer was given up."""
        self._settled = True
        self._limiter.held.pop(self.name, None)
        if self._local and self._sent:
            self._limiter.tell(self, (0, 0), force=False)

    def settle(self, tokens: int, nano: int) -> None:
        """Replaces the reservation by what was used. Further calls do nothing. Nobody waits for Redis."""
        if self._settled:
            return
        self._settled = True
        limiter = self._limiter
        limiter.held.pop(self.name, None)
        if self._local:
            limiter.book.settle(self.plan.local, limiter.now(), self.name.decode("ascii"), (tokens, nano), force=True)
        if limiter.link is not None:
            # A request that left before Redis answered used nothing: it must not be charged where it was refused.
            limiter.tell(self, (tokens, nano), force=self._done is None)


class Limiter:
    """The limits of one gateway process."""

    def __init__(
        self, config: GatewayConfig, registry: CollectorRegistry, tell: Callable[..., None] = lambda *_, **__: None
    ) -> None:
        self._config = config
        self._log = tell
        self.metrics = LimitMetrics(registry)
        self.link: Link | None = None
        """None where no cache is configured: then each gateway enforces its part."""
        self.book = Book()
        self.held: dict[bytes, Permit] = {}
        self.replicas = config.replicas
        """Gateways that share the limits."""
        self._plans: dict[tuple[str, str], tuple[Grant, Plan | None]] = {}
        self._tenants: Mapping[str, Limits] = config.tenants
        self._cap: Callable[[str], Limits | None] | None = None
        self._backlog: deque[tuple[Permit, tuple[int, int], bool]] = deque()
        self._prefix = os.urandom(8).hex().encode()
        self._numbers = count()
        self.metrics.backlog.set_function(lambda: len(self._backlog))

    def take_tenants(self, limits: Mapping[str, Limits]) -> None:
        """Limits of tenants that count over the configuration's."""
        tenants = {**self._config.tenants, **limits}
        if tenants != self._tenants:
            self._tenants = tenants
            self._plans.clear()

    def share_among(self, gateways: int) -> None:
        """So many gateways are there: while Redis is away each enforces its part. What was used stays used."""
        if gateways != self.replicas:
            self.replicas = gateways
            self._plans.clear()

    def cap(self, of: Callable[[str], Limits | None] | None) -> None:
        """From now on a tenant has no more than what `of` says of it; None: as configured."""
        self._cap = of
        self._plans.clear()

    def plan(self, key: Grant, route: ModelRoute) -> Plan | None:
        """The limits of a key's requests to a model; None where there are none. Kept until the key changes."""
        found = self._plans.get((key.id, route.name))
        if found is None or found[0] is not key:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            found = self._plans[key.id, route.name] = (
                key,
                make_plan(
                    self._config,
                    self._tenants,
                    key,
                    route,
                    None if self._cap is None else self._cap(key.tenant),
                    replicas=self.replicas,
                ),
            )
        return found[1]

    def permit(self, plan: Plan, tokens: int, nano: int) -> Permit:
        return Permit(self, plan, tokens, nano)

    def fresh_name(self) -> bytes:
        """Unique over all gateways and restarts; a client's request id is not."""
        return b"%b.%x" % (self._prefix, next(self._numbers))

    @staticmethod
    def now() -> float:
        return time.time() * 1e6 - EPOCH * 1e6

    def changed(self, up: bool, reason: str) -> None:
        """The connection to Redis came or went."""
        self.metrics.local.set(0 if up else 1)
        self._log("limits", redis=up, **({"reason": reason} if reason else {}))
        if up:
            backlog, self._backlog = self._backlog, deque()
            for permit, used, force in backlog:
                self.tell(permit, used, force=force)

    def tell(self, permit: Permit, used: tuple[int, int], *, force: bool, whole: bool = False) -> None:
        """Settles in Redis, now or when it is back."""
        link = self.link
        if link is not None and link.up:
            whole = whole or not link.by_digest
            command = permit.plan.settle(permit.name, permit.reserved, used, force=force, whole=whole)
            if link.call(command, lambda reply: self._told(reply, permit, used, force)):
                return
        if len(self._backlog) >= MOST_BACKLOG:
            self._backlog.popleft()
            self.metrics.forgotten.inc()
        self._backlog.append((permit, used, force))

    def _told(self, reply: Any, permit: Permit, used: tuple[int, int], force: bool) -> None:
        if type(reply) is int:
            return
        if isinstance(reply, hiredis.ReplyError):
            if str(reply).startswith("NOSCRIPT"):
                self.tell(permit, used, force=force, whole=True)
            else:
                self.metrics.forgotten.inc()
            return
        # Whether Redis did it is not known. Without force it is done once, if its reservation is still there.
        self.tell(permit, used, force=False)

    def renew(self) -> None:
        """Lets the reservations of long requests live on."""
        link = self.link
        if link is None or not link.up:
            return
        before = time.monotonic() - RENEW_SECONDS / 2
        by_plan: dict[int, tuple[Plan, list[bytes]]] = {}
        for permit in self.held.values():
            if permit.asked_at < before:
                by_plan.setdefault(id(permit.plan), (permit.plan, []))[1].append(permit.member)
        for plan, members in by_plan.values():
            for first in range(0, len(members), RENEW_AT_ONCE):
                link.call(plan.renew(members[first : first + RENEW_AT_ONCE]), None)

    async def keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            self.renew()


def _sound(reply: list[Any], rules: int) -> bool:
    """False for a list that the script cannot have made."""
    return len(reply) == 2 + 2 * rules and {*map(type, reply)} == _NUMBERS and -1 <= reply[0] < rules and reply[1] >= 0


def _verdict(reply: list[int]) -> Verdict:
    return Verdict(reply[0], reply[1], tuple(zip(reply[2::2], reply[3::2], strict=True)))
