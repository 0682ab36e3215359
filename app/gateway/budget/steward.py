"""What a level does in this gateway: other models for names, no batch, capped tenants. All of it goes back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from app.gateway.budget.levels import LEVELS, NONE, NORMAL, Effects, Signal, Standing, effects, evaluate, rank
from app.gateway.budget.metrics import BudgetMetrics
from app.gateway.config import Limits
from app.gateway.errors import Problem, Refused, retry_after

if TYPE_CHECKING:
    from app.gateway.budget.settings import BudgetActions
    from app.gateway.budget.store import Known
    from app.gateway.keys.grant import Grant
    from app.gateway.service import Service

BATCH_RETRY_SECONDS = 900
"""Batch is worth another look four times an hour; a budget seldom comes back sooner."""
BATCH_STOPPED = Problem(
    429,
    "Batch requests are stopped: the platform's budget is nearly spent. Interactive requests go on.",
    "budget_batch_stopped",
    headers=(*retry_after(BATCH_RETRY_SECONDS), (b"x-should-retry", b"false")),
)


class Steward:
    def __init__(self, service: Service, rules: BudgetActions) -> None:
        self.rules = rules
        self.standing: Standing = NORMAL
        self.since = time.time()
        self.known: Known | None = None
        self.metrics = BudgetMetrics(service.metrics.registry)
        self._service = service
        self._of: dict[str, Effects] = {}
        self._plain = [(target, target.reply_headers) for target in service.router.targets.values()]
        capped = rules.capped_limits
        self._cap = Limits(**capped.model_dump())

    def require(self, key: Grant | None) -> None:
        """Raises Refused (429) for a batch request that must wait."""
        if key is not None and key.priority == "batch" and self.on(key.tenant).no_batch:
            self.metrics.refused.inc()
            raise Refused(BATCH_STOPPED)

    def on(self, tenant: str) -> Effects:
        found = self._of.get(tenant)
        if found is None:
            if len(self._of) > 10_000:
                self._of.clear()
            found = self._of[tenant] = effects(self.standing.level, tenant, self.rules)
        return found

    def _limits_of(self, tenant: str) -> Limits | None:
        return self._cap if self.on(tenant).capped else None

    def take(self, known: Known, now: float) -> bool:
        """Works the level out anew and acts by it. True where it changed."""
        self.known = known
        standing = evaluate(self.rules, known.signals, known.override, now)
        shares = [one.percent for one in known.signals if one.percent is not None and one.holds(now)]
        self.metrics.percent.set(max(shares, default=-1))
        was, self.standing = self.standing, standing
        if standing.level == was.level:
            return False
        self.since = now
        self._act(was)
        return True

    def _act(self, was: Standing) -> None:
        level, service = self.standing.level, self._service
        self._of.clear()
        service.router.move(
            self.rules.cheaper_models if rank(level) >= rank("cheaper") else {}, self.rules.protected_tenants
        )
        service.limiter.cap(self._limits_of if level == LEVELS[-1] else None)
        line = b"" if level == "normal" else b"x-penstock-budget: %b\r\n" % level.encode()
        for target, plain in self._plain:
            target.reply_headers = plain + line
        self.metrics.show(level)
        self.metrics.changes.labels(level).inc()
        service.log.event("budget", level=level, was=was.level, reason=self.standing.reason)

    def state(self) -> dict[str, Any]:
        """For admins."""
        now, standing, known = time.time(), self.standing, self.known
        reached = effects(standing.level, "", self.rules) if standing.level != "normal" else NONE
        signals = () if known is None else known.signals
        return {
            "object": "budget",
            "level": standing.level,
            "automatic_level": standing.automatic,
            "reason": standing.reason,
            "since": _shown(known.since if known is not None and known.recorded == standing.level else self.since),
            "override": None
            if standing.override is None
            else {
                "level": standing.override.level,
                "until": _shown(standing.override.until),
                "actor": standing.override.actor,
                "reason": standing.override.reason,
            },
            "acts": {
                "moved_models": self.rules.cheaper_models if reached.cheaper else {},
                "batch_stopped": reached.no_batch,
                "capped": None if standing.level != LEVELS[-1] else self._cap.model_dump(exclude_none=True),
                "protected_tenants": self.rules.protected_tenants,
            },
            "thresholds": self.rules.thresholds.model_dump(),
            "signals": [_signal(one, now) for one in signals],
        }


def _shown(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def _signal(signal: Signal, now: float) -> dict[str, Any]:
    return {
        "source": signal.source,
        "kind": signal.kind,
        "percent": signal.percent,
        "at": _shown(signal.at),
        "holds": signal.holds(now),
        "detail": signal.detail,
    }
