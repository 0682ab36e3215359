"""Decides a request as IAM does: deny, then allow, with wildcards, conditions, trust, key policies and boundaries.

No AWS account is needed. The order of decision is that of IAM's user guide ("Policy evaluation logic", requests within
one account). What this module does not know, it refuses with UnsupportedPolicyError: it never takes it as granted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from infra.policy.conditions import UnsupportedPolicyError, arn_like, hold, like

__all__ = ["Decision", "Request", "UnsupportedPolicyError", "authorise", "evaluate"]

Document = Mapping[str, Any]
STATEMENT_KEYS = {
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal", "Condition",
}  # fmt: skip


class Decision(Enum):
    """What one set of policies says of a request."""

    ALLOWED = "allowed"
    DENIED = "denied"
    """By a Deny statement, which nothing overrides."""
    LEFT_TO_IAM = "left to IAM"
    """The resource's policy trusts the account: the caller's own policies decide."""
    NOT_GRANTED = "not granted"


@dataclass(frozen=True)
class Request:
    """One call. `action` is `service:Operation`, `resource` an ARN or `*`; condition keys are case-insensitive."""

    action: str
    resource: str = "*"
    principal: str = ""
    """A role's or user's ARN, or a service such as `logs.eu-central-1.amazonaws.com`; empty for the owner of an
    identity's policy."""
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


def evaluate(policies: Iterable[Document], request: Request) -> Decision:
    """The decision of policies of one kind, all of them identity's or all of them one resource's."""
    found = Decision.NOT_GRANTED
    for statement in statements(policies):
        match = _principal(statement, request.principal)
        if match is None or not _covers(statement, request):
            continue
        if statement["Effect"] == "Deny":
            return Decision.DENIED
        if match == "account" and found is not Decision.ALLOWED:
            found = Decision.LEFT_TO_IAM
        elif match == "itself":
            found = Decision.ALLOWED
    return found


def authorise(
    request: Request,
    *,
    identity: Iterable[Document] = (),
    resource: Iterable[Document] | None = None,
    boundary: Document | None = None,
    resource_decides: bool = False,
) -> bool:
    """Whether the call goes through, within one account. `identity`: the caller's policies; `resource`: those of what
    is called. `resource_decides`: nothing goes without the resource's policy (KMS keys, roles that are taken)."""
    own = evaluate(identity, request)
    theirs = evaluate(resource or (), request)
    bound = Decision.ALLOWED if boundary is None else evaluate([boundary], request)
    if Decision.DENIED in (own, theirs, bound):
        return False
    granted = own is Decision.ALLOWED and bound is Decision.ALLOWED
    if theirs is Decision.ALLOWED:
        # A boundary does not limit what a resource's policy grants to the very session; Penstock has no such case, so
        # that the stricter reading is taken.
        return bound is Decision.ALLOWED
    if resource_decides:
        return theirs is Decision.LEFT_TO_IAM and granted
    return granted


def statements(policies: Iterable[Document]) -> Iterator[Mapping[str, Any]]:
    """Every statement. Raises UnsupportedPolicyError for one that IAM would not take, or that is not known here."""
    for policy in policies:
        found = policy.get("Statement", [])
        for statement in found if isinstance(found, list) else [found]:
            if unknown := set(statement) - STATEMENT_KEYS:
                raise UnsupportedPolicyError(f"a statement has {', '.join(sorted(unknown))}")
            if statement.get("Effect") not in ("Allow", "Deny"):
                raise UnsupportedPolicyError(f"Effect is {statement.get('Effect')!r}; allowed: Allow, Deny")
            if ("Action" in statement) == ("NotAction" in statement):
                raise UnsupportedPolicyError("a statement must have either Action or NotAction")
            if "NotPrincipal" in statement:
                raise UnsupportedPolicyError("NotPrincipal is not evaluated here; write a condition")
            yield statement


def listed(value: Any) -> list[str]:
    """One or many, as policies write them."""
    return [value] if isinstance(value, str) else list(value or [])


def _covers(statement: Mapping[str, Any], request: Request) -> bool:
    actions = listed(statement.get("Action", statement.get("NotAction")))
    named = any(like(pattern.lower(), request.action.lower()) for pattern in actions)
    if named != ("Action" in statement):
        return False
    if "Resource" in statement or "NotResource" in statement:
        arns = listed(statement.get("Resource", statement.get("NotResource")))
        if any(covers_arn(arn, request.resource) for arn in arns) != ("Resource" in statement):
            return False
    return hold(statement.get("Condition", {}), request.context)


def covers_arn(pattern: str, arn: str) -> bool:
    """Whether the pattern covers the ARN: a wildcard stays within its segment, but for the last."""
    return pattern == "*" or arn_like(pattern, arn)


def _principal(statement: Mapping[str, Any], principal: str) -> str | None:
    """How the statement's principal fits the caller: `itself`, as its `account`, or not at all (None)."""
    if "Principal" not in statement:
        return "itself"
    named = statement["Principal"]
    if named == "*":
        return "itself"
    if not isinstance(named, Mapping) or set(named) - {"AWS", "Service", "Federated"}:
        raise UnsupportedPolicyError(f"Principal {named!r} is not evaluated here")
    if principal in listed(named.get("Service")) + listed(named.get("Federated")):
        return "itself"
    trusted = listed(named.get("AWS"))
    if principal in trusted or ("*" in trusted and not principal.endswith(".amazonaws.com")):
        return "itself"
    parts = principal.split(":")
    if parts[0] != "arn":
        return None
    return "account" if {parts[4], f"arn:{parts[1]}:iam::{parts[4]}:root"} & set(trusted) else None
