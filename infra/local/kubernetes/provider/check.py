"""From a resource's inputs to the object that will be applied: apiVersion, kind, name, namespace. Pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.kubernetes.provider import directives
from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.values import Secret, Unknown, at

RANDOM_HEX_CHARACTERS = 8


@dataclass(frozen=True)
class Naming:
    """How a nameless object gets its name. `proposed` is the engine's own choice, "" where it makes none."""

    logical: str
    seed: bytes = b""
    proposed: str = ""
    disabled: bool = False

    def name(self) -> str:
        """The logical name and 8 hexadecimal digits, which follow from the engine's seed where it gave one."""
        if self.proposed:
            return self.proposed
        digest = hashlib.sha256(self.seed).hexdigest() if self.seed else secrets.token_hex(RANDOM_HEX_CHARACTERS // 2)
        return f"{self.logical}-{digest[:RANDOM_HEX_CHARACTERS]}"


@dataclass
class Checked:
    """The inputs to record, and (property, reason) of each failure."""

    inputs: dict[str, Any]
    failures: list[tuple[str, str]] = field(default_factory=list)


def check(
    kind: Kind,
    olds: Mapping[str, Any],
    news: Mapping[str, Any],
    naming: Naming,
    *,
    namespaced: bool | None,
    default_namespace: str,
) -> Checked:
    """Fills in what the inputs leave out. `olds` is empty for a new object.

    An object named by us keeps its name. `namespaced` None means that nobody knows yet: no namespace is filled in.
    """
    result = Checked(dict(news))
    for key, expected in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        found = at(news, key)
        if found is None:
            result.inputs[key] = expected
        elif found != expected:
            reason = f"must be {expected!r} for this resource type, not {found!r}"
            if key == "kind" and kind.kind == f"{found}Patch":
                reason = f"{found}Patch is not supported by the local provider: declare the object itself"
            result.failures.append((key, reason))
    metadata = news.get("metadata")
    if isinstance(metadata, Unknown):
        return result
    hidden = isinstance(metadata, Secret)
    metadata = metadata.value if isinstance(metadata, Secret) else metadata
    if metadata is not None and not isinstance(metadata, Mapping):
        result.failures.append(("metadata", "must be an object"))
        return result
    metadata = dict(metadata or {})
    _fill_name(metadata, olds, naming, result)
    if namespaced is False and metadata.get("namespace"):
        result.failures.append(("metadata.namespace", f"{kind} objects are cluster-wide: leave the namespace out"))
    if namespaced and not metadata.get("namespace"):
        metadata["namespace"] = default_namespace
    result.inputs["metadata"] = Secret(metadata) if hidden else metadata
    result.failures += directives.problems(result.inputs)
    return result


def _fill_name(metadata: dict[str, Any], olds: Mapping[str, Any], naming: Naming, result: Checked) -> None:
    if metadata.get("generateName"):
        reason = "is not supported by the local provider: leave it out, and a name is made from the resource's"
        result.failures.append(("metadata.generateName", reason))
    if metadata.get("name"):
        return
    if directives.is_true(olds, directives.AUTONAMED):
        metadata["name"] = at(olds, "metadata", "name")
    elif naming.disabled:
        result.failures.append(("metadata.name", "is missing, and autonaming is switched off for this resource"))
        return
    else:
        metadata["name"] = naming.name()
    given = metadata.get("annotations")
    if isinstance(given, Unknown):
        return
    marks = at({"annotations": given}, "annotations") or {}
    marks = {**marks, directives.AUTONAMED: "true"}
    metadata["annotations"] = Secret(marks) if isinstance(given, Secret) else marks
