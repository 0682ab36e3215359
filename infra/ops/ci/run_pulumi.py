"""`python -m infra.ops.ci.run_pulumi ARGUMENT...`: the pinned `pulumi`, in the checkout, with the caller's credentials.

From PATH where its version fits, else from the cache or the official release.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from infra.local.toolchain.build import PYTHON_VARIABLE, BuildError
from infra.local.toolchain.find import ToolchainError, ensure
from infra.local.toolchain.tools import PULUMI
from infra.ops.progress import Progress
from infra.policy.held import held

CHECKOUT = Path(__file__).resolve().parents[3]


def main() -> NoReturn:
    try:
        toolchain = ensure(Progress(), tools=(PULUMI,))
    except (ToolchainError, BuildError) as error:
        sys.exit(str(error))
    pulumi = str(toolchain.path("pulumi"))
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '/usr/bin:/bin')}"
    environment = {
        **os.environ,
        "PATH": toolchain.search_path(beside),
        PYTHON_VARIABLE: sys.executable,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_ERROR_OUTPUT_STRING": "1",
        **held(os.environ),
    }
    os.chdir(CHECKOUT)
    os.execve(pulumi, [pulumi, *sys.argv[1:]], environment)  # noqa: S606 - no shell, and nothing to come back to


if __name__ == "__main__":
    main()
