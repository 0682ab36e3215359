"""Recorded bases that are kept: the next diff against the same commit needs the preview alone.

A base's state depends on its commit, the stack, the packages that its program runs with, and on what records it. All of
that is in the key, so that nothing is ever out of date; old ones are removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from infra.local.toolchain.tools import PULUMI

MOST = 8
PARTS = ("backend", "base")
"""Of a bench's folder: the state, and the stack file with the salt that the state was written with."""
RECORDERS = ("infra/inventions.py", "infra/ops/diff", "infra/local/aws/provider", "infra/local/kubernetes/provider")


def key(checkout: Path, commit: str, stack: str) -> str:
    digest = hashlib.sha256(f"{PULUMI.version} {commit} {stack}".encode())
    for path in (checkout / "requirements.lock", *_recorders(checkout)):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return f"{stack}-{digest.hexdigest()[:16]}"


def _recorders(checkout: Path) -> Iterator[Path]:
    for name in RECORDERS:
        place = checkout / name
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def take(shelf: Path, name: str, bench: Path) -> bool:
    """Puts what is kept under that name into a bench's folder. False where nothing is."""
    kept = shelf / name
    if not all((kept / part).is_dir() for part in PARTS):
        return False
    try:
        for part in PARTS:
            shutil.copytree(kept / part, bench / part, dirs_exist_ok=True, symlinks=True)
        os.utime(kept)
    except OSError:  # another diff has just removed it
        for part in PARTS:
            shutil.rmtree(bench / part, ignore_errors=True)
        (bench / "backend").mkdir(parents=True, exist_ok=True)
        return False
    return True


def keep(shelf: Path, name: str, bench: Path) -> None:
    """Keeps a bench's recorded base, whole or not at all, and the MOST newest of all."""
    draft = shelf / f".{name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in PARTS:
        # Links lead to the base's folder, which goes with the diff.
        shutil.copytree(bench / part, draft / part, ignore=_links)
    try:
        draft.rename(shelf / name)
    except OSError:  # another diff was faster
        shutil.rmtree(draft, ignore_errors=True)
    newest = sorted((each for each in shelf.iterdir() if each.is_dir()), key=lambda each: each.stat().st_mtime)
    for old in newest[:-MOST]:
        shutil.rmtree(old, ignore_errors=True)


def _links(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_symlink()]
