"""Python environments of their own, for tools whose needs would hold ours back: made once from a lock file."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from infra.local.toolchain.find import cache_folder

INSTALL_SECONDS = 1800
CHECKOUT = Path(__file__).resolve().parents[3]


class InstallError(RuntimeError):
    """An environment could not be made."""


def locked_environment(
    name: str,
    say: Callable[[str], object],
    *,
    cache: Path | None = None,
) -> Path:
    """The folder of the environment that `.ci/<name>.txt` locks; another lock makes another folder. Two callers
    at once make it once. Raises InstallError."""
    lock_file = CHECKOUT / ".ci" / f"{name}.txt"
    digest = hashlib.sha256(lock_file.read_bytes()).hexdigest()[:12]
    home = (cache or cache_folder()) / f"{name}-{digest}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / ".ready").exists():
            say(f"installing {name} ...")
            try:
                venv.create(home, clear=True, with_pip=False)
                uv, python = Path(sys.executable).parent / "uv", home / "bin" / "python"
                command = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock_file]
                subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
            except (OSError, subprocess.SubprocessError) as problem:
                raise InstallError(f"{name} could not be installed: {problem}") from problem
            (home / ".ready").touch()
    return home
