"""Lines that a shell can take over: `eval "$(penstock env)"`. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Literal

Shell = Literal["sh", "fish"]


def script(variables: Mapping[str, str], unset: Iterable[str], shell: Shell) -> str:
    """One line for each variable. Raises ValueError for a name that is not one, or a value with a NUL byte."""
    forget = "unset" if shell == "sh" else "set -e"
    lines = [f"{forget} {_name(name)}" for name in sorted(unset)]
    for name in sorted(variables):
        value = variables[name]
        if "\0" in value:
            raise ValueError(f"{name} holds a NUL byte")
        if shell == "sh":
            lines.append(f"export {_name(name)}={shlex.quote(value)}")
        else:
            lines.append(f"set -gx {_name(name)} {_fish(name, value)}")
    return "\n".join(lines)


def _name(name: str) -> str:
    if not (name.isascii() and name.isidentifier()):
        raise ValueError(f"{name!r} is not the name of a variable")
    return name


def _fish(name: str, value: str) -> str:
    """fish quotes with ' and knows two escapes inside; PATH is a list there."""
    parts = value.split(":") if name == "PATH" else [value]
    return " ".join("'" + part.replace("\\", "\\\\").replace("'", "\\'") + "'" for part in parts)
