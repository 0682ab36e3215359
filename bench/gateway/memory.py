"""Whether memory stays flat: `python -m bench.gateway.memory` sends a million requests and reads the gateway's memory.

On a machine with other work it ends after `--seconds`, with what was sent until then. Exit status: 0 where memory grew
by less than 2 MB after the first fifth, 1 where by more or where the run cannot be made.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.gateway import formulas, kernel
from bench.gateway.compiled import Missing, compiled
from bench.gateway.formulas import MOST_GROWTH_MB, VoidRunError
from bench.gateway.modes import MODES, Mode
from bench.gateway.peers import OWN, PEERS
from bench.gateway.runner import Bench, Cores, Failed
from bench.gateway.stores import stores
from infra.local.toolchain.find import cache_folder

REQUESTS, SECONDS = 1_000_000, 600
WINDOW_SECONDS = 2.0


def measure(bench: Bench, requests: int, seconds: float) -> list[tuple[int, float]]:
    """Requests so far (streams among them: one window in five) and the process's MB. Raises Failed."""
    own = next(peer for peer in PEERS if peer.name == OWN)
    upstream = bench.start_upstream()
    seen: list[tuple[int, float]] = []
    try:
        server = bench.start(own, own.source.install(cache_folder() / "bench"), upstream.port)
        try:
            done, until = 0, time.monotonic() + seconds
            for number in itertools.count():
                mode: Mode = next(mode for mode in MODES if mode.name == ("sse" if number % 5 == 4 else "json"))
                try:
                    run = bench.measure(own, replace(mode, seconds=WINDOW_SECONDS, warm_seconds=0.1), server)
                except VoidRunError as reason:  # a window in which a busy machine let no stream end
                    print(reason, file=sys.stderr)
                    continue
                done += run.window.requests
                seen.append((done, kernel.pss_mb(server.root)))
                print(f"{done:>8,} requests: {seen[-1][1]:.1f} MB", file=sys.stderr, flush=True)
                if done >= requests or time.monotonic() >= until:
                    break
        finally:
            server.end()
    finally:
        upstream.end()
    return seen


def growth(seen: list[tuple[int, float]]) -> float:
    """As `formulas.growth`. Raises Failed for too few readings."""
    found = formulas.growth(seen)
    if found is None:
        raise Failed(f"only {seen[-1][0] if seen else 0} requests were answered")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.memory", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, metavar="N", help=f"default {REQUESTS:,}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"the most that it takes, default {SECONDS}")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    cache = cache_folder() / "bench"
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-memory-") as folder:
            load, upstream = compiled("load", cache), compiled("upstream", cache)
            bench = Bench(Path(folder), load, upstream, Cores.of_this_machine(), open_files)
            with stores(bench.folder) as found:
                bench.store_environment = found.environment
                seen = measure(bench, options.requests, options.seconds)
                grown = growth(seen)
    except (Missing, Failed) as reason:
        print(f"the run cannot be made: {reason}", file=sys.stderr)
        return 1
    print(f"{seen[-1][0]:,} requests: {seen[-1][1]:.1f} MB, grown by {grown:.2f} MB (allowed: {MOST_GROWTH_MB:g} MB)")
    return int(grown > MOST_GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
