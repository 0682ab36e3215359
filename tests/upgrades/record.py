"""`python -m tests.upgrades.record 0.1.0`: what this checkout deploys, for the upgrade tests of later releases.

For each stack file: the file itself, one line a resource (`<stack>.txt`), and for dev and prod the state that Pulumi's
engine leaves in record-only mode (`<stack>.state.json.gz`).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from infra.local.toolchain.find import ensure
from infra.local.toolchain.tools import PULUMI
from infra.ops.diff.engine import Bench
from infra.ops.progress import Progress
from infra.rehearsal import rehearse_stack
from tests.upgrades.identity import kept

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
RELEASES = HERE / "releases"
STACKS = ("dev", "local", "prod")
DEPLOYED = ("dev", "prod")
STATE = "backend/.pulumi/stacks/penstock/{stack}.json"
"""In a bench's folder."""


def make_bench(folder: Path) -> Bench:
    toolchain = ensure(Progress(quiet=True), tools=(PULUMI,))
    path = toolchain.search_path(os.environ.get("PATH", "/usr/bin:/bin"))
    bench = Bench(folder, toolchain.path("pulumi"), path)
    bench.prepare()
    return bench


def write(release: str) -> None:
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", release):
        sys.exit("name the release: make record-release RELEASE=1.2.3")
    folder = RELEASES / release
    folder.mkdir(parents=True, exist_ok=True)
    for stack in STACKS:
        source = CHECKOUT / f"Pulumi.{stack}.yaml"
        (folder / source.name).write_text(source.read_text())
        lines = [each.line() for each in kept(rehearse_stack(source).registrations)]
        (folder / f"{stack}.txt").write_text("\n".join(lines) + "\n")
        if stack not in DEPLOYED:
            continue
        with tempfile.TemporaryDirectory(prefix="penstock-record-") as name:
            bench = make_bench(Path(name))
            bench.update(CHECKOUT, stack, source.read_text())
            state = json.loads((Path(name) / STATE.format(stack=stack)).read_text())
        content = json.dumps(without_this_machine(state), sort_keys=True, separators=(",", ":")).encode()
        (folder / f"{stack}.state.json.gz").write_bytes(gzip.compress(content, mtime=0))
        print(f"{release} {stack}: {len(lines)} resources")


def without_this_machine(value: Any) -> Any:
    """Times and source positions, which say where and when it was recorded, are left out."""
    if isinstance(value, dict):
        return {
            key: without_this_machine(each)
            for key, each in value.items()
            if key not in ("created", "modified", "sourcePosition", "stackTrace", "time")
        }
    return [without_this_machine(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    write(sys.argv[1] if len(sys.argv) > 1 else "")
