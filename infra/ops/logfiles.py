"""Finds and follows the log files of the local platform: servers in `logs/`, containers in `logs/pods/`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.ops.errors import UsageError

TAIL_BLOCK_BYTES = 65536
POLL_SECONDS = 0.2
ENDINGS_OF_OLD_LOGS = (".previous", ".1")
"""Stems of what a container's earlier runs, or a cut of a large log, left."""


@dataclass(frozen=True)
class LogFile:
    """`name` is what people type: `apiserver`, or a pod's name."""

    name: str
    path: Path


def find(logs: Path) -> list[LogFile]:
    """All logs that exist, servers first. Output of a container's earlier runs is left out."""
    servers = [LogFile(path.stem, path) for path in sorted(logs.glob("*.log"))]
    containers = sorted(path for path in (logs / "pods").glob("*.log") if not path.stem.endswith(ENDINGS_OF_OLD_LOGS))
    return servers + [LogFile(container_name(path.stem), path) for path in containers]


def container_name(stem: str) -> str:
    """`pod/container` from the file's `namespace_pod_container`; no part has an underscore of its own."""
    _, _, name = stem.partition("_")
    return name.replace("_", "/") or stem


def select(files: Sequence[LogFile], wanted: str | None) -> list[LogFile]:
    """`gateway` and `engine` mean all such pods; a pod or server may be named by the start of its name.

    Raises UsageError, which names what there is.
    """
    if wanted is None:
        return list(files)
    exact = [file for file in files if file.name == wanted]
    chosen = exact or [file for file in files if file.name.startswith(wanted) or f"/{wanted}" in f"/{file.name}"]
    if not chosen:
        names = ", ".join(file.name for file in files) or "none yet"
        raise UsageError(f"There is no log of {wanted!r}.", f"There are: {names}.")
    return chosen


def tail(path: Path, lines: int) -> tuple[list[str], int]:
    """The last lines, and the position after them. Reads from the end, so that a large log costs nothing."""
    with path.open("rb") as file:
        position = end = file.seek(0, os.SEEK_END)
        content = b""
        while position > 0 and content.count(b"\n") <= lines:
            step = min(TAIL_BLOCK_BYTES, position)
            position -= step
            file.seek(position)
            content = file.read(step) + content
    text = content.decode("utf-8", "replace").splitlines()
    return (text[-lines:] if lines else []), end


def follow(
    files: Callable[[], Sequence[LogFile]], positions: dict[Path, int], sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[LogFile, str]]:
    """New lines as they come, for ever, those of new files too. A file that was cut is read from its start."""
    rest: dict[Path, bytes] = {}
    while True:
        quiet = True
        for file in files():
            chunk, positions[file.path] = _more(file.path, positions.get(file.path, 0))
            *lines, rest[file.path] = (rest.get(file.path, b"") + chunk).split(b"\n")
            for line in lines:
                quiet = False
                yield file, line.decode("utf-8", "replace")
        if quiet:
            sleep(POLL_SECONDS)


def _more(path: Path, position: int) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = position if position <= size else 0
            file.seek(start)
            chunk = file.read(TAIL_BLOCK_BYTES)
            return chunk, start + len(chunk)
    except FileNotFoundError:
        return b"", 0
