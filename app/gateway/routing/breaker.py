"""A circuit breaker: closed, open, half-open. A state machine without I/O and without a clock of its own.

It counts failed and slow calls in ten slots of a window, so its memory does not grow with traffic. An error of the
client, a client that left, and a long generation are no failures: for them the caller uses `forget`.
"""

from __future__ import annotations

from typing import Literal

from app.gateway.routing.config import BreakerSettings

State = Literal["closed", "open", "half-open"]
SLOTS = 10
MOST_FACTOR = 8


class Breaker:
    __slots__ = (
        "_calls",
        "_failed",
        "_half_open",
        "_open_until",
        "_openings",
        "_probes",
        "_settings",
        "_slot",
        "_slow",
        "_well",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._calls = [0] * SLOTS
        self._failed = [0] * SLOTS
        self._slow = [0] * SLOTS
        self._slot = 0
        self._open_until = 0.0
        self._half_open = False
        self._openings = 0
        self._probes = 0
        self._well = 0

    def state(self, now: float) -> State:
        if self._open_until > now:
            return "open"
        return "half-open" if self._half_open else "closed"

    def allows(self, now: float) -> bool:
        """Whether a call may be made. It must then be `enter`ed."""
        if self._open_until > now:
            return False
        return not self._half_open or self._probes < self._settings.probes

    def enter(self, now: float) -> bool:
        """A call begins. Returns whether it is a probe: to be handed back at its end."""
        if self._half_open and self._open_until <= now:
            self._probes += 1
            return True
        return False

    def succeeded(self, now: float, *, probe: bool = False, slow: bool = False) -> None:
        self._leave(probe)
        if self._half_open:
            if not probe or self._open_until > now:  # a call from before: it tells nothing of now
                return
            if slow:
                self._open(now)
                return
            self._well += 1
            if self._well >= self._settings.probes:
                self._close()
            return
        self._count(now, failed=False, slow=slow)

    def failed(self, now: float, *, probe: bool = False) -> None:
        self._leave(probe)
        if self._half_open:
            if probe and self._open_until <= now:
                self._open(now)
            return
        self._count(now, failed=True, slow=False)

    def forget(self, *, probe: bool = False) -> None:
        """A call that tells nothing of the model's health ended."""
        self._leave(probe)

    def hold(self, until: float) -> None:
        """Opens until a time that the other side named (Retry-After). Then calls go as before."""
        self._open_until = max(self._open_until, until)

    def opens_in(self, now: float) -> float:
        """Seconds until a call may be made again; 0 where it may be now."""
        return max(0.0, self._open_until - now)

    def _leave(self, probe: bool) -> None:
        if probe and self._probes:
            self._probes -= 1

    def _turn(self, now: float) -> int:
        slot = int(now * SLOTS / self._settings.window_seconds)
        for passed in range(max(self._slot + 1, slot - SLOTS + 1), slot + 1):
            self._calls[passed % SLOTS] = self._failed[passed % SLOTS] = self._slow[passed % SLOTS] = 0
        self._slot = max(slot, self._slot)
        return self._slot % SLOTS

    def _count(self, now: float, *, failed: bool, slow: bool) -> None:
        place = self._turn(now)
        self._calls[place] += 1
        self._failed[place] += failed
        self._slow[place] += slow
        calls = sum(self._calls)
        settings = self._settings
        if calls >= settings.least_calls and (
            sum(self._failed) >= settings.failure_share * calls or sum(self._slow) >= settings.slow_share * calls
        ):
            self._open(now)

    def _open(self, now: float) -> None:
        factor = min(2**self._openings, MOST_FACTOR)
        self._openings = min(self._openings + 1, 10)
        self._open_until = max(self._open_until, now + self._settings.open_seconds * factor)
        self._half_open = True
        self._probes = self._well = 0

    def _close(self) -> None:
        self._half_open = False
        self._openings = self._probes = self._well = 0
        self._calls, self._failed, self._slow = [0] * SLOTS, [0] * SLOTS, [0] * SLOTS
