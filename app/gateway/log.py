"""Structured log lines on stdout: one JSON object a line, written by a thread, so that a slow reader blocks nobody.

A line never holds a prompt, an answer or a key.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from app.gateway.redact import redacted

MOST_WAITING_LINES = 10_000
BATCH_SECONDS = 0.1

_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)
def shown(text: str | None) -> str:
    """A text as JSON, as it may be logged. For names that come back, such as those of models and keys."""
    return redacted(_encode(text)).decode()


def inner(fields: dict[str, Any]) -> bytes:
    """Fields as the inside of a JSON object, as they may be logged."""
    return redacted(_encode(fields))[1:-1]


class Log:
    """`event` is quick and never blocks. Beyond 10,000 waiting lines new ones are dropped and counted."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self.on_drop: Callable[[], None] = lambda: None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def line(self, fields: dict[str, Any]) -> None:
        """Takes a line that its caller has made whole, `time` and `event` included."""
        if self._lines.qsize() >= MOST_WAITING_LINES:
            self.on_drop()
        else:
            self._lines.put(redacted(_encode(fields)))

    def whole(self, line: bytes) -> None:
        """Takes a line of JSON of which each text went through `redacted` or `shown`."""
        if self._lines.qsize() >= MOST_WAITING_LINES:
            self.on_drop()
        else:
            self._lines.put(line)

    def event(self, event: str, **fields: Any) -> None:
        self.line({"time": round(time.time(), 3), "event": event, **fields})

    def _write(self) -> None:
        ended = False
        while not ended:
            lines = [self._lines.get()]
            time.sleep(BATCH_SECONDS if lines[0] is not None else 0)
            lines += [self._lines.get() for _ in range(self._lines.qsize())]  # nobody else takes any
            ended = None in lines
            data = b"\n".join([line for line in lines if line is not None] + [b""])
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # nobody reads stdout: serving goes on without a log
                ended = True

    def close(self, seconds: float = 2.0) -> None:
        """Writes what waits, within the time given."""
        self._lines.put(None)
        self._thread.join(seconds)
