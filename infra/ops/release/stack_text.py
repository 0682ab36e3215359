"""Single values of a colour in the stack file's text: changed in place, and nothing else touched. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from infra.ops.weights import RELEASE_KEY, StackFileError

Path = tuple[str, ...]


def edit_colour(text: str, colour: str, values: Mapping[Path, str | int], name: str) -> str:
    """The text with these values of a colour, by their path below it. Comments, order and other bytes stay.

    Raises StackFileError where a value is not a plain scalar of its own.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise StackFileError(f"{name} is not valid YAML: {' '.join(str(error).split())}.") from None
    edits = []
    for path, value in values.items():
        node = _find(root, ("config", RELEASE_KEY, colour, *path), name)
        written = text[node.start_mark.index : node.end_mark.index]
        edits.append((node.start_mark.index, node.end_mark.index, _written(value, written)))
    changed = text
    for start, end, fresh in sorted(edits, reverse=True):
        changed = changed[:start] + fresh + changed[end:]
    expected = copy.deepcopy(yaml.safe_load(text))
    for path, value in values.items():
        here = expected["config"][RELEASE_KEY][colour]
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = value
    try:
        found = yaml.safe_load(changed)
    except yaml.YAMLError:  # an anchor went with the value
        found = None
    if found != expected:
        raise StackFileError(
            f"{name}: values of {RELEASE_KEY}.{colour} are shared with other keys.", "Write each one as a plain value."
        )
    return changed


def _find(root: Any, path: Path, name: str) -> Any:
    node = root
    for depth, key in enumerate(path):
        children = node.value if isinstance(node, yaml.MappingNode) else []
        found = [value for at, value in children if at.value == key]
        if len(found) != 1:
            problem = "is missing" if not found else "is given more than once"
            raise StackFileError(f"{name}: {'.'.join(path[: depth + 1])} {problem}.")
        node = found[0]
    if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
        raise StackFileError(f"{name}: {'.'.join(path)} is not a plain value.", "Write it on one line.")
    return node


def _written(value: str | int, before: str) -> str:
    """The value as YAML, in the quotes that stood there, or in quotes where it would not be read as the same."""
    plain = str(value)
    if isinstance(value, int):
        return plain
    if before[:1] in ("'", '"'):
        return f"{before[0]}{plain}{before[0]}"
    return plain if yaml.safe_load(plain) == value else f'"{plain}"'
