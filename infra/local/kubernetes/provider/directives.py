"""Annotations of an object that speak to the provider. Names and meaning are pulumi-kubernetes' own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.local.kubernetes.provider.values import at

AUTONAMED = "pulumi.com/autonamed"
SKIP_AWAIT = "pulumi.com/skipAwait"
TIMEOUT = "pulumi.com/timeoutSeconds"
PATCH_FORCE = "pulumi.com/patchForce"
PROPAGATION = "pulumi.com/deletionPropagationPolicy"
WAIT_FOR = "pulumi.com/waitFor"

PROPAGATION_POLICIES = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan"}
DEFAULT_TIMEOUT_SECONDS = 600.0
"""As in pulumi-kubernetes for Deployments, Pods, Services and deletions."""


def text(inputs: Mapping[str, Any], name: str) -> str | None:
    """The annotation's value, or None. Unknown values count as none."""
    value = at(at(inputs, "metadata", "annotations"), name)
    return value if isinstance(value, str) else None


def is_true(inputs: Mapping[str, Any], name: str) -> bool:
    return text(inputs, name) == "true"


def timeout_seconds(inputs: Mapping[str, Any], requested: float) -> float:
    """How long to wait: the resource option `custom_timeouts` first, then the annotation, then ten minutes."""
    if requested > 0:
        return requested
    annotated = text(inputs, TIMEOUT)
    return float(annotated) if annotated is not None else DEFAULT_TIMEOUT_SECONDS


def propagation(inputs: Mapping[str, Any]) -> str:
    return PROPAGATION_POLICIES[(text(inputs, PROPAGATION) or "background").lower()]


def problems(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(property, reason) of each annotation that cannot be followed."""
    found = []
    timeout = text(inputs, TIMEOUT)
    if timeout is not None and not re.fullmatch(r"\d{1,6}", timeout):
        found.append((TIMEOUT, f"must be a whole number of seconds, not {timeout!r}"))
    policy = text(inputs, PROPAGATION)
    if policy is not None and policy.lower() not in PROPAGATION_POLICIES:
        found.append((PROPAGATION, f"must be background, foreground or orphan, not {policy!r}"))
    if text(inputs, WAIT_FOR) is not None:
        found.append((WAIT_FOR, "is not supported by the local provider"))
    return [(f'metadata.annotations["{name}"]', reason) for name, reason in found]
