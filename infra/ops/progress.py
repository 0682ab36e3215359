"""Progress of long work: a live line with elapsed time on a terminal, plain lines elsewhere.

Everything goes to standard error, so that standard output stays data. Colours are used on a terminal only, and
never where NO_COLOR is set (https://no-color.org).
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

REDRAW_SECONDS = 0.2
PLAIN_DETAIL_SECONDS = 10.0
"""A log does not need each detail: at most one line in this time."""
PLAIN_REPEAT_SECONDS = 30.0
"""Nor is it silent for longer than this: whoever reads it would take the work for hung."""

ERASE_LINE = "\r\x1b[2K"
DIM, RED, GREEN, RESET = "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@dataclass
class _Step:
    title: str
    started: float
    estimate_seconds: float | None
    detail: str = ""


class Progress:
    """Thread-safe. `live` draws one line over and over; None means: where `stream` is a terminal."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        colours: bool | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._live = terminal if live is None else live
        self._colours = (self._live and not os.environ.get("NO_COLOR")) if colours is None else colours
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.RLock()
        self._steps: list[_Step] = []
        self._last_detail = float("-inf")

    def say(self, text: str) -> None:
        """One line that stays."""
        if self._quiet:
            return
        with self._lock:
            self._write(f"{ERASE_LINE if self._live else ''}{text}\n")
            self._draw()

    def detail(self, text: str) -> None:
        """What the running step does now: the end of the live line, or now and then a line of a log."""
        with self._lock:
            if not self._steps or self._quiet:
                return
            self._steps[-1].detail = " ".join(text.split())
            if not self._live and self._clock() - self._last_detail >= PLAIN_DETAIL_SECONDS:
                self._last_detail = self._clock()
                self._write(f"  {self._line(self._steps[-1])}\n")

    @contextmanager
    def step(self, title: str, estimate_seconds: float | None = None) -> Generator[None]:
        """A piece of work with a name. `estimate_seconds` is shown beside the elapsed time. Steps may be nested."""
        step = _Step(title, self._clock(), estimate_seconds)
        with self._lock:
            self._steps.append(step)
            self._last_detail = self._clock()
        if not self._live:
            about = f" (about {duration(estimate_seconds)})" if estimate_seconds else ""
            self.say(f"{title}{about} ...")
        drawing = threading.Event()
        drawer = threading.Thread(target=self._redraw if self._live else self._repeat, args=(drawing,), daemon=True)
        if not self._quiet:
            drawer.start()
        failed = True
        try:
            yield
            failed = False
        finally:
            drawing.set()
            if drawer.ident is not None:
                drawer.join()
            with self._lock:
                self._steps.remove(step)
            self._report(step, failed)

    def _report(self, step: _Step, failed: bool) -> None:
        word, colour = ("failed after", RED) if failed else ("done in", GREEN)
        took = duration(self._clock() - step.started)
        self.say(f"{step.title}: {self._paint(word, colour)} {took}")

    def _redraw(self, drawing: threading.Event) -> None:
        while True:
            with self._lock:
                self._draw()
            if drawing.wait(REDRAW_SECONDS):
                return

    def _repeat(self, ended: threading.Event) -> None:
        while not ended.wait(PLAIN_REPEAT_SECONDS):
            with self._lock:
                if self._clock() - self._last_detail >= PLAIN_REPEAT_SECONDS:
                    self._last_detail = self._clock()
                    self._write(f"  {self._line(self._steps[-1])}\n")

    def _draw(self) -> None:
        if self._live and self._steps and not self._quiet:
            width = shutil.get_terminal_size().columns - 1
            line = self._line(self._steps[-1])[:width]
            self._write(ERASE_LINE + self._paint(line, DIM))

    def _line(self, step: _Step) -> str:
        elapsed = duration(self._clock() - step.started)
        about = f" of about {duration(step.estimate_seconds)}" if step.estimate_seconds else ""
        return f"{step.title}: {elapsed}{about}{' | ' + step.detail if step.detail else ''}"

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if self._colours else text

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True  # whoever read the progress has gone; the work itself goes on
