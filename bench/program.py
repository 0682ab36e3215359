"""Measures the program without engine or cloud: how long a stack's run takes, and how long one resource.

    python bench/program.py [--json] [STACK ...]

The first run of a process loads the SDK's modules; later runs show what the program itself costs. CPU seconds are given
beside wall seconds, since they say more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.rehearsal import penstock_program, rehearse_stack

CHECKOUT = Path(__file__).resolve().parent.parent
REPEATS = 3


@dataclass(frozen=True)
class Measured:
    stack: str
    resources: int
    first_seconds: float
    seconds: float
    """Wall time of the fastest later run."""
    cpu_seconds: float
    milliseconds_per_resource: float


def measure(stack: str) -> Measured:
    path = CHECKOUT / f"Pulumi.{stack}.yaml"
    first = rehearse_stack(path)
    runs = []
    for _ in range(REPEATS):
        begun = time.process_time()
        run = rehearse_stack(path)
        runs.append((run.seconds, time.process_time() - begun))
    seconds, cpu_seconds = min(runs)
    count = len(first.registrations)
    return Measured(stack, count, first.seconds, seconds, cpu_seconds, 1000 * seconds / count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stacks", nargs="*", default=["prod"], metavar="STACK")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    penstock_program()
    imported = time.perf_counter() - begun
    found = [measure(stack) for stack in arguments.stacks]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        print(
            json.dumps({"import_seconds": imported, "peak_mib": peak_mib, "stacks": [asdict(each) for each in found]})
        )
        return
    print(f"import of the program: {imported:.2f} s; peak memory: {peak_mib:.0f} MiB")
    for each in found:
        print(
            f"{each.stack}: {each.resources} resources, first run {each.first_seconds:.2f} s, "
            f"later {each.seconds:.2f} s ({each.cpu_seconds:.2f} s CPU), {each.milliseconds_per_resource:.1f} ms each"
        )


if __name__ == "__main__":
    main()
