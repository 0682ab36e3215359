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
from app.gateway.limits.plan import LEASE, Plan, Settlement, make_plan, model_plan
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
AT_ONCE = 64
"""Requests of one call: Redis does nothing else meanwhile (64 take it about a millisecond)."""
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

    __slots__ = ("_done", "_limiter", "_local", "_sent", "_settled", "asked_at", "lines", "member", "plan", "reserved")

    def __init__(self, limiter: Limiter, plan: Plan, tokens: int, nano: int) -> None:
        self._limiter = limiter
        self.plan = plan
        self.reserved = (tokens, nano)
        self.member = b""
        """Its reservation's name, unique over all gateways and restarts, with what is reserved."""
        self.lines = b""
        """Header lines for the reply."""
        self.asked_at = 0.0
        self._done: Done | None = None
        self._sent = self._local = self._settled = False

    def ask(self, done: Done) -> None:
        """Calls `done` with a Problem, or with None where the request may go on: at once, or within 50 ms."""
        limiter = self._limiter
        rule = self.plan.impossible(*self.reserved)
        if rule is not None:
            limiter.metrics.refused.labels(self.plan.policy.scopes[rule.scope].kind, rule.name).inc()
            self._settled = True
            done(too_much(self.plan.policy, rule, *self.reserved))
            return
        self.member = b"%b|%d|%d" % (limiter.fresh_name(), *self.reserved)
        self._done = done
        if not limiter.ask(self):
            self.decide_here()

    @property
    def waits(self) -> bool:
        """True until its request was let in or not, or ended before."""
        return not self._settled and self._done is not None

    def sent(self, now: float) -> None:
        """Redis is asked."""
        self._sent = True
        self.asked_at = now
        self._limiter.held[self.member] = self

    def replied(self, reply: list[int]) -> None:
        """Redis' verdict."""
        limiter = self._limiter
        limiter.metrics.in_redis.value += 1
        done = self._done
        if reply[0] < 0 and done is not None and not self._settled and not self._local:
            self._done = None
            self.lines = self.plan.told.lines(reply)
            done(None)
        else:
            self._decided(_verdict(reply))

    def decide_here(self) -> None:
        """Redis is away, or says nothing of use."""
        if self._settled:
            return
        limiter = self._limiter
        limiter.metrics.in_book.value += 1
        self._local = True
        verdict = limiter.book.admit(
            self.plan.local, limiter.now(), FOR_EVER, self.member.decode("ascii"), *self.reserved
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
        self._limiter.held.pop(self.member, None)
        if self._local and self._sent:
            self._limiter.tell(Settlement(self, 0, 0, False))

    def settle(self, tokens: int, nano: int) -> None:
        """Replaces the reservation by what was used. Further calls do nothing. Nobody waits for Redis."""
        if self._settled:
            return
        self._settled = True
        limiter = self._limiter
        limiter.held.pop(self.member, None)
        if self._local:
            limiter.book.settle(self.plan.local, limiter.now(), self.member.decode("ascii"), (tokens, nano), force=True)
        if limiter.link is not None and (self._sent or self._local):
            # A request that left before Redis answered used nothing: it must not be charged where it was refused.
            limiter.tell(Settlement(self, tokens, nano, self._done is None))


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
        self._backlog: deque[Settlement] = deque()
        self._busy: list[Plan] = []
        """Plans with something to tell by the next write to Redis."""
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

    def plan(self, key: Grant, route: ModelRoute | None) -> Plan | None:
        """The limits of a key's requests to a model; None where there are none. Kept until the key changes.

        Without `route`: all but a model's, of a request that a chain may bring to several models.
        """
        name = "" if route is None else route.name
        found = self._plans.get((key.id, name))
        if found is None or found[0] is not key:
            cap = None if self._cap is None else self._cap(key.tenant)
            plan = make_plan(self._config, self._tenants, key, route, cap, replicas=self.replicas)
            found = self._keep_plan(key, name, plan)
        return found[1]

    def model_plan(self, key: Grant, route: ModelRoute) -> Plan | None:
        """The model's own limits alone; None where it has none. The key says whether a request is of a batch."""
        name = f"{route.name} alone"  # no name of a model has a space
        found = self._plans.get((key.id, name))
        if found is None or found[0] is not key:
            found = self._keep_plan(key, name, model_plan(self._config, key, route, replicas=self.replicas))
        return found[1]

    def _keep_plan(self, key: Grant, name: str, plan: Plan | None) -> tuple[Grant, Plan | None]:
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        found = self._plans[key.id, name] = (key, plan)
        return found

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
            for one in backlog:
                self.tell(one)

    def ask(self, permit: Permit) -> bool:
        """Asks Redis by the next write, in one call with the plan's other requests. False where Redis is away."""
        plan = permit.plan
        if not self._is_busy(plan):
            return False
        plan.asking.append(permit)
        return True

    def tell(self, one: Settlement) -> None:
        """Settles in Redis, by the next write or when it is back."""
        plan = one.permit.plan
        if self._is_busy(plan):
            plan.settling.append(one)
        else:
            self._keep([one])

    def _is_busy(self, plan: Plan) -> bool:
        """Puts a plan among those that are called for by the next write. False where Redis is away."""
        link = self.link
        if link is None:
            return False
        if not plan.asking and not plan.settling:
            if not self._busy and not link.before_write(self._call):
                return False
            self._busy.append(plan)
        return True

    def _call(self) -> None:
        """The calls of all that came in one turn of the loop. What ended gives room to what begins."""
        busy, self._busy = self._busy, []
        work = [(plan, plan.settling, plan.asking) for plan in busy]
        for plan in busy:
            plan.settling, plan.asking = [], []
        for plan, settling, _ in work:
            for first in range(0, len(settling), AT_ONCE):
                self._settle(plan, settling[first : first + AT_ONCE])
        now = time.monotonic()
        for plan, _, asking in work:
            waiting = [permit for permit in asking if permit.waits]
            for first in range(0, len(waiting), AT_ONCE):
                some = waiting[first : first + AT_ONCE]
                if self._admit(plan, some):
                    for permit in some:
                        permit.sent(now)
                else:
                    _decide_here(some)

    def _admit(self, plan: Plan, some: list[Permit], *, whole: bool = False) -> bool:
        link = self.link
        if link is None:
            return False
        command = plan.admit(some, whole=whole or not link.by_digest)
        return link.call(command, lambda reply: self._replied(reply, plan, some))

    def _replied(self, reply: Any, plan: Plan, some: list[Permit]) -> None:
        width, link = plan.width, self.link
        if type(reply) is list and _sound(reply, len(plan.policy.rules), len(some)):
            if len(some) == 1:
                some[0].replied(reply)
                return
            for number, permit in enumerate(some):
                permit.replied(reply[number * width : (number + 1) * width])
            return
        if reply is not None and link is not None:
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                if self._admit(plan, some, whole=True):
                    return
            else:
                link.distrust(f"a check is answered with {str(reply)[:80]!r}")
        _decide_here(some)

    def _settle(self, plan: Plan, some: list[Settlement], *, whole: bool = False) -> None:
        link = self.link
        if link is not None:
            command = plan.settle(some, whole=whole or not link.by_digest)
            if link.call(command, lambda reply: self._settled(reply, plan, some)):
                return
        self._keep(some)

    def _settled(self, reply: Any, plan: Plan, some: list[Settlement]) -> None:
        if type(reply) is int:
            return
        if isinstance(reply, hiredis.ReplyError):
            if str(reply).startswith("NOSCRIPT"):
                self._settle(plan, some, whole=True)
            else:
                self.metrics.forgotten.inc(len(some))
            return
        # Whether Redis did it is not known. Without force it is done once, if its reservation is still there.
        for one in some:
            self.tell(one._replace(force=False))

    def _keep(self, some: list[Settlement]) -> None:
        """Until Redis is back."""
        for one in some:
            if len(self._backlog) >= MOST_BACKLOG:
                self._backlog.popleft()
                self.metrics.forgotten.inc()
            self._backlog.append(one)

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


def _decide_here(some: list[Permit]) -> None:
    for permit in some:
        permit.decide_here()


def _sound(reply: list[Any], rules: int, requests: int) -> bool:
    """False for a list that the script cannot have made."""
    width = 2 + 2 * rules
    return (
        len(reply) == width * requests
        and {*map(type, reply)} == _NUMBERS
        and all(-1 <= refused < rules for refused in reply[::width])
        and min(reply[1::width]) >= 0
    )


def _verdict(reply: list[int]) -> Verdict:
    return Verdict(reply[0], reply[1], tuple(zip(reply[2::2], reply[3::2], strict=True)))
