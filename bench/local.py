"""Measures the local platform: warm `make up`, an empty preview, memory, `make down`. Takes about two minutes.

    python bench/local.py [--json]

It starts from nothing (a running platform is refused) with the tools in the cache, and leaves nothing.
Memory is the proportional set size (PSS) of every process of the platform, from /proc/<pid>/smaps_rollup, in MiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from infra.local import cloud

CHECKOUT = Path(__file__).resolve().parent.parent
PENSTOCK = Path(sys.executable).with_name("penstock")


def timed(*arguments: str) -> tuple[float, str]:
    """Seconds and standard output of `penstock ARGUMENTS`. Raises CalledProcessError when it fails."""
    begin = time.monotonic()
    done = subprocess.run([PENSTOCK, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=600)
    return time.monotonic() - begin, done.stdout


def family(process: int) -> set[int]:
    """The process and all its descendants."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it ended meanwhile
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def memory() -> dict[str, float]:
    """MiB by server name, of the supervisor and all its descendants."""
    report = json.loads((CHECKOUT / ".penstock" / "local" / "supervisor.json").read_text())
    sizes: dict[str, float] = {}
    for process in family(report["process"]):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            command = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        except OSError:
            continue
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        sizes[name_of(command)] = sizes.get(name_of(command), 0) + pss / 1024
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def name_of(command: list[str]) -> str:
    """`app.gateway` for `python -m app.gateway ...`, else the program's name."""
    if "-m" in command[:4]:
        return command[command.index("-m") + 1]
    return Path(command[0].split(":")[0]).name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if cloud.running(CHECKOUT):
        sys.exit("a local platform is running; stop it first: make down")
    up, _ = timed("up", "--json")
    try:
        sizes = memory()
        preview, _ = timed("preview")
        export = subprocess.run(
            ["sh", "-c", 'eval "$(penstock env)"; pulumi stack export -s local'],
            cwd=CHECKOUT,
            env={"PATH": f"{PENSTOCK.parent}:/usr/bin:/bin", "HOME": str(Path.home())},
            capture_output=True,
            text=True,
            check=True,
        )
        resources = len(json.loads(export.stdout)["deployment"]["resources"])
    finally:
        down, _ = timed("down")
    result = {
        "up_seconds": round(up, 1),
        "empty_preview_seconds": round(preview, 1),
        "down_seconds": round(down, 1),
        "resources": resources,
        "memory_mib": round(sum(sizes.values())),
        "memory_mib_by_server": {name: round(size) for name, size in sizes.items()},
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"warm up {up:.1f} s, empty preview {preview:.1f} s, down {down:.1f} s; {resources} resources")
    print(f"memory {result['memory_mib']} MiB: " + ", ".join(f"{name} {size:.0f}" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
