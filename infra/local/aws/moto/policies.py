"""Policies: a condition that moto cannot judge must not turn a Deny statement into "deny everything"."""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult

from infra.local.aws.moto.patching import extend


def is_action_permitted(
    original: Any, self: Any, action: Any, resource: Any = "*", principal: Any = None, values: Any = None
) -> Any:
    statement = self._statement
    if statement.get("Condition") and statement.get("Effect") == "Deny" and not values:
        return PermissionResult.NEUTRAL
    return original(self, action, resource, principal, values)


def install() -> None:
    extend(IAMPolicyStatement, is_action_permitted)
