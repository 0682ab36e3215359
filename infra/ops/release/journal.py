"""The journal of a stack's releases: one JSON line for each thing that was meant or done, on the disk before it is.

A line that a crash cut short is the last one, and is left out. The lock lets one release work at a time; the kernel
takes it from a process that dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.ops.errors import PenstockError, RefusedError
from infra.ops.release.machine import Release

BEGIN, PASSED, BACK, HELD, AGAIN, ENDED = "begin", "passed", "back", "held", "again", "ended"


class Journal:
    """One stack's journal, in a folder that git ignores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "journal.jsonl"

    def append(self, event: str, **details: Any) -> None:
        """Returns once the line is on the disk. Raises PenstockError."""
        line = json.dumps({"event": event, "at": round(time.time(), 3), **details}) + "\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.path.open("a+b") as file:
                if file.tell() and not _ends_a_line(file):
                    line = "\n" + line  # a crash cut the last line short: it stays alone
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PenstockError(f"The journal {self.path.name} cannot be written: {error.strerror or error}.") from None

    def entries(self) -> list[dict[str, Any]]:
        """All lines that are whole. Raises PenstockError where the file cannot be read."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PenstockError(f"The journal {self.path.name} cannot be read: {error.strerror or error}.") from None
        return list(whole(lines))

    def release(self) -> Release | None:
        """The latest release, open or ended."""
        return replay(self.entries())

    @contextmanager
    def locked(self) -> Generator[None]:
        """Raises RefusedError while another process works on this stack's release."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(
                    "Another `penstock release` works on this stack.", "Wait for it; see `penstock release status`."
                ) from None
            yield


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def whole(lines: Iterable[bytes]) -> Generator[dict[str, Any]]:
    """The lines that are JSON objects."""
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "event" in entry:
            yield entry


def replay(entries: Iterable[Mapping[str, Any]]) -> Release | None:
    """The latest release that the lines tell of."""
    release: Release | None = None
    for entry in entries:
        match entry["event"]:
            case "begin":
                release = Release(entry["id"], entry["colour"], tuple(entry["steps"]), int(entry.get("passed", 0)))
            case _ if release is None:
                continue
            case "passed":
                done = release.steps.index(entry["step"]) + 1 if entry["step"] in release.steps else release.passed
                release = replace(release, passed=max(release.passed, done), reason="")
            case "back":
                release = release.turned_back(entry.get("reason", ""))
            case "again":
                release = replace(release, direction="forward", passed=0, reason="", ended="")
            case "held":
                release = replace(release, reason=entry.get("reason", ""))
            case "ended":
                release = replace(release, ended=entry["outcome"])
    return release
