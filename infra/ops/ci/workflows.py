"""`make lint-workflows`: actionlint and zizmor over `.github/workflows`, each of a pinned version, without network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from infra.local.toolchain.build import BuildError
from infra.local.toolchain.environments import InstallError, locked_environment
from infra.local.toolchain.find import ToolchainError, ensure
from infra.local.toolchain.tools import ACTIONLINT
from infra.ops.progress import Progress

CHECKOUT = Path(__file__).resolve().parents[3]
WORKFLOWS = CHECKOUT / ".github" / "workflows"
SECONDS = 120.0


def commands(progress: Progress) -> dict[str, list[str]]:
    """Name to command line. Makes the tools where they are missing. Raises the toolchain's errors."""
    actionlint = ensure(progress, tools=(ACTIONLINT,)).path("actionlint")
    zizmor = locked_environment("zizmor", progress.say) / "bin" / "zizmor"
    files = [str(path) for path in sorted(WORKFLOWS.glob("*.yml"))]
    return {
        # No shellcheck and no pyflakes: whether they are installed must not change the answer.
        "actionlint": [str(actionlint), "-no-color", "-shellcheck=", "-pyflakes=", *files],
        "zizmor": [str(zizmor), "--offline", "--persona=pedantic", "--no-progress", "--color=never", *files],
    }


def lint(name: str, command: list[str]) -> str:
    """What the linter found; empty for nothing. Raises ToolchainError where it does not answer."""
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR")}
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{name} did not answer: {error}") from error
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}".strip()


def main() -> int:
    try:
        found = {name: lint(name, command) for name, command in commands(Progress()).items()}
    except (ToolchainError, BuildError, InstallError) as error:
        print(f"make lint-workflows: {error}", file=sys.stderr)
        return 2
    for name, text in found.items():
        print(f"{name}: {text or 'nothing found'}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
