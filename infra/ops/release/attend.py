"""Tells the gateways how a release stands, and hears what is wished at the console.

A thread of its own says once a second what the journal has and what the command does now; each answer may bring a wish,
which waits here until the command asks for it. A gateway that is away delays nothing.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.client import HTTPException
from types import TracebackType
from typing import Any, Literal, Self

from infra.ops.endpoint import Endpoint, request
from infra.ops.errors import PenstockError
from infra.ops.release.journal import Journal
from infra.ops.release.machine import Release
from infra.ops.weights import Weights

PATH = "/admin/v1/release"
PERIOD_SECONDS = 1.0
ANSWER_SECONDS = 3.0
AWAY_SECONDS = 5.0
"""Between two tries while no gateway answers."""
WEIGHTS_SECONDS = 3.0
LAST_SECONDS = 5.0
"""For the last word, at the end of a command."""
LONGEST = 2000

Kind = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Wish:
    identifier: int
    kind: Kind
    release: str
    at: str
    actor: str

    @property
    def reason(self) -> str:
        """For journal and report."""
        return f"asked for by {self.actor} at the console"


def stand(release: Release | None) -> str:
    """What a wish must name: another one with each step and each end."""
    if release is None:
        return "no release"
    if release.ended:
        return release.ended
    if release.direction == "back":
        return "going back"
    held = "held at " if release.reason else ""
    return f"{held}{release.steps[-1] if release.step is None else release.step} %"


def outcome(release: Release | None) -> str:
    if release is None:
        return ""
    return release.ended or ("held" if release.reason and release.direction == "forward" else "open")


def offers(release: Release | None, *, busy: str) -> list[Kind]:
    """What can be carried out now. `busy`: `watching`, `working`, or `idle` where no release command runs."""
    if release is None or busy == "working":
        return []
    if busy == "watching":
        return ["promote", "rollback"]
    can: list[Kind] = [] if release.ended else ["promote"]
    return can if release.ended == "rolled back" else [*can, "rollback"]


@dataclass
class Attendant(AbstractContextManager["Attendant"]):
    """`endpoint`: a gateway with its admin's key. `weights`: what the load balancer says, where it can be asked."""

    endpoint: Endpoint
    journal: Journal
    say: Callable[[str], None]
    weights: Callable[[], Weights] | None = None
    send: Callable[[Endpoint, Mapping[str, Any]], Any] | None = None
    runner: str = field(default_factory=lambda: secrets.token_hex(8))
    idle: bool = False
    """True for who waits for wishes alone."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _woken: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _doing: str = ""
    _watching: Mapping[str, Any] | None = None
    _wish: Wish | None = None
    _taken: dict[int, Wish] = field(default_factory=dict)
    _done: dict[int, str] = field(default_factory=dict)
    _share: Mapping[str, int] | None = None
    _share_at: float = float("-inf")
    _away: bool = False
    _silent: bool = False

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="attend", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.take()
        release = self.journal.release()
        for wish in list(self._taken.values()):
            self.done(wish, f"not carried out; the release is at: {stand(release)} {release.reason if release else ''}")
        self._ended.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS)

    # -- for the command --

    def doing(self, text: str, *, working: bool = True) -> None:
        with self._lock:
            self._doing, self._watching = text[:LONGEST], None
            self.idle = not working

    def watches(self, text: str, look: Mapping[str, Any]) -> None:
        """`look`: seconds, soak_seconds, wait_seconds, state, findings."""
        with self._lock:
            self._doing, self._watching = text[:LONGEST], look

    def take(self) -> Wish | None:
        """The wish that waits, once. One for another stand than the journal's is answered here."""
        with self._lock:
            wish, self._wish = self._wish, None
            if wish is not None:
                self._taken[wish.identifier] = wish
        if wish is None:
            return None
        release = self.journal.release()
        if release is None or (release.identifier, stand(release)) != (wish.release, wish.at):
            self.done(wish, f"the release had moved on: {stand(release)}")
            return None
        return wish

    def done(self, wish: Wish, text: str) -> None:
        with self._lock:
            self._done[wish.identifier] = text[:LONGEST]
            self._taken.pop(wish.identifier, None)

    def pause(self, seconds: float) -> None:
        """Sleeps, but for a wish."""
        self._woken.wait(seconds)
        if not self._ended.is_set():
            self._woken.clear()

    # -- the thread --

    def _run(self) -> None:
        while not self._silent:
            last = self._ended.is_set()
            began = time.monotonic()
            self._tell()
            if last:
                return
            rest = AWAY_SECONDS if self._away else PERIOD_SECONDS
            self._ended.wait(max(0.05, rest - (time.monotonic() - began)))

    def content(self) -> dict[str, Any]:
        release = self.journal.release()
        with self._lock:
            watching, doing, done = self._watching, self._doing, dict(self._done)
            busy = "idle" if self.idle else "watching" if watching is not None else "working"
        return {
            "runner": self.runner,
            "state": busy,
            "doing": doing,
            "release": None if release is None else release.identifier,
            "at": stand(release),
            "colour": None if release is None else release.colour,
            "steps": [] if release is None else list(release.steps),
            "passed": 0 if release is None else release.passed,
            "outcome": "open" if busy != "idle" and outcome(release) == "held" else outcome(release),
            "direction": "forward" if release is None else release.direction,
            "reason": "" if release is None or (busy != "idle" and not release.ended) else release.reason[:LONGEST],
            "weights": self._share,
            "watching": watching,
            "offers": [] if self._ended.is_set() else offers(release, busy=busy),
            "done": [{"wish": number, "outcome": text} for number, text in list(done.items())[:20]],
        }

    def _look(self) -> None:
        if self.weights is not None and time.monotonic() - self._share_at > WEIGHTS_SECONDS:
            self._share_at = time.monotonic()
            try:
                self._share = self.weights().as_dict()
            except Exception:  # noqa: BLE001 - AWS may be away in many ways; the release itself will tell of it
                self._share = None

    def _tell(self) -> None:
        try:
            self._look()
            content = self.content()
            reply = (self.send or put)(self.endpoint, content)
        except PenstockError as error:
            if "(no_console)" in str(error) or "There is no console here" in str(error):
                self._silent = True
            elif not self._away:
                self.say(f"The console is not told of this: {error.cause}")
            self._away = True
            return
        self._away = False
        with self._lock:
            for one in content["done"]:
                self._done.pop(one["wish"], None)
        wish = reply.get("wish")
        if wish:
            with self._lock:
                self._wish = Wish(wish["id"], wish["kind"], wish["release"], wish["at"], wish["actor"])
            self._woken.set()


def put(endpoint: Endpoint, content: Mapping[str, Any]) -> Any:
    """Raises PenstockError."""
    with request(endpoint, "PUT", PATH, content, ANSWER_SECONDS) as response:
        try:
            return json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise PenstockError(f"The gateway's answer cannot be read: {error!r}.") from None
