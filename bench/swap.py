"""What a swap costs the requests beside it, and where that comes from: `python -m bench.swap`, with the platform up.

Four parts of one run under the same load: nothing else; previews that change nothing; the weights moved by the load
balancer's API alone, as clients see it where the update runs on another machine than what it updates (as on AWS); the
weights moved by `penstock release shift`, whose update shares the cores with gateways and engines. It prints one JSON
object: for each part requests, failures, cut streams and TTFT, and its 99th percentile against that of the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.ops import traffic
from infra.ops.endpoint import from_outputs
from infra.ops.load.generator import Load, Plan
from infra.ops.load.records import Figures
from infra.ops.release.world import set_weights
from infra.ops.stacks import StackAccess, open_stack
from infra.ops.weights import Weights

ROOT = Path(__file__).resolve().parents[1]
STEPS = (Weights(50, 50), Weights(0, 100), Weights(100, 0))
"""To green by halves, and back: as the tests of the local tier have it."""
COMMAND_SECONDS = 400.0


@dataclass(frozen=True)
class Swap:
    """`seconds`: of the quiet part, and after each change of the weights."""

    access: StackAccess
    load: Load
    seconds: float

    async def parts(self) -> dict[str, Figures]:
        """Raises PenstockError, TimeoutError, and RuntimeError where a command fails."""
        await asyncio.sleep(self.seconds / 2)  # streams open, and connections with them
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "calm": lambda: asyncio.sleep(self.seconds),
            "preview": self._previews,
            "balancer": self._by_the_balancer,
            "update": self._by_updates,
        }
        found = {}
        for name, part in parts.items():
            began = self.load.now
            await part()
            found[name] = (began, self.load.now)
            print(f"{name}: {self.load.now - began:.0f} s", file=sys.stderr, flush=True)
        self.load.stop()
        await asyncio.wait_for(self.load.finished.wait(), COMMAND_SECONDS)
        return {name: self.load.records.figures(*window) for name, window in found.items()}

    async def _previews(self) -> None:
        for _ in STEPS:
            await self._penstock("preview", "--json")

    async def _by_the_balancer(self) -> None:
        balancer = self.access.aws("elbv2")
        way = await asyncio.to_thread(lambda: traffic.route(self.access.state()))
        for weights in STEPS:
            await asyncio.to_thread(set_weights, balancer, way, weights)
            await asyncio.sleep(self.seconds)

    async def _by_updates(self) -> None:
        for weights in STEPS:
            await self._penstock("release", "shift", f"green={weights.green}", "--yes", "--json")
            await asyncio.sleep(self.seconds)

    async def _penstock(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "infra.ops.cli", *arguments,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, told = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        if process.returncode != 0:
            raise RuntimeError(f"penstock {' '.join(arguments)} ended with {process.returncode}: {told.decode()}")


def as_dict(parts: dict[str, Figures]) -> dict[str, Any]:
    """Times in milliseconds; `ratio` is that of the 99th percentiles, to the part `calm`."""
    calm = parts["calm"].ttft_p99
    return {
        name: {
            "requests": figures.requests,
            "streams": figures.streams,
            "failed": figures.failures,
            "cut": figures.cut_streams,
            "ttft_p50_ms": _ms(figures.ttft_p50),
            "ttft_p99_ms": _ms(figures.ttft_p99),
            "ratio": round(figures.ttft_p99 / calm, 2) if figures.ttft_p99 and calm else None,
        }
        for name, figures in parts.items()
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


async def measure(rate: float, streams: int, seconds: float) -> dict[str, Any]:
    access = open_stack(ROOT, "local")
    endpoint = from_outputs(access.outputs())
    plan = Plan(endpoint.models[0], rate=rate, streams=streams, seconds=1800, stream_tokens=200)
    load = Load(endpoint, plan)
    task = asyncio.create_task(load.run())
    try:
        parts = await Swap(access, load, seconds).parts()
    finally:
        load.stop()
        await asyncio.wait_for(task, COMMAND_SECONDS)
    return {
        "requests_per_second": rate,
        "open_streams": streams,
        "load_average": round(os.getloadavg()[0], 1),
        "parts": as_dict(parts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="JSON requests a second")
    parser.add_argument("--streams", type=int, default=50, help="open at all times")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the quiet part, and after each change")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.rate, options.streams, options.seconds)), indent=2))


if __name__ == "__main__":
    main()
