"""Ctrl-C and SIGTERM while Pulumi works: Pulumi ends what it has begun, and only then does the command.

An update that is torn off leaves a locked stack with pending operations. Pulumi itself ends well on its first SIGINT.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import TypeVar

from infra.ops.progress import Progress

T = TypeVar("T")


class Terminated(KeyboardInterrupt):
    """SIGTERM, which reaches this process alone. A Ctrl-C reaches its children as well."""


def to_its_end(call: Callable[[], T], progress: Progress) -> T:
    """Runs `call` in a thread and waits for it, also when interrupted; a second interrupt leaves at once.

    Raises what `call` raises, or KeyboardInterrupt once it has ended.
    """
    result: futures.Future[T] = futures.Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            result.set_exception(error)

    threading.Thread(target=run, name="pulumi", daemon=True).start()
    try:
        return result.result()
    except KeyboardInterrupt as interrupt:
        if not result.done():
            progress.say("Interrupted: waiting for Pulumi to end what it has begun. Once more leaves at once.")
            if isinstance(interrupt, Terminated):
                for child in children():
                    os.kill(child, signal.SIGINT)
            futures.wait([result])
        raise


def children() -> list[int]:
    """This process's children, where the system tells (Linux)."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:  # that thread has just ended
            continue
    return found
