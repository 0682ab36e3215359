"""The base revision's files in a folder of their own, from any clone: shallow, of a fork, without a remote."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from infra.ops.errors import PenstockError, UsageError

GIT_SECONDS = 60.0
LOCK = "requirements.lock"


@dataclass(frozen=True)
class Base:
    """The revision that is compared with."""

    asked: str
    commit: str
    remarks: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        return self.commit[:9]


def find_base(checkout: Path, asked: str) -> Base:
    """Where the branch left `asked`, so that what came there meanwhile does not show as if it were taken back.

    A shallow clone cannot tell: there it is `asked` itself. Raises UsageError where the clone has no such revision.
    """
    commit = next((found for name in (asked, f"origin/{asked}") if (found := _commit(checkout, name))), None)
    if commit is None:
        raise UsageError(
            f"This clone has no revision {asked!r}.",
            f"Fetch it (`git fetch --depth=1 origin {asked}`) and name FETCH_HEAD, or name another with --base.",
        )
    done = _git(checkout, "merge-base", commit, "HEAD")
    if done.returncode == 0 and (left := done.stdout.decode().strip()):
        return Base(asked, left)
    return Base(asked, commit, (f"The clone does not reach back to where it left {asked}: compared with its tip.",))


def unpack(checkout: Path, base: Base, folder: Path) -> None:
    """Writes the revision's files. No working tree is registered with git, so nothing is left behind."""
    done = _git(checkout, "archive", "--format=tar", base.commit)
    if done.returncode:
        raise PenstockError(f"`git archive` of {base.short} failed: {done.stderr.decode(errors='replace').strip()}.")
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def lock_remark(base: Path, head: Path) -> str | None:
    """Both programs run with this checkout's packages; a sentence where the base locks others."""
    locks = [(side / LOCK).read_bytes() if (side / LOCK).is_file() else b"" for side in (base, head)]
    if locks[0] == locks[1]:
        return None
    return (
        f"{LOCK} differs, and both programs ran with this checkout's packages: what new packages change is not shown."
    )


def _commit(checkout: Path, name: str) -> str | None:
    if name.startswith("-"):
        return None
    done = _git(checkout, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return done.stdout.decode().strip() if done.returncode == 0 else None


def _git(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, timeout=GIT_SECONDS, check=False
        )
    except FileNotFoundError:
        raise PenstockError("`git` is not on the PATH.", "Install it: the base revision comes from it.") from None
    except subprocess.TimeoutExpired:
        raise PenstockError(f"`git {arguments[0]}` did not end in {GIT_SECONDS:.0f} s.") from None
