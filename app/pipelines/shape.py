"""A part of JSON Schema that takes linear time, and says where a value is wrong. Pure.

The library `jsonschema` is not used: its `pattern` runs Python's `re`, which a model's text can hold up for ever, and
its `$ref` may go in circles. What is not here is refused when the settings are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

KEYWORDS = (
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "minimum", "maximum",
    "minLength", "maxLength", "minItems", "maxItems", "pattern", "title", "description", "$schema",
)  # fmt: skip
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip
_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
MOST_DEPTH = 16


def faults(schema: object, where: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """What is wrong with a schema: the path of a keyword, and a sentence."""
    if not isinstance(schema, dict):
        yield where, "a schema is an object"
        return
    if depth > MOST_DEPTH:
        yield where, f"schemas nest at most {MOST_DEPTH} deep"
        return
    for keyword, value in schema.items():
        path = f"{where}.{keyword}" if where else str(keyword)
        if keyword not in KEYWORDS:
            yield path, f"this keyword is not supported; allowed: {', '.join(KEYWORDS)}"
        elif keyword == "type":
            if any(
                not isinstance(one, str) or one not in _TYPES for one in (value if type(value) is list else [value])
            ):
                yield path, f"must be one of {', '.join(_TYPES)}, or a list of them"
        elif keyword == "properties":
            if not isinstance(value, dict):
                yield path, "must be an object of schemas"
            else:
                for name, inner in value.items():
                    yield from faults(inner, f"{path}.{name}", depth + 1)
        elif keyword == "items":
            yield from faults(value, path, depth + 1)
        elif keyword == "additionalProperties" and not isinstance(value, bool):
            yield path, "must be true or false"
        elif keyword == "required" and (
            not isinstance(value, list) or any(not isinstance(name, str) for name in value)
        ):
            yield path, "must be a list of names"
        elif keyword == "enum" and (not isinstance(value, list) or not value):
            yield path, "must be a list of values"
        elif keyword in _BOUNDS and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield path, "must be a number"
        elif keyword == "pattern":
            try:
                _compiled(value)
            except (ValueError, TypeError) as error:
                yield path, f"is no expression that RE2 takes: {error}"


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> Any:
    from app.gateway.routing.rules import compiled  # RE2 takes 5 MB

    return compiled(pattern)


def problem(value: Any, schema: Mapping[str, Any], where: str = "") -> str:
    """Why a value does not fit a sound schema, in a sentence; empty where it does."""
    here = where or "the value"
    kinds = schema.get("type")
    if kinds is not None:
        allowed = kinds if isinstance(kinds, list) else [kinds]
        if not any(_is(value, kind) for kind in allowed):
            return f"{here} must be {' or '.join(allowed)}"
    if "const" in schema and not _same(value, schema["const"]):
        return f"{here} must be {schema['const']!r}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"{here} must be one of {', '.join(map(repr, schema['enum'][:20]))}"
    if isinstance(value, str):
        return _text(value, schema, here)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _between(value, schema, "minimum", "maximum", here)
    if isinstance(value, list):
        return _list(value, schema, where, here)
    return _object(value, schema, where, here) if isinstance(value, dict) else ""


def _text(value: str, schema: Mapping[str, Any], here: str) -> str:
    if told := _between(len(value), schema, "minLength", "maxLength", f"the length of {here}"):
        return told
    if "pattern" in schema and _compiled(schema["pattern"]).search(value) is None:
        return f"{here} must match {schema['pattern']}"
    return ""


def _list(value: list[Any], schema: Mapping[str, Any], where: str, here: str) -> str:
    if told := _between(len(value), schema, "minItems", "maxItems", f"the number of items of {here}"):
        return told
    if "items" in schema:
        for number, one in enumerate(value):
            if told := problem(one, schema["items"], f"{where}[{number}]"):
                return told
    return ""


def _object(value: dict[str, Any], schema: Mapping[str, Any], where: str, here: str) -> str:
    for name in schema.get("required", ()):
        if name not in value:
            return f"{here} must have {name!r}"
    known = schema.get("properties", {})
    for name, one in value.items():
        if name in known:
            if told := problem(one, known[name], f"{where}.{name}" if where else name):
                return told
        elif schema.get("additionalProperties") is False:
            return f"{here} must not have {name[:80]!r}"
    return ""


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _same(one: Any, two: Any) -> bool:
    return one == two and isinstance(one, bool) == isinstance(two, bool)


def _between(value: float, schema: Mapping[str, Any], least: str, most: str, here: str) -> str:
    if least in schema and value < schema[least]:
        return f"{here} must be {schema[least]} or more"
    if most in schema and value > schema[most]:
        return f"{here} must be {schema[most]} or less"
    return ""
