"""The two weight lines of a stack file: read, changed, and nothing else touched.

A release is one integer in review, so the edit replaces the digits alone: comments, quotes, order, line ends and
the file's mode stay as they are. What the values mean is checked by `infra.settings`, not here.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.shares import COLOURS
from infra.ops.errors import PenstockError, UsageError

RELEASE_KEY = "penstock:release"
ARGUMENT = re.compile(r"(?P<colour>blue|green)=(?P<weight>\d{1,3})")
SCALAR = re.compile(r"(?P<quote>['\"]?)(?P<digits>\d+)(?P=quote)")


class StackFileError(PenstockError):
    """The stack file is not there, is not YAML, or holds no weights that can be changed in place."""


@dataclass(frozen=True)
class Weights:
    """Shares of the traffic in percent. They sum to 100."""

    blue: int
    green: int

    def __post_init__(self) -> None:
        if min(self.blue, self.green) < 0 or self.blue + self.green != 100:
            raise UsageError(f"Weights must be 0 to 100 and sum to 100, but blue={self.blue} and green={self.green}.")

    def __str__(self) -> str:
        return f"blue={self.blue} green={self.green}"

    def of(self, colour: str) -> int:
        return {"blue": self.blue, "green": self.green}[colour]

    def as_dict(self) -> dict[str, int]:
        return {"blue": self.blue, "green": self.green}


def parse_shift(arguments: Sequence[str]) -> Weights:
    """`["green=50"]` (the other colour gets the rest) or `["green=50", "blue=50"]`. Raises UsageError."""
    given: dict[str, int] = {}
    for argument in arguments:
        match = ARGUMENT.fullmatch(argument.strip())
        if match is None:
            raise UsageError(f"{argument!r} is not a weight.", "Write COLOUR=PERCENT, for example green=50.")
        if match["colour"] in given:
            raise UsageError(f"{match['colour']} is given twice.")
        given[match["colour"]] = int(match["weight"])
    if not given:
        raise UsageError("No weight is given.", "Write COLOUR=PERCENT, for example green=50.")
    if max(given.values()) > 100:
        raise UsageError("A weight is a share of the traffic in percent: 0 to 100.")
    blue = given.get("blue", 100 - given.get("green", 0))
    return Weights(blue=blue, green=given.get("green", 100 - blue))


def read_text(stack_file: Path) -> str:
    """The file's text with its own line ends. Raises StackFileError."""
    try:
        return stack_file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise StackFileError(f"There is no stack file {stack_file.name} in {stack_file.parent}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StackFileError(f"{stack_file.name} cannot be read: {error}.") from None


def read(text: str, name: str = "the stack file") -> Weights:
    """The weights that the text sets. Raises StackFileError."""
    found = {colour: int(text[start:end]) for colour, (start, end) in _spans(text, name).items()}
    try:
        return Weights(**found)
    except UsageError as error:
        raise StackFileError(f"{name}: config.{RELEASE_KEY}: {error.cause}") from None


def edit(text: str, weights: Weights, name: str = "the stack file") -> str:
    """The text with these weights; every other character is the same. Raises StackFileError."""
    changed = text
    for colour, (start, end) in sorted(_spans(text, name).items(), key=lambda item: item[1], reverse=True):
        changed = changed[:start] + str(weights.of(colour)) + changed[end:]
    spans = list(_spans(changed, name).values())
    before, after = _without_weights(text), _without_weights(changed)
    if before != after or len(set(spans)) != len(spans):  # YAML aliases: one node in two places
        raise StackFileError(f"{name}: the weights are shared with other keys.", "Write each weight as a plain number.")
    return changed


def replace_file(path: Path, text: str) -> None:
    """Writes beside and renames: a reader sees the old text or the new. The mode is kept. Raises StackFileError."""
    try:
        mode = path.stat().st_mode
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fchmod(file.fileno(), mode & 0o7777)
                os.fsync(file.fileno())
            Path(fresh).replace(path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StackFileError(f"{path.name} cannot be written: {error.strerror or error}.") from None


def _without_weights(text: str) -> Any:
    content = yaml.safe_load(text)
    for colour in COLOURS:
        content["config"][RELEASE_KEY][colour].pop("weight", None)
    return content


def _spans(text: str, name: str) -> dict[str, tuple[int, int]]:
    """Where the digits of each colour's weight are, as character positions."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise StackFileError(f"{name} is not valid YAML: {' '.join(str(error).split())}.") from None
    release = _child(_child(root, "config", name, "config"), RELEASE_KEY, name, f"config.{RELEASE_KEY}")
    spans = {}
    for colour in COLOURS:
        path = f"config.{RELEASE_KEY}.{colour}"
        node = _child(_child(release, colour, name, path), "weight", name, f"{path}.weight")
        written = text[node.start_mark.index : node.end_mark.index]
        match = SCALAR.fullmatch(written)
        if match is None:
            raise StackFileError(f"{name}: {path}.weight is not a plain number.", "Write it as 0 to 100.")
        spans[colour] = (node.start_mark.index + match.start("digits"), node.start_mark.index + match.end("digits"))
    return spans


def _child(node: Any, key: str, name: str, path: str) -> Any:
    children = node.value if isinstance(node, yaml.MappingNode) else []
    found = [value for at, value in children if at.value == key]
    if len(found) != 1:
        problem = "is missing" if not found else "is given more than once"
        raise StackFileError(f"{name}: {path} {problem}.", "Each colour needs its own weight there.")
    return found[0]
