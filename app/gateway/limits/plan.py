"""One policy made ready: the parts of its Redis commands that are the same for each request, as bytes.

Numbers have a fixed width, so that a command is one formatting; Lua reads them as decimal whatever leads them.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.gateway.config import GatewayConfig, Limits, ModelRoute
from app.gateway.keys.grant import Grant
from app.gateway.limits import scripts
from app.gateway.limits.policy import Policy, Scope, policy
from app.gateway.limits.told import Told

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


class Plan:
    """The policy of one key's requests to one model, and its commands."""

    __slots__ = (
        "_admit",
        "_admit_count",
        "_admit_whole",
        "_keys",
        "_renew",
        "_settle",
        "_settle_count",
        "_settle_whole",
        "local",
        "policy",
        "told",
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
        self._admit_count = 1 + len(keys) + 2 + len(rules) + 3
        self._settle = self._keys + told
        self._settle_count = 1 + len(keys) + 1 + len(rules) + 6
        self._renew = 1 + len(keys) + 1
        self._admit_whole = _ADMIT_HEAD % (self._admit_count + 2) + self._admit
        self._settle_whole = _SETTLE_HEAD % (self._settle_count + 2) + self._settle
        self.told = Told(found)

    def admit(self, name: bytes, tokens: int, nano: int, *, whole: bool) -> bytes:
        """`whole`: with the script's text (EVAL) and not its digest (EVALSHA)."""
        head = _call(scripts.ADMIT, self._admit_count, whole=True) + self._admit if whole else self._admit_whole
        return b"%b$%d\r\n%b\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n" % (head, len(name), name, tokens, nano)

    def settle(
        self, name: bytes, reserved: tuple[int, int], used: tuple[int, int], *, force: bool, whole: bool
    ) -> bytes:
        head = _call(scripts.SETTLE, self._settle_count, whole=True) + self._settle if whole else self._settle_whole
        return (b"%b$%d\r\n%b\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n$1\r\n%d\r\n") % (
            head,
            len(name),
            name,
            *reserved,
            min(used[0], MOST),
            min(used[1], MOST),
            force,
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
    route: ModelRoute,
    cap: Limits | None = None,
    *,
    replicas: int = 1,
) -> Plan | None:
    """The plan of a key's requests to a model; None where nothing limits them. `cap`: the most that its tenant has;
    `replicas`: gateways that share the limits while Redis is away."""
    tenant = lowest(tenants.get(key.tenant, config.tenant_limits), cap)
    found = policy(
        [
            (Scope("key", key.id), key.limits),
            (Scope("tenant", key.tenant), tenant),
            (Scope("model", route.name), route.limits),
            (Scope("all", ""), config.limits),
        ],
        batch_share=config.batch_share if key.priority == "batch" else 1.0,
    )
    return None if found is None else Plan(found, replicas)
