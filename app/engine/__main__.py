"""`python -m app.engine serve MODEL [flags of vllm serve]`."""

from __future__ import annotations

import os
import sys

from app.engine.flags import FlagError, parse
from app.engine.replies import VERSION
from app.engine.settings import SimulatorSettings

USAGE = "usage: vllm serve [model_tag] [options]"


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 after a drain, 1 for a setting that cannot be, 2 for a wrong command line."""
    if arguments[:1] in (["--version"], ["-v"]):
        print(VERSION)
        return 0
    if arguments[:1] in (["--help"], ["-h"]) or arguments[1:2] in (["--help"], ["-h"]):
        print(f"{USAGE}\n\nPenstock's simulated engine takes the flags of vLLM {VERSION}; see app/engine/flags.py.")
        return 0
    if arguments[:1] != ["serve"]:
        print(f"{USAGE}\nvllm: error: the first argument must be 'serve'", file=sys.stderr)
        return 2
    try:
        flags = parse(arguments[1:])
    except FlagError as error:
        print(f"{USAGE}\nvllm serve: error: {error}", file=sys.stderr)
        return 2
    try:
        settings = SimulatorSettings.from_environment(os.environ)
        # Imported late: a wrong command line needs neither the event loop nor the vocabulary.
        from app.engine.drain import run

        return run(flags, settings)
    except (ValueError, OSError) as error:
        print(f"vllm serve: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
