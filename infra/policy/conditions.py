"""Condition blocks of IAM policies: all operators of a block must hold, all keys of an operator, one value of a key."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from typing import Any

Context = Mapping[str, str | Sequence[str]]
Test = Callable[[str, str], bool]
"""Whether a value of the request (second) fits a value of the policy (first)."""


class UnsupportedPolicyError(ValueError):
    """A policy uses what is not evaluated here. The message names it."""


def _same(wanted: str, found: str) -> bool:
    return wanted == found


def _same_text(wanted: str, found: str) -> bool:
    return wanted.lower() == found.lower()


def like(wanted: str, found: str) -> bool:
    """IAM knows `*` and `?`, not the sets of shells."""
    return re.fullmatch(translate(wanted.replace("[", "[[]")), found) is not None


def arn_like(wanted: str, found: str) -> bool:
    """Segment by segment, so that a wildcard does not reach over a colon; the sixth takes the rest."""
    left, right = wanted.split(":", 5), found.split(":", 5)
    return len(left) == len(right) and all(like(one, other) for one, other in zip(left, right, strict=True))


def _in_network(wanted: str, found: str) -> bool:
    return ipaddress.ip_address(found) in ipaddress.ip_network(wanted)


OPERATORS: dict[str, Test] = {
    "StringEquals": _same,
    "StringEqualsIgnoreCase": _same_text,
    "StringLike": like,
    "ArnEquals": arn_like,
    "ArnLike": arn_like,
    "Bool": _same_text,
    "IpAddress": _in_network,
    "NumericEquals": lambda wanted, found: float(found) == float(wanted),
    "NumericLessThan": lambda wanted, found: float(found) < float(wanted),
    "NumericLessThanEquals": lambda wanted, found: float(found) <= float(wanted),
    "NumericGreaterThan": lambda wanted, found: float(found) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, found: float(found) >= float(wanted),
}
NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
}


def hold(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Whether the block holds for a request. Raises UnsupportedPolicyError for an operator that is not known."""
    keys = {key.lower(): value for key, value in context.items()}
    return all(
        _holds(operator, _texts(wanted), keys.get(key.lower()), keys)
        for operator, wanted_of in conditions.items()
        for key, wanted in wanted_of.items()
    )


def _holds(operator: str, wanted: list[str], found: str | Sequence[str] | None, keys: Context) -> bool:
    if operator == "Null":
        return (found is None) == (wanted == ["true"])
    quantifier, _, name = operator.rpartition(":")
    optional, name = name.endswith("IfExists"), name.removesuffix("IfExists")
    negative, name = name in NEGATED, NEGATED.get(name, name)
    if name not in OPERATORS or quantifier not in ("", "ForAnyValue", "ForAllValues"):
        raise UnsupportedPolicyError(f"the condition operator {operator} is not evaluated here")
    values = None if found is None else _texts(found)
    if values is None or not values:
        # A key that the request lacks: negated operators and ForAllValues hold, the others do not.
        return optional or quantifier == "ForAllValues" or (negative and quantifier == "")
    asked = [_filled(each, keys) for each in wanted]

    def fits(value: str) -> bool:
        return any(OPERATORS[name](each, value) for each in asked) != negative

    return all(map(fits, values)) if quantifier == "ForAllValues" else any(map(fits, values))


def _filled(text: str, keys: Context) -> str:
    """Policy variables such as `${aws:PrincipalTag/team}`."""

    def value(found: re.Match[str]) -> str:
        known = keys.get(found[1].lower())
        if not isinstance(known, str):
            raise UnsupportedPolicyError(f"the request has no single value for {found[0]}")
        return known

    return re.sub(r"\$\{([^}]+)\}", value, text)


def _texts(value: Any) -> list[str]:
    return [_text(each) for each in value] if isinstance(value, list | tuple) else [_text(value)]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
