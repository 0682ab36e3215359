"""One line of the stack file: which version a colour carries. Nothing else of the text changes. Pure."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml

from infra.ops.weights import RELEASE_KEY, StackFileError

KEY = "sources"


def edit_source(text: str, colour: str, name: str, source: str, file: str) -> str:
    """The text with `release.<colour>.sources.<name>` set. Raises StackFileError."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise StackFileError(f"{file} is not valid YAML: {' '.join(str(error).split())}.") from None
    node, path = root, ("config", RELEASE_KEY, colour, KEY)
    for depth, key in enumerate(path):
        found = [value for at, value in node.value if at.value == key] if isinstance(node, yaml.MappingNode) else []
        if len(found) != 1:
            raise StackFileError(f"{file}: {'.'.join(path[: depth + 1])} is missing.")
        node = found[0]
    if not isinstance(node, yaml.MappingNode):
        raise StackFileError(f"{file}: {'.'.join(path)} is no mapping.", "Write it as {}.")
    changed = _changed(text, node, name, source)
    expected = copy.deepcopy(yaml.safe_load(text))
    expected["config"][RELEASE_KEY][colour][KEY] = {**expected["config"][RELEASE_KEY][colour][KEY], name: source}
    try:
        same = yaml.safe_load(changed) == expected
    except yaml.YAMLError:
        same = False
    if not same:
        raise StackFileError(f"{file}: {'.'.join(path)} is shared with other keys.", "Write it as a plain mapping.")
    return changed


def _changed(text: str, node: yaml.MappingNode, name: str, source: str) -> str:
    (start, column), end = place(node.start_mark), place(node.end_mark)[0]
    if node.flow_style:
        values = {at.value: value.value for at, value in node.value} | {name: source}
        inner = ", ".join(f"{_plain(key)}: {_plain(value)}" for key, value in values.items())
        return f"{text[:start]}{{{inner}}}{text[end:]}"
    for at, value in node.value:
        if at.value == name:
            return f"{text[: place(value.start_mark)[0]]}{_plain(source)}{text[place(value.end_mark)[0] :]}"
    return f"{text[:start]}{_plain(name)}: {_plain(source)}\n{' ' * column}{text[start:]}"


def place(mark: Any) -> tuple[int, int]:
    """Character and column."""
    return mark.index, mark.column


def _plain(value: str) -> str:
    """As it is, or in quotes where YAML would read something else."""
    try:
        found: Any = yaml.safe_load(f"{{{value}: 1}}")
    except yaml.YAMLError:
        found = None
    return value if found == {value: 1} else json.dumps(value)
