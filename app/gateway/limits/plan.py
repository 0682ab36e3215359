"""One policy made ready: the parts of its Redis commands that are the same for each request, as bytes."""

from __future__ import annotations

from collections.abc import Mapping

from app.gateway.config import GatewayConfig, Limits, ModelRoute
from app.gateway.keys.grant import Grant
from app.gateway.limits import scripts
from app.gateway.limits.policy import Policy, Scope, policy

LEASE = 30_000_000
"""A reservation whose gateway died is given back after this, in microseconds; live gateways renew theirs."""
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

    __slots__ = ("_admit", "_admit_count", "_keys", "_renew", "_settle", "_settle_count", "local", "policy")

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

    def admit(self, name: bytes, tokens: int, nano: int, *, whole: bool) -> bytes:
        """`whole`: with the script's text (EVAL) and not its digest (EVALSHA)."""
        head = _call(scripts.ADMIT, self._admit_count, whole=True) if whole else _ADMIT_HEAD % (self._admit_count + 2)
        return b"%b%b%b%b%b" % (head, self._admit, bulk(name), bulk(tokens), bulk(nano))

    def settle(
        self, name: bytes, reserved: tuple[int, int], used: tuple[int, int], *, force: bool, whole: bool
    ) -> bytes:
        count = self._settle_count
        head = _call(scripts.SETTLE, count, whole=True) if whole else _SETTLE_HEAD % (count + 2)
        numbers = b"".join(map(bulk, (*reserved, *used)))
        return b"%b%b%b%b%b" % (head, self._settle, bulk(name), numbers, bulk(int(force)))

    def renew(self, members: list[bytes]) -> bytes:
        head = _call(scripts.RENEW, self._renew + len(members), whole=True)
        return head + self._keys + bulk(LEASE) + b"".join(map(bulk, members))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


_ADMIT_HEAD = b"*%%d\r\n%b%b" % (bulk(b"EVALSHA"), bulk(scripts.digest(scripts.ADMIT)))
_SETTLE_HEAD = b"*%%d\r\n%b%b" % (bulk(b"EVALSHA"), bulk(scripts.digest(scripts.SETTLE)))


def make_plan(config: GatewayConfig, tenants: Mapping[str, Limits], key: Grant, route: ModelRoute) -> Plan | None:
    """The plan of a key's requests to a model; None where nothing limits them."""
    tenant = tenants.get(key.tenant, config.tenant_limits)
    found = policy(
        [
            (Scope("key", key.id), key.limits),
            (Scope("tenant", key.tenant), tenant),
            (Scope("model", route.name), route.limits),
            (Scope("all", ""), config.limits),
        ],
        batch_share=config.batch_share if key.priority == "batch" else 1.0,
    )
    return None if found is None else Plan(found, config.replicas)
