"""The load generator and the upstream, compiled when they are first needed, into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
COMPILE_SECONDS = 120


class Missing(Exception):  # noqa: N818 - it is a state that is reported, no fault
    """Something the benchmark needs is not to be had. The message is the reason, one sentence for a person."""


def compiled(source: str, cache: Path) -> Path:
    """The program made of `<source>.c`. Raises Missing where there is no compiler or it refuses."""
    text = (HERE / f"{source}.c").read_bytes()
    program = cache / "programs" / f"{source}-{hashlib.sha256(text).hexdigest()[:16]}"
    if program.exists():
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise Missing("no C compiler (cc, gcc or clang) on PATH; on Debian and Ubuntu: apt-get install gcc libc6-dev")
    program.parent.mkdir(parents=True, exist_ok=True)
    half = program.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-o", str(half), str(HERE / f"{source}.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    if done.returncode:
        raise Missing(f"{compiler} cannot compile bench/gateway/{source}.c: {done.stderr.strip()[-400:]}")
    half.replace(program)
    return program
