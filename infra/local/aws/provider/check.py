"""Checks a resource's inputs: known properties, right kinds, physical names, default tags. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.aws.provider.row import Naming, Row
from infra.local.aws.provider.schema import Kind, Property
from infra.local.aws.provider.values import UNKNOWN, Secret, Unknown, Values, contains, revealed

DEFAULTS = "__defaults"
"""Input that lists the inputs which Check made up, as pulumi-aws keeps it."""

HEX_DIGITS = 7
PROPOSE, DISABLE = 0, 2


@dataclass(frozen=True)
class Failure:
    property: str
    reason: str


@dataclass(frozen=True)
class Request:
    """`olds`: the inputs of the last deployment; `proposed` and `mode`: the stack's autonaming settings, if any."""

    row: Row
    name: str
    urn: str
    olds: Values
    news: Values
    seed: bytes = b""
    proposed: str = ""
    mode: int = PROPOSE
    default_tags: Mapping[str, Any] = field(default_factory=dict)


def check(request: Request) -> tuple[Values, list[Failure]]:
    """The inputs as the engine should keep them, and what is wrong with them."""
    failures: list[Failure] = []
    given = {name: value for name, value in request.news.items() if name not in {DEFAULTS, "tagsAll"}}
    inputs = _fields(request.row.kind, request.row.arguments, given, "", failures)
    if request.row.naming is not None:
        _name(request, request.row.naming, inputs, failures)
    if request.row.tagging is not None:
        inputs["tagsAll"] = with_default_tags(request.default_tags, inputs.get("tags"))
    return inputs, failures


def with_default_tags(defaults: Mapping[str, Any], tags: Any) -> Any:
    if isinstance(tags, Secret):
        return Secret(with_default_tags(defaults, tags.value))
    if tags is UNKNOWN:
        return UNKNOWN
    return {**defaults, **(tags if isinstance(tags, dict) else {})}


def _fields(token: str, allowed: Mapping[str, Property], given: Values, path: str, failures: list[Failure]) -> Values:
    checked: Values = {}
    for name, value in given.items():
        where = f"{path}.{name}" if path else name
        prop = allowed.get(name)
        if prop is None or prop.output:
            names = ", ".join(sorted(known for known, it in allowed.items() if not it.output))
            problem = f'property "{where}" is not supported by the local provider; supported: {names}'
            failures.append(Failure(where, f"{token}: {problem}"))
        elif value is not None:
            checked[name] = _value(token, prop, value, where, failures)
    failures += [
        Failure(name, f'{token}: property "{path}{"." if path else ""}{name}" is required')
        for name, prop in allowed.items()
        if prop.required and given.get(name) is None
    ]
    return checked


def _value(token: str, prop: Property, value: Any, path: str, failures: list[Failure]) -> Any:
    if isinstance(value, Secret):
        return Secret(_value(token, prop, value.value, path, failures))
    if value is UNKNOWN:
        return value
    if prop.kind is Kind.BLOCK and isinstance(value, dict):
        return _fields(token, prop.fields, value, path, failures)
    if prop.item is not None and isinstance(value, list):
        return [_value(token, prop.item, item, f"{path}[{index}]", failures) for index, item in enumerate(value)]
    if prop.kind is Kind.MAP and isinstance(value, dict):
        return {key: _value(token, TEXT, item, f"{path}.{key}", failures) for key, item in value.items()}
    try:
        return _scalar(prop.kind, value)
    except (ValueError, TypeError):
        problem = f'property "{path}" must be of type {prop.kind}, not {json.dumps(revealed(value), default=str)[:80]}'
        failures.append(Failure(path, f"{token}: {problem}"))
        return value


TEXT = Property(kind=Kind.TEXT)


def _scalar(kind: Kind, value: Any) -> Any:
    """The value in the property's kind, with the harmless conversions that pulumi-aws makes too."""
    if kind is Kind.JSON and isinstance(value, dict | list):
        return UNKNOWN if contains(value, Unknown) else json.dumps(value)
    if kind in {Kind.BLOCK, Kind.LIST, Kind.SET, Kind.MAP} or isinstance(value, dict | list):
        raise TypeError(value)
    if kind in {Kind.FLAG, Kind.FLAG_TEXT}:
        word = str(value).lower()
        if word not in {"true", "false"}:
            raise ValueError(value)
        return word if kind is Kind.FLAG_TEXT else word == "true"
    if kind is Kind.INTEGER:
        if isinstance(value, bool):
            raise TypeError(value)
        if float(value) != int(float(value)):
            raise ValueError(value)
        return int(float(value))
    if kind is Kind.NUMBER:
        return value if isinstance(value, int | float) else float(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(request: Request, naming: Naming, inputs: Values, failures: list[Failure]) -> None:
    if inputs.get(naming.field) is not None:
        return
    prefix = inputs.get(naming.prefix_field) if naming.prefix_field else None
    if prefix is UNKNOWN:
        return
    made_up = naming.field in (request.olds.get(DEFAULTS) or [])
    if made_up and request.olds.get(naming.field) is not None:
        inputs[naming.field] = request.olds[naming.field]
    else:
        name, problem = _made_up(request, naming, revealed(prefix))
        if problem:
            failures.append(Failure(naming.field, f"{request.row.kind}: {problem}"))
            return
        inputs[naming.field] = name
    inputs[DEFAULTS] = [naming.field]


def _made_up(request: Request, naming: Naming, prefix: str | None) -> tuple[str, str]:
    if request.mode == DISABLE and prefix is None:
        return "", f'property "{naming.field}" is required: autonaming is disabled for this resource'
    if request.proposed and prefix is None:
        name = naming.start + request.proposed
        problem = f'the name "{name}" is longer than {naming.limit} characters' if len(name) > naming.limit else ""
        return name, problem
    start = prefix if prefix is not None else f"{naming.start}{request.name}-"
    if naming.lower:
        start = start.lower()
    if len(start) + HEX_DIGITS > naming.limit:
        return "", (
            f'"{start}" plus {HEX_DIGITS} random characters is longer than the {naming.limit} characters that AWS '
            f"allows: set {naming.field}"
        )
    # Without a seed (no engine does that today) the URN alone decides, so that two previews agree.
    digits = hashlib.sha256(request.seed + b"/" + request.urn.encode()).hexdigest()[:HEX_DIGITS]
    return start + digits, ""
