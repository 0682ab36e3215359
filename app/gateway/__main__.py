"""Runs the gateway. Exit status: 0 after a drain, 1 where the port is taken, 2 for a mistake in the settings."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from pathlib import Path

import uvloop

from app.gateway.log import Log
from app.gateway.server import Gateway, run
from app.gateway.settings import SettingsError, load_config, load_keys
from app.gateway.surroundings import surroundings

GC_THRESHOLDS = (20_000, 5, 2)
"""Requests leave no cycles behind: to look for some after each 700 objects, Python's default, is work for nothing.

What else there is goes with a full collection, after some 150,000 requests: with (20_000, 20, 20) it was 300,000, and
memory swung by 44 MB in place of 32 (`python -m bench.gateway.memory`)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m app.gateway", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the gateway's configuration (JSON)")
    parser.add_argument("--keys", type=Path, required=True, help="API keys as hashes (JSON); re-read when it changes")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--engines", default="", help="fixed engines for every model, http://HOST:PORT[,...]; no pods are watched"
    )
    options = parser.parse_args()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a scanner's broken request is no news
    try:
        config = load_config(options.config)
        keys = load_keys(options.keys)
        around = surroundings(os.environ, options.engines)
    except SettingsError as error:
        print(f"penstock gateway: {error}", file=sys.stderr)
        return 2
    gc.set_threshold(*GC_THRESHOLDS)
    log = Log()
    gateway = Gateway(config, keys, around, log, options.keys)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(gateway, options.host, options.port))
    except SettingsError as error:
        print(f"penstock gateway: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"penstock gateway: cannot listen on {options.host}:{options.port}: {error.strerror or error}",
            file=sys.stderr,
        )
        return 1
    finally:
        log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
