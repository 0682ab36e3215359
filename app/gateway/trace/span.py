"""One request's span while the request goes on: ids and times alone, so that an unsampled request costs little.

The official SDK is not on this path: its spans took 12 us sampled and 2.3 us unsampled, and whether a request failed,
which is when it is kept whatever the share, is known only at its end. What is kept is turned into OpenTelemetry's
messages by a thread (see export.py).
"""

from __future__ import annotations

import os
import random
import re
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from app.gateway.attempt import Attempt

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
MOST_ATTEMPTS = 64
_random = random.Random(os.urandom(16))  # noqa: S311 - ids that must be unique, not secret

Value = str | int | float | bool | list[str]


class Parent(NamedTuple):
    trace: str
    span: str
    sampled: bool


def read_parent(header: bytes) -> Parent | None:
    """A `traceparent` header, as the W3C recommendation says; None where it is not valid and a new trace begins."""
    found = _PARENT.fullmatch(header.strip())
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5] is not None):
        return None
    trace, span = found[2].decode(), found[3].decode()
    if trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return Parent(trace, span, bool(int(found[4], 16) & 1))


def new_trace() -> str:
    return f"{_random.getrandbits(128) or 1:032x}"


def new_span() -> str:
    return f"{_random.getrandbits(64) or 1:016x}"


def chosen(trace: str, ratio: float) -> bool:
    """Decides by the trace's id, so that every service with this ratio chooses the same traces."""
    return int(trace[18:], 16) < ratio * (1 << 56)


class Try:
    """One attempt at an engine. Times in nanoseconds since 1970."""

    __slots__ = ("attempt", "begun", "ended", "engine", "port", "reason", "span", "zone")

    def __init__(self, attempt: Attempt, span: str) -> None:
        self.attempt: Attempt | None = attempt
        self.span = span
        self.engine = attempt.engine.host
        self.port = attempt.engine.port
        self.zone = attempt.engine.zone
        self.begun = time.time_ns()
        self.ended = 0
        self.reason = ""


class Span:
    """One request. `state` is a `tracestate` line for engines, or empty."""

    __slots__ = ("_spare", "begun", "events", "parent", "sampled", "span", "started", "state", "trace", "tries")

    def __init__(self, parent: Parent | None, state: bytes, ratio: float, *, follow: bool) -> None:
        self.begun = time.time_ns()
        self.started = time.monotonic()
        ids = f"{_random.getrandbits(256):064x}"  # all that most requests need, in one draw
        self.span = ids[32:48]
        self._spare = ids[48:]
        """The first attempt's."""
        if parent is None:
            self.trace, self.parent, self.state = ids[:32], "", b""
            self.sampled = chosen(self.trace, ratio)
        else:
            self.trace, self.parent, self.state = parent.trace, parent.span, state
            self.sampled = parent.sampled if follow else chosen(self.trace, ratio)
        self.tries: list[Try] = []
        self.events: list[tuple[str, int, dict[str, Value]]] = []

    def upstream_lines(self, attempt: Attempt) -> bytes:
        """Header lines for an engine; its spans come below this attempt's."""
        one = Try(attempt, self._spare or new_span())
        self._spare = ""
        if len(self.tries) < MOST_ATTEMPTS:
            self.tries.append(one)
        line = f"traceparent: 00-{self.trace}-{one.span}-{'01' if self.sampled else '00'}\r\n".encode()
        return line + self.state if self.state else line

    def left(self, attempt: Attempt, reason: str = "") -> None:
        """An attempt is over, well where there is no reason."""
        for one in reversed(self.tries):
            if one.attempt is attempt:
                one.ended, one.reason, one.attempt = time.time_ns(), reason, None
                return

    def event(self, name: str, **fields: Value) -> None:
        self.events.append((name, time.time_ns(), fields))

    def reply_line(self) -> bytes:
        """What the client gets, and sends with a score later."""
        return f"x-penstock-trace: {self.trace}-{self.span}\r\n".encode()


class Done(NamedTuple):
    """A span that ended, for export. Times in nanoseconds since 1970."""

    trace: str
    span: str
    parent: str
    name: str
    kind: str
    """server, client or internal."""
    begun: int
    ended: int
    fields: dict[str, Value]
    error: str
    """Empty where it went well."""
    events: list[tuple[str, int, dict[str, Value]]]
    link: tuple[str, str] | None = None
