"""Compares the gateway with others and writes docs/performance.md: `make bench`, or `python -m bench.gateway`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.gateway.compare import Comparison, Plan
from bench.gateway.compiled import Missing, compiled
from bench.gateway.peers import PEERS
from bench.gateway.report import page
from bench.gateway.runner import Bench, Cores
from infra.local.toolchain.find import cache_folder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def main() -> int:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("BENCH") == "quick")
    parser.add_argument("--rounds", type=int, choices=range(1, 10), metavar="N", help="1 to 9 (default 3; quick: 1)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--output", type=Path, default=PAGE, help="where the page is written")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("the benchmark reads Linux' scheduler time: it runs on Linux only", file=sys.stderr)
        return 2
    cache = cache_folder() / "bench"
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    try:
        load, upstream = compiled("load", cache), compiled("upstream", cache)
    except Missing as reason:
        print(f"the benchmark cannot run: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        bench = Bench(Path(folder), load, upstream, Cores.of_this_machine(), open_files)
        peers = [peer for peer in PEERS if peer.name in options.only]
        plan = Plan.quick() if options.quick else Plan()
        comparison = Comparison(bench, peers, replace(plan, rounds=options.rounds or plan.rounds))
        comparison.run(cache)
    text = page(
        comparison.facts(quick=options.quick),
        comparison.measured(),
        comparison.missing,
        comparison.held,
        comparison.scaling,
        comparison.grown,
    )
    options.output.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
