"""`pulumi` in a shell that has taken `penstock env`: the real one, run in the platform's working folder.

Called in the checkout (or its `infra/`), it copies the stack files in, runs pulumi there and takes back what the
command changed in them. Called in any other project, or with --cwd, it steps aside.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.local.layout import Layout
from infra.local.workspace import Workspace


def belongs_to(checkout: Path, folder: Path, arguments: Sequence[str]) -> bool:
    """Whether the command is about the checkout's own project."""
    elsewhere = any(argument in ("-C", "--cwd") or argument.startswith("--cwd=") for argument in arguments)
    return not elsewhere and folder in (checkout, checkout / "infra")


def main() -> None:
    workspace = Workspace(Layout.from_environment())
    pulumi, arguments = str(workspace.toolchain.path("pulumi")), sys.argv[1:]
    if not belongs_to(workspace.layout.checkout, Path.cwd(), arguments):
        os.execv(pulumi, [pulumi, *arguments])  # noqa: S606
    workspace.prepare()
    process = subprocess.Popen([pulumi, "--cwd", str(workspace.layout.workspace), *arguments])
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            continue  # pulumi has had the signal too and ends by itself
    workspace.write_back()
    sys.exit(status)


if __name__ == "__main__":
    main()
