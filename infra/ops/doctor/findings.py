"""What a check found: ok, warn or fail, with cause and next step. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import click

from infra.ops.errors import ExitCode

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works; or one thing does not that may not be needed."""
    FAIL = "fail"


@dataclass(frozen=True)
class Line:
    check: str
    level: Level
    found: str
    """What is there, and with warn and fail what is wrong about it."""
    next_step: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"level": self.level.value}


def ok(check: str, found: str) -> Line:
    return Line(check, Level.OK, found)


def warn(check: str, found: str, next_step: str) -> Line:
    return Line(check, Level.WARN, found, next_step)


def fail(check: str, found: str, next_step: str) -> Line:
    return Line(check, Level.FAIL, found, next_step)


def verdict(lines: Iterable[Line]) -> ExitCode:
    return ExitCode.FAILURE if any(line.level is Level.FAIL for line in lines) else ExitCode.OK


def text(lines: Sequence[Line]) -> str:
    width = max((len(line.check) for line in lines), default=0)
    shown = []
    for line in lines:
        shown.append(f"{click.style(f'{line.level:4}', fg=COLOURS[line.level])}  {line.check:{width}}  {line.found}")
        if line.next_step:
            shown.append(f"{'':{width + 8}}{line.next_step}")
    counted = {level: sum(line.level is level for line in lines) for level in Level}
    shown.append(", ".join(f"{count} {level}" for level, count in counted.items() if count))
    return "\n".join(shown)
