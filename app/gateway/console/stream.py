"""The page's one stream: a sampler for all viewers of this gateway, and what each is sent. No viewer, no sampler.

An event a second with the point of now; a section (gateways, engines, errors, release) goes out only when it has
changed, encoded once for all. What a viewer does not take in time ends its stream: the page comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.console.rates import Fleet
from app.gateway.errors import Problem, Refused, retry_after

if TYPE_CHECKING:
    from app.gateway.console.desk import Desk, Session
    from app.gateway.console.fleet import Exchange

PERIOD_SECONDS = 1.0
REST_SECONDS = 0.05
"""Least pause between two points, where one took longer than the period."""
CHECK_SECONDS = 5.0
"""How often it is looked whether viewers are still signed in."""
LINGER_SECONDS = 5.0
"""The sampler goes on for so long without a viewer: a page that comes back finds its past."""
MOST_WAITING = 15
"""Events that wait for one viewer."""
SEND_SECONDS = 15.0
RETRY_MS = 1000

CROWDED = Problem(
    503, "Enough pages are open at this gateway. Close one, or try again.", "console_crowded", headers=retry_after(5)
)
Send = Callable[[bytes], Awaitable[None]]
_encode = msgspec.json.Encoder().encode


def event(name: str, content: Any) -> bytes:
    """One event of a stream. JSON has no line break of its own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), content if isinstance(content, bytes) else _encode(content))


@dataclass(eq=False)
class Viewer:
    session: Session
    events: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def put(self, data: bytes) -> None:
        if self.events.full():  # it does not read: its last event is the end
            self.end()
        else:
            self.events.put_nowait(data)

    def end(self, last: bytes | None = None) -> None:
        """Nothing more, but for `last`."""
        while not self.events.empty():
            self.events.get_nowait()
        if last is not None:
            self.events.put_nowait(last)
        self.events.put_nowait(None)


class Broadcast:
    """One gateway's viewers."""

    def __init__(self, exchange: Exchange, desk: Desk, most: int) -> None:
        self._exchange = exchange
        self._desk = desk
        self._most = most
        self._viewers: set[Viewer] = set()
        self._fleet = Fleet()
        self._sections: dict[str, bytes] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        exchange.watching = lambda: bool(self._viewers)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    async def watch(self, session: Session, gone: Awaitable[Any], send: Send) -> None:
        """Sends until the viewer is gone, its session ends, or the gateway drains."""
        viewer = Viewer(session)
        self._viewers.add(viewer)
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._sample())
            viewer.put(b"retry: %d\n" % RETRY_MS + event("hello", self._hello()))
            for name, content in self._sections.items():
                viewer.put(event(name, content))
            leaving = asyncio.ensure_future(gone)
            leaving.add_done_callback(lambda _: viewer.end())
            try:
                while (data := await viewer.events.get()) is not None:
                    async with asyncio.timeout(SEND_SECONDS):
                        await send(data)
            finally:
                leaving.cancel()
        finally:
            self._viewers.discard(viewer)

    def require_room(self) -> None:
        """Raises Refused (503)."""
        if self._closed or len(self._viewers) >= self._most:
            raise Refused(CROWDED)

    def close(self) -> None:
        """At a drain: each page is told, and comes back at another gateway."""
        self._closed = True
        for viewer in self._viewers:
            viewer.end(event("bye", {"reason": "drain"}))
        if self._task is not None:
            self._task.cancel()

    def _hello(self) -> dict[str, Any]:
        return {
            "points": list(self._fleet.points),
            "period_seconds": PERIOD_SECONDS,
            "together": self._exchange.together,
        }

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        checked = seen = due = loop.time()
        while self._viewers or loop.time() - seen < LINGER_SECONDS:
            if self._viewers:
                seen = loop.time()
            point = self._fleet.take(self._exchange.snapshots(), time.time())
            self._tell(event("point", {**point, "together": self._exchange.together}))
            sections = {
                "gateways": self._fleet.gateways(),
                "engines": self._fleet.engines(),
                "errors": self._fleet.errors(),
            }
            with contextlib.suppress(Refused):  # the database is away: the last word stays, and shows its age
                sections["release"] = await self._desk.release()
                if loop.time() - checked > CHECK_SECONDS:
                    checked = loop.time()
                    await self._check()
            for name, content in sections.items():
                data = _encode(content)
                if self._sections.get(name) != data:
                    self._sections[name] = data
                    self._tell(event(name, data))
            due = max(due + PERIOD_SECONDS, loop.time() - PERIOD_SECONDS)
            await asyncio.sleep(max(REST_SECONDS, due - loop.time()))
        self._fleet, self._sections = Fleet(), {}
        await self._desk.close()

    async def _check(self) -> None:
        hold = await self._desk.sessions({viewer.session.digest for viewer in self._viewers})
        for viewer in list(self._viewers):
            if viewer.session.digest not in hold:
                viewer.end(event("bye", {"reason": "signed_out"}))

    def _tell(self, data: bytes) -> None:
        for viewer in list(self._viewers):
            viewer.put(data)
