"""Files that commands write into the checkout: the difference shown first, whole or not at all, the old text kept."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from infra.local.files import write_whole
from infra.ops.errors import PenstockError

GIT_SECONDS = 10.0
BACKUPS = ".penstock/backup"
"""In the checkout, and ignored by git."""


@dataclass(frozen=True)
class Edit:
    """One file's new text."""

    path: Path
    text: str
    before: str | None
    """None: the file is not there."""

    @classmethod
    def of(cls, path: Path, text: str) -> Edit:
        """Raises PenstockError where what stands there cannot be read."""
        try:
            return cls(path, text, path.read_bytes().decode("utf-8"))
        except FileNotFoundError:
            return cls(path, text, None)
        except (OSError, UnicodeDecodeError) as error:
            raise PenstockError(f"{path.name} cannot be read: {error}.") from None

    @property
    def action(self) -> str:
        return "create" if self.before is None else "unchanged" if self.before == self.text else "change"

    def diff(self) -> list[str]:
        name = self.path.name
        before = (self.before or "").splitlines()
        return list(difflib.unified_diff(before, self.text.splitlines(), f"a/{name}", f"b/{name}", lineterm=""))

    def as_dict(self) -> dict[str, Any]:
        return {"file": self.path.name, "action": self.action, "diff": self.diff()}


def coloured(lines: Sequence[str]) -> list[str]:
    """A diff as terminals show it; elsewhere `click.echo` takes the colours out again."""
    return [click.style(line, fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1])) for line in lines]


def apply(edits: Sequence[Edit], checkout: Path) -> list[Path]:
    """Writes what differs, and returns the copies of old texts that git does not have. Raises PenstockError."""
    kept = []
    for edit in edits:
        if edit.action == "unchanged":
            continue
        now = Edit.of(edit.path, edit.text)
        if now.before != edit.before:
            raise PenstockError(
                f"{edit.path.name} was changed meanwhile; nothing was written into it.", "Run it again."
            )
        try:
            if edit.before is not None and not in_git(edit.path):
                kept.append(_keep(edit, checkout))
            edit.path.parent.mkdir(parents=True, exist_ok=True)
            mode = edit.path.stat().st_mode & 0o7777 if edit.before is not None else 0o644
            write_whole(edit.path, edit.text, mode)
        except OSError as error:
            raise PenstockError(f"{edit.path.name} cannot be written: {error.strerror or error}.") from None
    return kept


def in_git(path: Path) -> bool:
    """Whether the file is as git's last commit has it, so that nothing is lost when it is written over."""
    try:
        done = subprocess.run(
            ["git", "-C", str(path.parent), "status", "--porcelain", "--ignored", "--", path.name],
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and not done.stdout.strip()


def _keep(edit: Edit, checkout: Path) -> Path:
    folder = checkout / BACKUPS
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (copy := folder / f"{edit.path.name}.{number}").exists():
        number += 1
    write_whole(copy, edit.before or "", 0o600)
    return copy
