"""Ctrl-C and SIGTERM while Pulumi works: Pulumi ends what it has begun, and only then does the command.

An update that is torn off leaves a locked stack with pending operations. Pulumi itself ends well on its first SIGINT.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Set
from concurrent import futures
from pathlib import Path
from typing import TypeVar

from infra.ops.errors import Terminated
from infra.ops.progress import Progress

T = TypeVar("T")


def to_its_end(call: Callable[[], T], progress: Progress) -> T:
    """Runs `call` in a thread and waits for it, also when interrupted; a second interrupt leaves at once.

    Ctrl-C reaches what it has started through the terminal; SIGTERM is passed on. Raises what `call` raises, or
    KeyboardInterrupt once it has ended.
    """
    result: futures.Future[T] = futures.Future()
    before = set(children())  # a platform's supervisor among them: not Pulumi, and to live on

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
            try:
                _pass_on(interrupt, before)
                futures.wait([result])
            except KeyboardInterrupt as again:
                _pass_on(again, before)
                raise
        raise


def _pass_on(interrupt: KeyboardInterrupt, before: Set[int]) -> None:
    """SIGTERM, as a SIGINT to the new children. A second SIGINT would tear off what the first one ends."""
    if isinstance(interrupt, Terminated):
        for child in set(children()) - before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGINT)


def children() -> list[int]:
    """This process's children, where the system tells (Linux)."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:  # that thread has just ended
            continue
    return found
