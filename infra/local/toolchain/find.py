"""Makes every tool available: from PATH, else the user's cache, else the official release, else built from source."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.files import write_whole
from infra.local.toolchain.build import build
from infra.local.toolchain.release import download
from infra.local.toolchain.tools import TOOLS, Tool

if TYPE_CHECKING:
    from infra.ops.progress import Progress

_VERSION_SECONDS = 10


class ToolchainError(RuntimeError):
    """A tool can be had in none of the ways. The message is one sentence for a person."""


@dataclass(frozen=True)
class Toolchain:
    """Folders that hold the tools, in the order for PATH."""

    folders: tuple[Path, ...]

    def path(self, binary: str) -> Path:
        """The executable `binary`. Raises ToolchainError where no folder has it."""
        for folder in self.folders:
            if (folder / binary).exists():
                return folder / binary
        raise ToolchainError(f"{binary} is not in {', '.join(map(str, self.folders))}; run `make up` to set it up")

    def save(self, state: Path) -> None:
        """Notes the folders in a platform's state, so that its processes need not look for the tools again."""
        write_whole(state / "toolchain.json", json.dumps([str(folder) for folder in self.folders]))

    @classmethod
    def load(cls, state: Path) -> Toolchain:
        """The tools that a platform was started with. Raises FileNotFoundError where none was."""
        return cls(tuple(Path(folder) for folder in json.loads((state / "toolchain.json").read_text())))

    def search_path(self, rest: str) -> str:
        return os.pathsep.join([*map(str, self.folders), rest])


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/penstock`, shared by all checkouts of the user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "penstock"


def on_path(tool: Tool) -> Path | None:
    """The folder on PATH whose binaries are all there in a version that fits; None where one is missing or differs."""
    folders = set()
    for binary in tool.binaries:
        found = shutil.which(binary.name)
        if found is None or not _is_program(Path(found)) or not tool.fits(_version(found, binary.version_command)):
            return None
        folders.add(Path(found).resolve().parent)
    if len(folders) != 1:
        return None
    folder = folders.pop()
    beside = [tool.language_host, *(Path(path).name for _, path in tool.extra_files)]
    return folder if all((folder / name).exists() for name in beside) else None


def _is_program(path: Path) -> bool:
    """Not a script: the platform's own `pulumi` is one, and would ask for the tools again."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _version(binary: str, command: Sequence[str]) -> str:
    try:
        done = subprocess.run([binary, *command], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout or done.stderr


def cached(tool: Tool, cache: Path) -> Path | None:
    """The tool's folder in the cache. It is renamed into place when whole, so what is there is complete."""
    folder = cache / "tools" / f"{tool.name}-{tool.version}"
    return folder if all((folder / binary.name).exists() for binary in tool.binaries) else None


def ensure(progress: Progress, cache: Path | None = None, tools: Sequence[Tool] = TOOLS) -> Toolchain:
    """Finds or makes every tool, saying what it does. Raises ToolchainError, one sentence with the next step."""
    cache = cache or cache_folder()
    folders = []
    made = False
    for tool in tools:
        folder = on_path(tool) or cached(tool, cache)
        if folder is None:
            with only_one(cache, progress):
                folder = cached(tool, cache)
                made = made or folder is None
                folder = folder or _make(tool, cache, progress)
        folders.append(folder)
    if made:  # not where all was there: another checkout may be building
        with only_one(cache, progress):
            shutil.rmtree(cache / "build", ignore_errors=True)
    return Toolchain(tuple(dict.fromkeys(folders)))


def _make(tool: Tool, cache: Path, progress: Progress) -> Path:
    target = cache / "tools" / f"{tool.name}-{tool.version}"
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        reason = download(tool, fresh, progress)
        if reason:
            progress.say(f"{tool.name} {tool.version}: no official release within reach ({reason}); building it")
            build(tool, fresh, cache, progress)
        fresh.rename(target)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ToolchainError(f"cannot write {error.filename or target}: {error.strerror or error}") from error
    return target


@contextmanager
def only_one(cache: Path, progress: Progress) -> Generator[None]:
    """Holds the cache's lock, so that two checkouts do not build the same tool twice."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another checkout is setting up the tools; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
