"""Edits of a YAML text that leave every other character as it is: comments, order, quotes. Pure.

A path is dotted; `models[]` means every item of that list: `models[].queue.maxWaiting`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

Node = Any
"""One of yaml's nodes; all that are read from a text have marks, which its types do not say."""


class TextError(ValueError):
    """The text is not YAML, or the place cannot be edited. The message names the path."""


def add(text: str, path: str, value: str, *, first: bool = False, comment: str = "") -> str:
    """Puts a key, with its value as YAML text, behind the last key of its mapping (`first`: before the first).

    Where the key is there, or the mapping is null, nothing is changed: the edit can be repeated. A value that ends
    with a line's end stands on lines of its own, and is indented. Raises TextError where the mapping is missing.
    """
    *parent, key = path.split(".")
    for node in _at(text, parent):
        if not isinstance(node, yaml.MappingNode):
            if node.value in ("", "null", "~"):
                continue
            raise TextError(f"{'.'.join(parent)} is not a mapping of keys")
        if any(at.value == key for at, _ in node.value):
            continue
        if node.flow_style or not node.value:
            text = _into_flow(text, node, key, value)
        else:
            text = _into_block(text, node, key, value, first, comment)
        return add(text, path, value, first=first, comment=comment)  # positions have moved; the next one of a list
    return text


def rename(text: str, path: str, name: str) -> str:
    """Gives a key another name. Where there is no such key, nothing is changed."""
    *parent, key = path.split(".")
    spans = [_span(at) for node in _at(text, parent) for at, _ in _pairs(node) if at.value == key]
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + name + text[end:]
    return text


def put(text: str, path: str, value: str) -> str:
    """Another value for a key, as YAML text. Only for values on one line. Raises TextError for other values."""
    *parent, key = path.split(".")
    spans = []
    for node in _at(text, parent):
        for at, child in _pairs(node):
            if at.value != key:
                continue
            if child.start_mark.line != child.end_mark.line:
                raise TextError(f"{path} has a value of several lines")
            spans.append(_span(child))
    if not spans:
        raise TextError(f"{path} is missing")
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + value + text[end:]
    return text


def replace_block(text: str, path: str, value: str) -> str:
    """Another value of any shape for a key of a block mapping; what it held, comments included, goes with it."""
    *parent, key = path.split(".")
    (node,) = _at(text, parent)
    before = node
    following = [at.value for at, _ in _pairs(node)]
    if key not in following:
        raise TextError(f"{path} is missing")
    place = following.index(key)
    text = remove(text, path)
    lines = text.splitlines(keepends=True)
    at = before.value[place][0].start_mark
    inserted = _written(key, value, at.column)
    return "".join([*lines[: at.line], inserted, *lines[at.line :]])


def remove(text: str, path: str) -> str:
    """Takes a key with its value out of a block mapping. Where there is no such key, nothing is changed."""
    *parent, key = path.split(".")
    lines = text.splitlines(keepends=True)
    gone: set[int] = set()
    for node in _at(text, parent):
        for at, child in _pairs(node):
            if at.value == key:
                if node.flow_style:
                    raise TextError(f"{path} stands inside braces")
                gone |= set(range(at.start_mark.line, max(at.end_mark.line, _last_line(child)) + 1))
    return "".join(line for number, line in enumerate(lines) if number not in gone)


def value_at(text: str, path: str) -> str | None:
    """A plain value's text; None where there is none."""
    *parent, key = path.split(".")
    for node in _at(text, parent, strict=False):
        for at, child in _pairs(node):
            if at.value == key and isinstance(child, yaml.ScalarNode):
                return child.value
    return None


def _at(text: str, parent: list[str], *, strict: bool = True) -> list[Node]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise TextError(f"the file is not readable as YAML: {' '.join(str(error).split())}") from None
    found = [root] if root is not None else []
    for depth, part in enumerate(parent):
        name, every = part.removesuffix("[]"), part.endswith("[]")
        below = [child for node in found for at, child in _pairs(node) if at.value == name]
        if not below and strict and any(isinstance(node, yaml.MappingNode) for node in found):
            raise TextError(f"{'.'.join(parent[: depth + 1])} is missing")
        found = [item for node in below for item in _items(node)] if every else below
    return found


def _pairs(node: Node) -> list[tuple[Node, Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _items(node: Node) -> Iterator[Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


def _last_line(node: Node) -> int:
    """The line that the node's last word stands on: a block's own mark is behind the comments that follow it."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return max(_last_line(each) for each in node.value[-1])
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1])
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return node.end_mark.line - 1
    return node.end_mark.line


def _into_block(text: str, node: Node, key: str, value: str, first: bool, comment: str) -> str:
    column = node.value[0][0].start_mark.column
    lines = text.splitlines(keepends=True)
    written = (f"{' ' * column}# {comment}\n" if comment else "") + _written(key, value, column)
    if first:
        line = node.value[0][0].start_mark.line
        if lines[line][:column].strip():  # `- name: x`: the first key shares its line with the dash
            raise TextError(f"{key} cannot be put before the first key of a list's item")
    else:
        line = _last_line(node) + 1
        if line == len(lines) and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
    return "".join([*lines[:line], written, *lines[line:]])


def _into_flow(text: str, node: Node, key: str, value: str) -> str:
    if "\n" in value:
        raise TextError(f"{key} has a value of several lines and its mapping is written in braces")
    end = text.rindex("}", node.start_mark.index, node.end_mark.index)
    comma = ", " if node.value else ""
    return f"{text[:end].rstrip()}{comma}{key}: {value}{text[end:]}"


def _written(key: str, value: str, column: int) -> str:
    margin = " " * column
    if "\n" not in value:
        return f"{margin}{key}: {value}\n"
    below = "".join(f"{margin}  {line}\n" if line else "\n" for line in value.rstrip("\n").split("\n"))
    return f"{margin}{key}:\n{below}"
