"""What a property of a resource type is: its kind, its name in AWS's API, and who decides its value."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from infra.local.aws.provider.values import Values


class Kind(StrEnum):
    TEXT = "string"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "boolean"
    FLAG_TEXT = "boolean as string"  # pulumi-aws's way to tell "not given" from false
    JSON = "JSON document"
    MAP = "map of strings"
    LIST = "list"
    SET = "set"  # a list whose order means nothing
    BLOCK = "object"


@dataclass(frozen=True, kw_only=True)
class Property:
    """One property. An input unless `output`; AWS chooses where it is `computed` and not given.

    `wire`: the field in the API's request and reply, dots for nesting; None = the name in the API's case;
    False = not part of the generic request and reply (the row's own functions deal with it).
    `reply`: the field in replies where that differs from `wire`; False = not read generically.
    `default`: what the provider sends and reports when it is not given.
    `write_only`: AWS never tells it back, so the state keeps the input.
    `same`: whether two different values mean the same (an ARN and its id).
    """

    kind: Kind
    wire: str | bool | None = None
    reply: str | bool | None = None
    required: bool = False
    replace: bool = False
    computed: bool = False
    default: Any = None
    output: bool = False
    secret: bool = False
    write_only: bool = False
    fields: Mapping[str, Property] = field(default_factory=dict)
    item: Property | None = None
    same: Callable[[Any, Any], bool] | None = None


def text(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.TEXT, wire=wire, **flags)


def integer(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.INTEGER, wire=wire, **flags)


def number(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.NUMBER, wire=wire, **flags)


def flag(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.FLAG, wire=wire, **flags)


def flag_text(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.FLAG_TEXT, wire=wire, **flags)


def document(wire: str | bool | None = None, **flags: Any) -> Property:
    """A JSON document given as text: compared by content."""
    return Property(kind=Kind.JSON, wire=wire, **flags)


def mapping(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.MAP, wire=wire, **flags)


def texts(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.LIST, wire=wire, item=text(), **flags)


def text_set(wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.SET, wire=wire, item=text(), **flags)


def block(fields: Mapping[str, Property], wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.BLOCK, wire=wire, fields=fields, **flags)


def blocks(fields: Mapping[str, Property], wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.LIST, wire=wire, item=block(fields), **flags)


def block_set(fields: Mapping[str, Property], wire: str | bool | None = None, **flags: Any) -> Property:
    return Property(kind=Kind.SET, wire=wire, item=block(fields), **flags)


def out(kind: Property) -> Property:
    """The same property as an output only."""
    return replace(kind, output=True)


def same_name(a: Any, b: Any) -> bool:
    """Whether an ARN and a name or id (or two of them) end in the same name."""
    return isinstance(a, str) and isinstance(b, str) and a.rsplit("/", 1)[-1] == b.rsplit("/", 1)[-1]


def same_letters(a: Any, b: Any) -> bool:
    return isinstance(a, str) and isinstance(b, str) and a.lower() == b.lower()


def pascal(name: str) -> str:
    return name[0].upper() + name[1:]


def camel(name: str) -> str:
    return name


Style = Callable[[str], str]


def complete(fields: Mapping[str, Property], given: Mapping[str, Any]) -> Values:
    """The inputs with the defaults filled in, at every depth."""
    values: Values = {}
    for name, prop in fields.items():
        if name in given and given[name] is not None:
            values[name] = _complete(prop, given[name])
        elif prop.default is not None:
            values[name] = prop.default
    return values


def _complete(prop: Property, value: Any) -> Any:
    if prop.kind is Kind.BLOCK and isinstance(value, dict):
        return complete(prop.fields, value)
    if prop.item is not None and isinstance(value, list):
        return [_complete(prop.item, item) for item in value]
    return value


def to_api(fields: Mapping[str, Property], values: Mapping[str, Any], style: Style) -> Values:
    """The request's fields for these values: None, outputs and properties with `wire=False` are left out."""
    request: Values = {}
    for name, prop in fields.items():
        value = values.get(name)
        if value is None or prop.output or prop.wire is False:
            continue
        *parents, last = (prop.wire if isinstance(prop.wire, str) else style(name)).split(".")
        target = request
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = _to_api(prop, value, style)
    return request


def _to_api(prop: Property, value: Any, style: Style) -> Any:
    if prop.kind is Kind.BLOCK:
        return to_api(prop.fields, value, style)
    if prop.item is not None:
        return [_to_api(prop.item, item, style) for item in value]
    if prop.kind is Kind.FLAG_TEXT:
        return str(value).lower() == "true"
    return value


def from_api(fields: Mapping[str, Property], reply: Mapping[str, Any], style: Style) -> Values:
    """What a reply of AWS says of these properties, under Pulumi's names; what it does not say is left out."""
    values: Values = {}
    for name, prop in fields.items():
        path = prop.wire if prop.reply is None else prop.reply
        if path is False or prop.write_only:
            continue
        source: Any = reply
        for part in (path if isinstance(path, str) else style(name)).split("."):
            source = source.get(part) if isinstance(source, Mapping) else None
        if source is not None:
            values[name] = _from_api(prop, source, style)
    return values


def _from_api(prop: Property, value: Any, style: Style) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if prop.kind is Kind.BLOCK:
        return from_api(prop.fields, value, style) if isinstance(value, Mapping) else {}
    if prop.item is not None:
        items = [_from_api(prop.item, item, style) for item in value]
        return sorted(items, key=order) if prop.kind is Kind.SET else items
    if prop.kind is Kind.JSON and not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"))
    if prop.kind is Kind.FLAG_TEXT:
        return str(value).lower()
    if prop.kind is Kind.TEXT and not isinstance(value, str):
        return str(value)
    if prop.kind in {Kind.INTEGER, Kind.NUMBER} and isinstance(value, str):
        return float(value) if prop.kind is Kind.NUMBER else int(value)
    return value


def order(value: Any) -> str:
    """A total order over values, for sets."""
    return json.dumps(value, sort_keys=True, default=str)
