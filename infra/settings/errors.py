"""Turns a failed check into sentences that name the key as the user wrote it and say what is allowed."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

UNITS = {
    "Seconds": "seconds",
    "Gib": "GiB",
    "Mib": "MiB",
    "Usd": "US dollars",
    "Days": "days",
    "Millicores": "thousandths of a core",
    "Percents": "per cent",
    "weight": "per cent",
    "Tokens": "tokens",
}
"""Unit of a key, by the ending of its name."""


@dataclass(frozen=True)
class Problem:
    path: str
    """Key path without the namespace: `release.green.weight`, `models[0].name`."""
    message: str


class SettingsError(ValueError):
    """The stack's configuration is not usable. `problems` has them all; the text has one line for each."""

    def __init__(self, source: str, namespace: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {namespace}:{problem.path}: {problem.message}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} problem(s) in the configuration\n{lines}")


def path_of(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def describe(error: ErrorDetails, root: type[BaseModel]) -> Problem:
    """One pydantic error as a problem. Handles every error type that the settings model can raise."""
    location, given, context = error["loc"], error["input"], error.get("ctx", {})
    path = path_of(without_tags(root, location))
    match error["type"]:
        case "extra_forbidden":
            message = _unknown(str(location[-1]), _keys_at(root, location[:-1]))
        case "missing":
            message = "is missing"
        case "greater_than_equal":
            message = f"{given} is too small; allowed: {context['ge']} or more{_unit(path)}"
        case "less_than_equal":
            message = f"{given} is too large; allowed: {context['le']} or less{_unit(path)}"
        case "greater_than":
            message = f"{given} is too small; allowed: more than {context['gt']:g}{_unit(path)}"
        case "int_parsing" | "int_type" | "int_from_float":
            message = f"must be a whole number, not {given!r}"
        case "float_parsing" | "float_type":
            message = f"must be a number, not {given!r}"
        case "bool_parsing" | "bool_type":
            message = f"must be true or false, not {given!r}"
        case "literal_error":
            message = f"{given!r} is not allowed; allowed: {context['expected']}"
        case "value_error":
            message = str(context["error"]) + ("" if not str(context["error"]).startswith("must be a") else _unit(path))
        case "string_pattern_mismatch":
            hint = _description(root, location)
            message = f"{given!r} is not allowed; must match {context['pattern']}{': ' + hint if hint else ''}"
        case "too_short":
            message = f"has {context['actual_length']} entries; allowed: {context['min_length']} or more"
        case "too_long":
            message = f"has more entries than allowed: {context['max_length']} or fewer"
        case "string_type":
            message = f"must be text, not {given!r}; write it in quotes"
        case "model_type" | "dict_type":
            message = f"must be a mapping of keys, not {given!r}"
        case "union_tag_invalid":
            path = f"{path}.{context['discriminator'].strip(chr(39))}"
            message = f"{context['tag']!r} is not allowed; allowed: {context['expected_tags']}"
        case "union_tag_not_found":
            path, message = f"{path}.{context['discriminator'].strip(chr(39))}", "is missing"
        case "tuple_type":
            message = f"must be a list, not {given!r}"
        case other:
            message = f"{error['msg']} ({other})"
    return Problem(path, message)


def _unknown(key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key; {hint}allowed here: {', '.join(allowed) or 'none'}"


def _unit(path: str) -> str:
    key = path.rsplit(".", 1)[-1].split("[", 1)[0]
    return next((f", in {unit}" for ending, unit in UNITS.items() if key.endswith(ending)), "")


def tagged(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models that an item may be, by what its `kind` says; empty where there is one alone."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    models = [one for one in typing.get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
    return {
        typing.get_args(one.model_fields["kind"].annotation)[0]: one for one in models if "kind" in one.model_fields
    }


def without_tags(root: type[BaseModel], location: Sequence[int | str]) -> list[int | str]:
    """A location as the user wrote it: pydantic puts the kind of an item in."""
    return [part for at, part in enumerate(location) if part not in tagged(_field(root, location[:at])[0])]


def _field(root: type[BaseModel], location: Sequence[int | str]) -> tuple[Any, str]:
    """The annotation and the description of the field at a location; (None, "") where there is none."""
    current: Any = root
    description = ""
    for part in location:
        if part in (kinds := tagged(current)):
            current = kinds[str(part)]
            continue
        current = _without_null(current)
        if typing.get_origin(current) is dict:
            current, description = typing.get_args(current)[1], ""
            continue
        if isinstance(part, int):
            arguments = [argument for argument in typing.get_args(current) if argument is not Ellipsis]
            current = arguments[0] if arguments else None
            continue
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return None, ""
        found = [info for name, info in current.model_fields.items() if part in (name, info.alias)]
        if not found:
            return None, ""
        current, description = found[0].annotation, found[0].description or ""
    return (current if tagged(current) else _without_null(current)), description


def _without_null(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation


def _description(root: type[BaseModel], location: Sequence[int | str]) -> str:
    return _field(root, location)[1]


def _keys_at(root: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    model, _ = _field(root, location)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [info.alias or name for name, info in model.model_fields.items()]
