"""Fields that a program ignores (`ignore_changes`) and that somebody else has set: they are not applied. Pure.

The engine puts the old inputs in place of the new ones, and applying these would take the field back, or be refused as
a conflict. The real provider leaves such fields out as well.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def left_to_others(
    inputs: Mapping[str, Any], live: Mapping[str, Any] | None, ignored: Iterable[str], manager: str
) -> Mapping[str, Any]:
    """`inputs` without the ignored paths that another manager than `manager` owns in the live object.

    Paths of plain keys alone, such as `spec.replicas`; others are applied as they come.
    """
    found = inputs
    for path in ignored:
        keys = path.split(".")
        if _PLAIN.fullmatch(path) and live is not None and _owned_by_another(live, keys, manager):
            found = _without(found, keys)
    return found


def _owned_by_another(live: Mapping[str, Any], keys: Sequence[str], manager: str) -> bool:
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        fields: Any = entry.get("fieldsV1") or {}
        for key in keys:
            fields = fields.get(f"f:{key}") if isinstance(fields, Mapping) else None
        if fields is not None and entry.get("manager") != manager:
            return True
    return False


def _without(inputs: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any]:
    found = copy.deepcopy(dict(inputs))
    here: Any = found
    for key in keys[:-1]:
        here = here.get(key) if isinstance(here, dict) else None
    if isinstance(here, dict):
        here.pop(keys[-1], None)
    return found
