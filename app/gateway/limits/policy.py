"""What limits say, as the numbers that both Redis and the local book work with. Without I/O.

Units: time in microseconds, money in nano-dollars (10^-9 USD, whole numbers), so that sums stay exact in a double.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.gateway.config import Limits

NANO = 1_000_000_000
MINUTE = 60_000_000
UNKNOWN_WAIT = 1_000_000
"""The wait that is told where only the end of other requests makes room: nobody knows when that is."""
RPM_BURST_SECONDS = 10
"""Without a burst setting, the requests of so many seconds may come at once under a limit per minute."""

Code = Literal["s", "m", "t", "c", "d", "o"]
NAMES: dict[Code, str] = {
    "s": "requests_per_second",
    "m": "requests_per_minute",
    "t": "tokens_per_minute",
    "c": "concurrent_requests",
    "d": "usd_per_day",
    "o": "usd_per_month",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit of one scope.

    `s`, `m`: `interval` between requests, `most` at once. `t`: `interval` per token, `most` tokens saved up.
    `c`: `most` requests. `d`, `o`: `most` nano-dollars.
    """

    scope: int
    code: Code
    most: float
    interval: float = 0.0

    @property
    def name(self) -> str:
        return NAMES[self.code]

    def share(self, replicas: int) -> Rule:
        """This limit's part for one of several gateways that do not know of each other. At least one request."""
        if self.code in "sm":
            return replace(self, most=max(1.0, self.most // replicas), interval=self.interval * replicas)
        if self.code == "t":
            return replace(self, most=max(1.0, self.most // replicas), interval=self.interval * replicas)
        if self.code == "c":
            return replace(self, most=max(1.0, self.most // replicas))
        return replace(self, most=self.most // replicas)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose limits these are: `kind` is key, tenant, model or all; `key` is unique over all scopes."""

    kind: str
    name: str

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def shown(self) -> str:
        return {"key": "API key", "all": "this gateway"}.get(self.kind, self.kind) + (
            f" `{self.name}`" if self.name else ""
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """All limits that one request comes under. Rules refer to `scopes` by index."""

    scopes: tuple[Scope, ...]
    rules: tuple[Rule, ...]

    def share(self, replicas: int) -> Policy:
        return Policy(self.scopes, tuple(rule.share(replicas) for rule in self.rules))

    def impossible(self, tokens: int, nano: int) -> Rule | None:
        """The limit that this request alone exceeds: waiting does not help it."""
        for rule in self.rules:
            if (rule.code == "t" and tokens > rule.most) or (rule.code in "do" and nano > rule.most):
                return rule
        return None


def rules_of(scope: int, limits: Limits) -> list[Rule]:
    """The rules of one scope, none for a limit that is not set."""
    rules: list[Rule] = []
    if limits.requests_per_second is not None:
        burst = limits.burst_requests or max(1, math.ceil(limits.requests_per_second))
        rules.append(Rule(scope, "s", float(burst), 1e6 / limits.requests_per_second))
    if limits.requests_per_minute is not None:
        burst = limits.burst_requests or max(1, math.ceil(limits.requests_per_minute * RPM_BURST_SECONDS / 60))
        rules.append(Rule(scope, "m", float(burst), MINUTE / limits.requests_per_minute))
    if limits.tokens_per_minute is not None:
        rules.append(Rule(scope, "t", float(limits.tokens_per_minute), MINUTE / limits.tokens_per_minute))
    if limits.concurrent_requests is not None:
        rules.append(Rule(scope, "c", float(limits.concurrent_requests)))
    if limits.usd_per_day is not None:
        rules.append(Rule(scope, "d", float(round(limits.usd_per_day * NANO))))
    if limits.usd_per_month is not None:
        rules.append(Rule(scope, "o", float(round(limits.usd_per_month * NANO))))
    return rules


def policy(scopes: list[tuple[Scope, Limits | None]], *, batch_share: float = 1.0) -> Policy | None:
    """The policy of one request; None where nothing is limited.

    `batch_share` below 1 leaves the rest of each shared concurrency limit (not the key's own) to interactive requests.
    """
    named: list[Scope] = []
    rules: list[Rule] = []
    for scope, limits in scopes:
        found = rules_of(len(named), limits) if limits is not None else []
        if not found:
            continue
        named.append(scope)
        for rule in found:
            if rule.code == "c" and scope.kind != "key":
                rule = replace(rule, most=max(1.0, math.floor(rule.most * batch_share)))  # noqa: PLW2901 - a narrower one
            rules.append(rule)
    return Policy(tuple(named), tuple(rules)) if rules else None
