"""What a preview would change: engine events in, a short list of changes out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNCHANGED = frozenset({"same", "read", "refresh", "discard", "discard-replaced", "remove-pending-replace"})
PARTS_OF_REPLACEMENT = frozenset({"create-replacement", "delete-replaced"})
"""The engine reports a replacement as three steps; the one named `replace` stands for all."""

WEIGHT_PATH = re.compile(r"(actions|defaultActions)\[\d+\]\.forward\.targetGroups\[\d+\]\.weight")
RULE_TYPES = frozenset({"aws:lb/listenerRule:ListenerRule", "aws:alb/listenerRule:ListenerRule"})
MISSING = object()


@dataclass(frozen=True)
class PropertyChange:
    """`path` as Pulumi writes it; a value that is not there is None."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Change:
    """One resource that would not stay the same."""

    operation: str
    type: str
    name: str
    properties: tuple[PropertyChange, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "operation": self.operation,
            "type": self.type,
            "name": self.name,
            "properties": [{"path": p.path, "old": p.old, "new": p.new} for p in self.properties],
        }


def from_events(events: Iterable[Any]) -> list[Change]:
    """Changes in `pulumi.automation` engine events, in the engine's order.

    Components are left out: they group resources, and what changes in the world are their children.
    """
    changes = []
    for event in events:
        step = event.resource_pre_event and event.resource_pre_event.metadata
        operation = str(getattr(step.op, "value", step.op)) if step else "same"
        if not step or operation in UNCHANGED | PARTS_OF_REPLACEMENT:
            continue
        if not any(side.custom for side in (step.old, step.new) if side):
            continue
        old = (step.old.inputs if step.old else None) or {}
        new = (step.new.inputs if step.new else None) or {}
        properties = tuple(differences(old, new)) if step.old and step.new else ()
        changes.append(Change(operation, step.type, step.urn.rsplit("::", 1)[-1], properties))
    return changes


def drift(events: Iterable[Any]) -> list[Change]:
    """What a refresh found otherwise than the state had it. Values of outputs, since those are what a refresh reads."""
    changes = []
    for event in events:
        step = event.res_outputs_event and event.res_outputs_event.metadata
        operation = str(getattr(step.op, "value", step.op)) if step else "same"
        if not step or operation in UNCHANGED or not any(side.custom for side in (step.old, step.new) if side):
            continue
        old = (step.old.outputs if step.old else None) or {}
        new = (step.new.outputs if step.new else None) or {}
        properties = tuple(differences(old, new)) if step.old and step.new else ()
        changes.append(Change(operation, step.type, step.urn.rsplit("::", 1)[-1], properties))
    return changes


def differences(old: Any, new: Any, path: str = "") -> Iterable[PropertyChange]:
    """The leaves in which two property values differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if path == "" and key.startswith("__"):  # the engine's own
                continue
            below = f"{path}.{key}" if path else key
            yield from differences(old.get(key, MISSING), new.get(key, MISSING), below)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else MISSING
            after = new[index] if index < len(new) else MISSING
            yield from differences(before, after, f"{path}[{index}]")
    elif old is MISSING or new is MISSING or old != new:
        yield PropertyChange(path, None if old is MISSING else old, None if new is MISSING else new)


def beyond_weights(changes: Sequence[Change]) -> list[Change]:
    """The changes that a traffic shift must not bring: all but weights of listener rules, updated in place."""

    def is_a_shift(change: Change) -> bool:
        return (
            change.operation == "update"
            and change.type in RULE_TYPES
            and bool(change.properties)
            and all(WEIGHT_PATH.fullmatch(one.path) for one in change.properties)
        )

    return [change for change in changes if not is_a_shift(change)]


def summary(changes: Sequence[Change]) -> list[str]:
    """Lines for people: the resource, then each property, old -> new."""
    lines = []
    for change in changes:
        lines.append(f"{change.operation:8} {change.type} {change.name}")
        lines += [f"         {p.path}: {_short(p.old)} -> {_short(p.new)}" for p in change.properties]
    return lines or ["no changes"]


def _short(value: Any, limit: int = 60) -> str:
    text = "(none)" if value is None else str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
