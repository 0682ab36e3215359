"""The reference page of the stack files' keys, written from the models: `python -m infra.settings.reference`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from infra.settings.errors import tagged
from infra.settings.model import NAMESPACE, Shape

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"

_HEAD = """# Settings

Every key of a stack file `Pulumi.<stack>.yaml`. Each is required, so that environments differ in values and never in
keys. An unknown key, a wrong unit or a value out of bounds is refused before any resource is touched, with the key's
path. This page is written by `make docs` from `infra/settings/model.py`.

The second line of each file names `docs/schema/stack.schema.json`, which is made from the same models: an editor with a
YAML language server completes keys, shows their meaning, and marks what is out of bounds. Rules across keys are the
parser's alone. `penstock:schemaVersion` is the version of the layout; a file without it is of version 1. The program
refuses a file of another version, and `penstock migrate` brings older ones to this one, comments kept
([upgrade-0.1.0.md](upgrade-0.1.0.md)).

| key | type | allowed | meaning |
|---|---|---|---|
"""

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def page() -> str:
    """The page's Markdown."""
    rows = (
        f"| `{NAMESPACE}:{path}` | {kind} | {allowed} | {meaning} |\n" for path, kind, allowed, meaning in _rows(Shape)
    )
    return _HEAD + "".join(rows)


def paths() -> list[str]:
    """Each key's path, without the namespace."""
    return [path for path, *_ in _rows(Shape)]


def _rows(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(path, type, bounds, description) of each key, depth first; a list's items are written as `key[]`."""
    for field in model.model_fields.values():
        path = f"{above}{field.alias}"
        inner, suffix = _inner(field.annotation)
        kind = (
            "list"
            if suffix == "[]" or _members(field.annotation)
            else "object"
            if inner or suffix
            else _kind(field.annotation)
        )
        if inner and _nullable(field.annotation):
            kind = "object or null"
        yield path, kind, _allowed(field), (field.description or "").replace("|", "\\|")
        if inner:
            yield from _rows(inner, f"{path}{suffix}.")
        for name, member in _members(field.annotation).items():
            yield from _rows(member, f"{path}[{name}].")


def _members(annotation: Any) -> dict[str, type[BaseModel]]:
    """What the items of a list may be, by their kind."""
    return tagged(typing.get_args(annotation)[0]) if typing.get_origin(annotation) is tuple else {}


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model inside an annotation, and what its keys' path adds: `[]` for a list's items, a name for a mapping's."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return _inner(arguments[0])[0], "[]"
    if origin is dict:
        found = _inner(arguments[1])[0]
        return found, ".<name>" if found else ".<model>"
    if _nullable(annotation):
        return _inner(arguments[0])
    return None, ""


def _nullable(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType) and type(None) in typing.get_args(annotation)


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return "one of"
    if arguments and type(None) in arguments:
        others = [argument for argument in arguments if argument is not type(None)]
        return f"{_kind(others[0])} or null"
    return _WORDS.get(annotation, "text")


def _allowed(field: FieldInfo) -> str:
    if typing.get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(field.annotation))
    if (
        typing.get_origin(field.annotation) is tuple
        and typing.get_origin(typing.get_args(field.annotation)[0]) is Literal
    ):
        choices = ", ".join(f"`{value}`" for value in typing.get_args(typing.get_args(field.annotation)[0]))
        return f"{_bounds(field)} of {choices}".strip()
    return _bounds(field)


def _bounds(field: FieldInfo) -> str:
    if _nullable(field.annotation) and not field.metadata:
        field = FieldInfo.from_annotation(typing.get_args(field.annotation)[0])
    low = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    high = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    fewest = next((bound.min_length for bound in field.metadata if isinstance(bound, MinLen)), None)
    most = next((bound.max_length for bound in field.metadata if isinstance(bound, MaxLen)), None)
    if fewest is not None or most is not None:
        return f"{fewest or 0} to {most} items" if most is not None else f"{fewest} or more items"
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"{low} or more"
    pattern = next((rule.pattern for rule in field.metadata if getattr(rule, "pattern", None)), None)
    return f"`{pattern}`".replace("|", "\\|") if pattern else ""


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
