"""`make image-scan`: known vulnerabilities of the packages that the gateway's image installs, by pip-audit.

It asks the package index's advisory service, so it needs the network. The base image's own packages are scanned by ECR
when the image is pushed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from app.gateway.image import select
from infra.local.toolchain.environments import InstallError, locked_environment

CHECKOUT = Path(__file__).resolve().parents[3]
SECONDS = 300.0


def main() -> int:
    lock = select((CHECKOUT / "requirements.lock").read_text(encoding="utf-8"))
    try:
        home = locked_environment("audit", lambda text: print(text, file=sys.stderr))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "image.lock"
            file.write_text(lock, encoding="utf-8")
            # Strict: a package that nobody can tell about is a failure, and not a package without a finding.
            options = ["--strict", "--require-hashes", "--disable-pip", "--progress-spinner=off"]
            command = [str(home / "bin" / "pip-audit"), "--requirement", str(file), *options]
            return subprocess.run(command, check=False, timeout=SECONDS).returncode
    except (InstallError, OSError, subprocess.TimeoutExpired) as error:
        print(f"make image-scan: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
