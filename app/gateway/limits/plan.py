"""One policy made ready: the parts of its Redis commands that are the same for each request, as bytes.

Numbers have a fixed width, so that a command is one formatting; Lua reads them as decimal whatever leads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from app.gateway.config import GatewayConfig, Limits, ModelRoute
from app.gateway.keys.grant import Grant
from app.gateway.limits import scripts
from app.gateway.limits.policy import Policy, Rule, Scope, policy
from app.gateway.limits.told import Told

if TYPE_CHECKING:
    from app.gateway.limits.limiter import Permit

LEASE = 30_000_000
"""A reservation whose gateway died is given back after this, in microseconds; live gateways renew theirs."""
MOST = 2**53
"""Of what an engine says was used: a double holds it, and a command's fixed width too."""
TAG = "{penstock:limits}"
"""All keys share this hash tag, so that one script may touch them in a Redis cluster."""


def bulk(value: bytes | str | int) -> bytes:
    raw = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def _call(script: str, arguments: int, *, whole: bool) -> bytes:
    name, text = (b"EVAL", script) if whole else (b"EVALSHA", scripts.digest(script))
    return b"*%d\r\n%b%b" % (arguments + 2, bulk(name), bulk(text))


class Asked(Protocol):
    """A request as a reservation: its member of the open ones, and what it reserves (tokens, nano-dollars)."""

    member: bytes
    reserved: tuple[int, int]


class Settlement(NamedTuple):
    """What a request used. `force`: it is charged even where its reservation is gone."""

    permit: Permit
    tokens: int
    nano: int
    force: bool


class Plan:
    """The policy of one key's requests to one model, and its commands."""

    __slots__ = (
        "_admit",
        "_admit_count",
        "_admit_one",
        "_keys",
        "_most_nano",
        "_most_tokens",
        "_renew",
        "_settle",
        "_settle_count",
        "_settle_one",
        "asking",
        "local",
        "policy",
        "settling",
        "told",
        "width",
    )

    def __init__(self, found: Policy, replicas: int) -> None:
        self.policy = found
        self.local = found.share(replicas)
        keys = [f"{TAG}:{scope.key}{part}" for scope in found.scopes for part in ("", ":open")]
        self._keys = bulk(len(keys)) + b"".join(map(bulk, keys))
        rules: list[str] = []
        for rule in found.rules:
            rules += [str(rule.scope + 1), rule.code, _number(rule.most), _number(rule.interval)]
        told = bulk(len(found.rules)) + b"".join(map(bulk, rules))
        self._admit = self._keys + bulk(LEASE) + told
        self._admit_count = 1 + len(keys) + 2 + len(rules)
        self._settle = self._keys + told
        self._settle_count = 1 + len(keys) + 1 + len(rules)
        self._renew = 1 + len(keys) + 1
        self._admit_one = _ADMIT_HEAD % (self._admit_count + 5) + self._admit
        self._settle_one = _SETTLE_HEAD % (self._settle_count + 8) + self._settle
        self.told = Told(found)
        self._most_tokens = min((rule.most for rule in found.rules if rule.code == "t"), default=math.inf)
        self._most_nano = min((rule.most for rule in found.rules if rule.code in "do"), default=math.inf)
        self.width = 2 + 2 * len(found.rules)
        """Numbers of one request in the answer to `admit`."""
        self.asking: list[Permit] = []
        """Permits to be asked for by the next write; see limiter.Limiter."""
        self.settling: list[Settlement] = []

    def impossible(self, tokens: int, nano: int) -> Rule | None:
        """The limit that a request alone exceeds: waiting does not help it."""
        if tokens <= self._most_tokens and nano <= self._most_nano:
            return None
        return self.policy.impossible(tokens, nano)

    def admit(self, asked: Sequence[Asked], *, whole: bool) -> bytes:
        """Asks for some requests at once. `whole`: with the script's text (EVAL) and not its digest (EVALSHA)."""
        if whole:
            head = _call(scripts.ADMIT, self._admit_count + 3 * len(asked), whole=True) + self._admit
        elif len(asked) == 1:
            head = self._admit_one
        else:
            head = _ADMIT_HEAD % (self._admit_count + 2 + 3 * len(asked)) + self._admit
        return head + b"".join(
            [
                b"$%d\r\n%b\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n" % (len(one.member), one.member, *one.reserved)
                for one in asked
            ]
        )

    def settle(self, ended: Sequence[Settlement], *, whole: bool) -> bytes:
        """Settles some requests at once."""
        if whole:
            head = _call(scripts.SETTLE, self._settle_count + 6 * len(ended), whole=True) + self._settle
        elif len(ended) == 1:
            head = self._settle_one
        else:
            head = _SETTLE_HEAD % (self._settle_count + 2 + 6 * len(ended)) + self._settle
        return head + b"".join(
            [
                b"$%d\r\n%b\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n$1\r\n%d\r\n"
                % (
                    len(one.permit.member),
                    one.permit.member,
                    *one.permit.reserved,
                    min(one.tokens, MOST),
                    min(one.nano, MOST),
                    one.force,
                )
                for one in ended
            ]
        )

    def renew(self, members: list[bytes]) -> bytes:
        head = _call(scripts.RENEW, self._renew + len(members), whole=True)
        return head + self._keys + bulk(LEASE) + b"".join(map(bulk, members))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


_ADMIT_HEAD = b"*%%d\r\n%b%b" % (bulk(b"EVALSHA"), bulk(scripts.digest(scripts.ADMIT)))
_SETTLE_HEAD = b"*%%d\r\n%b%b" % (bulk(b"EVALSHA"), bulk(scripts.digest(scripts.SETTLE)))


def lowest(one: Limits | None, other: Limits | None) -> Limits | None:
    """The lower of two limits, each by itself."""
    if one is None or other is None:
        return one or other
    given = {name: (getattr(one, name), getattr(other, name)) for name in Limits.model_fields}
    return Limits(**{name: min(two, key=lambda v: (v is None, v or 0)) for name, two in given.items()})


def make_plan(
    config: GatewayConfig,
    tenants: Mapping[str, Limits],
    key: Grant,
    route: ModelRoute | None,
    cap: Limits | None = None,
    *,
    replicas: int = 1,
) -> Plan | None:
    """The plan of a key's requests to a model; None where nothing limits them. `cap`: the most that its tenant has;
    `replicas`: gateways that share the limits while Redis is away. Without `route`: all limits but a model's."""
    tenant = lowest(tenants.get(key.tenant, config.tenant_limits), cap)
    found = policy(
        [
            (Scope("key", key.id), key.limits),
            (Scope("tenant", key.tenant), tenant),
            *([] if route is None else [(Scope("model", route.name), route.limits)]),
            (Scope("all", ""), config.limits),
        ],
        batch_share=_share(config, key),
    )
    return None if found is None else Plan(found, replicas)


def model_plan(config: GatewayConfig, key: Grant, route: ModelRoute, *, replicas: int = 1) -> Plan | None:
    """The model's own limits alone, for a request that a chain brings to it."""
    found = policy([(Scope("model", route.name), route.limits)], batch_share=_share(config, key))
    return None if found is None else Plan(found, replicas)


def _share(config: GatewayConfig, key: Grant) -> float:
    return config.batch_share if key.priority == "batch" else 1.0
