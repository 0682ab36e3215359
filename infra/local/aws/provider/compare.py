"""Compares what was asked for with what AWS reports, and old inputs with new ones. Pure; Secrets come unwrapped."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.aws.provider.schema import Kind, Property, complete
from infra.local.aws.provider.values import UNKNOWN, Values


def agrees(prop: Property, given: Any, live: Any) -> bool:
    """Whether `live` is as `given` asks. A block asks only for the fields it names; empty and absent are the same."""
    if prop.write_only or (given is None and live is None):
        return True
    if given is UNKNOWN or live is UNKNOWN:
        return False
    if prop.kind is Kind.FLAG:
        return bool(given) == bool(live)
    if given is None or live is None:
        return given in (None, "", [], {}) and live in (None, "", [], {})
    if prop.kind is Kind.BLOCK:
        known = ((prop.fields[name], value, live.get(name)) for name, value in given.items() if name in prop.fields)
        return all(agrees(inner, value, there) for inner, value, there in known if value is not None)
    if prop.kind in {Kind.LIST, Kind.SET} and prop.item is not None:
        if len(given) != len(live):
            return False
        if prop.kind is Kind.LIST:
            return all(agrees(prop.item, a, b) for a, b in zip(given, live, strict=True))
        return matched(prop.item, given, live) is not None
    if prop.kind is Kind.JSON:
        return _same_document(given, live)
    if prop.kind is Kind.FLAG_TEXT:
        return str(given).lower() == str(live).lower()
    return given == live or (prop.same is not None and prop.same(given, live))


def matched(item: Property, given: list[Any], live: list[Any]) -> list[Any] | None:
    """The members of `live` in the order of `given`, or None where the two sets differ."""
    rest, found = list(live), []
    for asked in given:
        partner = next((index for index, there in enumerate(rest) if agrees(item, asked, there)), None)
        if partner is None:
            return None
        found.append(rest.pop(partner))
    return None if rest else found


def _same_document(a: Any, b: Any) -> bool:
    if a == b:
        return True
    try:
        return json.loads(a) == json.loads(b)
    except (ValueError, TypeError):
        return False


def merged(prop: Property, given: Any, live: Any) -> Any:
    """The property's state: AWS's value, written as the inputs write it where both mean the same."""
    if prop.write_only:
        return given
    if given is None or live is None:
        return live if given is None or not agrees(prop, given, None) else given
    if prop.kind is Kind.BLOCK:
        names = [name for name in prop.fields if name in given or name in live]
        state = {name: merged(prop.fields[name], given.get(name), live.get(name)) for name in names}
        return {name: value for name, value in state.items() if value is not None}
    if prop.item is not None:
        partners = live if prop.kind is Kind.LIST else matched(prop.item, given, live)
        if partners is None or len(partners) != len(given):
            return live
        return [merged(prop.item, a, b) for a, b in zip(given, partners, strict=True)]
    return given if agrees(prop, given, live) else live


def observed(prop: Property, given: Any, live: Any) -> Any:
    """The input after a look at AWS: unchanged where AWS agrees, else AWS's value in the input's shape."""
    if agrees(prop, given, live):
        return given
    if prop.kind is Kind.BLOCK and isinstance(given, dict) and isinstance(live, dict):
        inner = {name: observed(prop.fields[name], value, live.get(name)) for name, value in given.items()}
        return {name: value for name, value in inner.items() if value is not None}
    same_length = isinstance(given, list) and isinstance(live, list) and len(given) == len(live)
    if prop.kind is Kind.LIST and prop.item is not None and same_length:
        return [observed(prop.item, a, b) for a, b in zip(given, live, strict=True)]
    return live if prop.kind is not Kind.BLOCK and prop.item is None else askable(prop, live)


def askable(prop: Property, live: Any) -> Any:
    """A live value as a program would ask for it: no outputs, no defaults, no empty parts. None if nothing is left."""
    if live is None or prop.output or live in ("", [], {}):
        return None
    if prop.default is not None and agrees(prop, prop.default, live):
        return None
    if prop.kind is Kind.BLOCK:
        return as_inputs(prop.fields, live) or None
    if prop.item is not None:
        return [askable(prop.item, item) for item in live]
    return live


def as_inputs(fields: Mapping[str, Property], live: Mapping[str, Any]) -> Values:
    found = {name: askable(prop, live.get(name)) for name, prop in fields.items()}
    return {name: value for name, value in found.items() if value is not None and value is not False}


@dataclass(frozen=True)
class Difference:
    """`path` as Pulumi writes property paths, `kind`: add, delete or update."""

    path: str
    kind: str
    replace: bool


def differences(
    fields: Mapping[str, Property],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    state: Mapping[str, Any],
    path: str = "",
    replace: bool = False,
) -> Iterator[Difference]:
    """What changes from the old inputs to the new ones. Computed properties that were not given count as in `state`."""
    for name, prop in fields.items():
        if not prop.output:
            inner = _join(path, name)
            yield from _compared(prop, inner, old.get(name), new.get(name), state.get(name), replace or prop.replace)


def _compared(prop: Property, path: str, old: Any, new: Any, state: Any, replace: bool) -> Iterator[Difference]:
    if new is None:
        kept = old is None or prop.computed or _means_nothing(prop, old)
        if not kept:
            yield Difference(path, "delete", replace or _block_replaces(prop, old))
        return
    if old is None:
        base = state if prop.computed else prop.default
        if not (_means_nothing(prop, new) if base is None else _alike(prop, new, base)):
            yield Difference(path, "add", replace or _block_replaces(prop, new))
        return
    if new is UNKNOWN or old is UNKNOWN:
        yield Difference(path, "update", replace)
    elif prop.kind is Kind.BLOCK:
        yield from differences(prop.fields, old, new, state if isinstance(state, dict) else {}, path, replace)
    elif prop.kind is Kind.MAP:
        yield from _compared_maps(path, old, new, replace)
    elif prop.kind is Kind.LIST and prop.item is not None:
        yield from _compared_lists(prop.item, path, old, new, state, replace)
    elif not _alike(prop, new, old):
        if prop.item is not None and _same_members(prop.item, old, new):
            yield from _compared_lists(prop.item, path, old, new, None, replace)
        else:
            yield Difference(path, "update", replace)


def _same_members(item: Property, old: list[Any], new: list[Any]) -> bool:
    """Whether two sets of blocks list the same members in the same order, so that a change can be told member by
    member. A member is known by its required fields of text (a target group's ARN)."""
    keys = [name for name, prop in item.fields.items() if prop.required and prop.kind is Kind.TEXT]
    return bool(keys) and [[it.get(key) for key in keys] for it in old] == [[it.get(key) for key in keys] for it in new]


def _compared_lists(
    item: Property, path: str, old: list[Any], new: list[Any], state: Any, replace: bool
) -> Iterator[Difference]:
    for index in range(max(len(old), len(new))):
        inner = f"{path}[{index}]"
        if index >= len(new):
            yield Difference(inner, "delete", replace)
        elif index >= len(old):
            yield Difference(inner, "add", replace)
        else:
            there = state[index] if isinstance(state, list) and index < len(state) else None
            yield from _compared(item, inner, old[index], new[index], there, replace)


def _compared_maps(path: str, old: Mapping[str, Any], new: Mapping[str, Any], replace: bool) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        if key not in new:
            yield Difference(_join(path, key), "delete", replace)
        elif key not in old:
            yield Difference(_join(path, key), "add", replace)
        elif old[key] != new[key]:
            yield Difference(_join(path, key), "update", replace)


def _means_nothing(prop: Property, value: Any) -> bool:
    """Whether giving this value is the same as giving none."""
    return prop.kind is not Kind.BLOCK and value is not UNKNOWN and agrees(_readable(prop), prop.default, value)


def _alike(prop: Property, a: Any, b: Any) -> bool:
    """Whether two inputs ask for the same, defaults counted in."""
    if prop.item is not None and prop.item.kind is Kind.BLOCK and isinstance(a, list) and isinstance(b, list):
        a, b = ([complete(prop.item.fields, item) for item in side] for side in (a, b))
        return agrees(prop, a, b) and agrees(prop, b, a)
    return agrees(_readable(prop), a, b)


def _readable(prop: Property) -> Property:
    """Between two inputs a property counts also where AWS does not report it (forceDestroy)."""
    return dataclasses.replace(prop, write_only=False) if prop.write_only else prop


def _block_replaces(prop: Property, value: Any) -> bool:
    return isinstance(value, dict) and any(inner.replace for name, inner in prop.fields.items() if name in value)


def _join(path: str, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return f'{path}["{name}"]'
    return f"{path}.{name}" if path else name
