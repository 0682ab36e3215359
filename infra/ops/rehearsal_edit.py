"""An edit of a stack file as a rehearsal makes it, and the changes that it may bring. Pure.

Configurations are the plain data under `config:` of a stack file, keys as written there (`penstock:models`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.changes import Change

Config = dict[str, Any]

DEPLOYMENT, SERVICE = "kubernetes:apps/v1:Deployment", "kubernetes:core/v1:Service"
CONFIG_MAP, BUDGET = "kubernetes:core/v1:ConfigMap", "kubernetes:policy/v1:PodDisruptionBudget"
NODE_GROUP, CLUSTER = "aws:eks/nodeGroup:NodeGroup", "aws:eks/cluster:Cluster"


@dataclass(frozen=True)
class Expected:
    """A change that an edit may bring. One that is required must come, the others need not."""

    operation: str
    type: str
    name: str
    """With `*` for any text."""
    paths: str = ".*"
    """A pattern that each changed property must fit, in full."""
    required: bool = True

    def fits(self, change: Change) -> bool:
        return (
            change.operation == self.operation
            and change.type == self.type
            and fnmatch.fnmatchcase(change.name, self.name)
            and all(re.fullmatch(self.paths, found.path) for found in change.properties)
        )

    def __str__(self) -> str:
        return f"{self.operation} {self.type} {self.name}"


@dataclass(frozen=True)
class Edit:
    """One change of the stack file, as a pull request would bring it."""

    title: str
    config: Config
    """The whole configuration after it."""
    expected: tuple[Expected, ...]
    previewed: bool = True
    """Whether it is previewed before it is applied; the update is held to the same changes."""


def breaches(expected: Sequence[Expected], changes: Sequence[Change]) -> list[str]:
    """What is there and was not expected, and what was expected and is not there."""
    unexpected = [
        f"{change.operation} {change.type} {change.name}"
        + (f" ({', '.join(found.path for found in change.properties)})" if change.properties else "")
        for change in changes
        if not any(each.fits(change) for each in expected)
    ]
    missing = [f"no {each}" for each in expected if each.required and not any(each.fits(change) for change in changes)]
    return unexpected + missing
