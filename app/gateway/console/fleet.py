"""How gateways tell each other what they count, for the console: through Redis, and only while somebody looks.

A gateway with a viewer says so (`WANTED`, for some seconds); each gateway asks once a second whether anybody looks,
which is one GET, and if so puts its snapshot into one hash, whose fields are gateways. The hash goes by itself. It has
a connection of its own: what is slow here must not end that of the limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.console.snapshot import Snapshot
from app.gateway.limits.link import Link, command

if TYPE_CHECKING:
    from app.gateway.log import Log

WANTED, GATEWAYS = b"penstock:console:wanted", b"penstock:console:gateways"
WANTED_SECONDS = 5
PERIOD_SECONDS = 1.0
ANSWER_SECONDS = 2.0
STALE_SECONDS = 4.0
"""A gateway that says nothing for so long is not shown."""
FORGOTTEN_SECONDS = 30.0
HASH_SECONDS = 60
MOST_BYTES = 512 * 1024
"""Of one snapshot."""

_decode = msgspec.json.Decoder(Snapshot).decode


class Exchange:
    """One gateway's part. `own`: takes this gateway's snapshot."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        own: Callable[[], Snapshot],
        log: Log,
        address: str,
        token: str,
        *,
        tls: bool,
    ) -> None:
        self._loop = loop
        self._own = own
        self._log = log
        self.watching: Callable[[], bool] = lambda: False
        """Whether this gateway has a viewer."""
        self._others: dict[str, Snapshot] = {}
        self._link: Link | None = None
        if address:
            self._link = Link(
                loop, address, token=token, tls=tls, on_change=self._changed, answer_seconds=ANSWER_SECONDS
            )

    @property
    def together(self) -> bool:
        """False where this gateway sees itself alone."""
        return self._link is not None and self._link.up

    def _changed(self, up: bool, reason: str) -> None:
        self._log.event("console_exchange", connected=up, **({"reason": reason} if reason else {}))

    def snapshots(self) -> list[Snapshot]:
        """This gateway's own of now, and the last ones of the others."""
        own = self._own()
        return [own, *(one for identity, one in self._others.items() if identity != own.id)]

    async def run(self) -> None:
        if self._link is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._exchange())

    async def _exchange(self) -> None:
        heard: dict[str, tuple[float, float]] = {}
        while True:
            begun = self._loop.time()
            if self.watching():
                self._call(command(b"SET", WANTED, b"1", b"EX", b"%d" % WANTED_SECONDS))
                await self._read(heard)
            elif self._others:
                self._others, heard = {}, {}
            if await self._ask(command(b"GET", WANTED)) is not None:
                own = self._own()
                content = msgspec.json.encode(own)
                if len(content) <= MOST_BYTES:
                    self._call(command(b"HSET", GATEWAYS, own.id.encode(), content))
                    self._call(command(b"EXPIRE", GATEWAYS, b"%d" % HASH_SECONDS))
            await asyncio.sleep(max(0.1, PERIOD_SECONDS - (self._loop.time() - begun)))

    async def _read(self, heard: dict[str, tuple[float, float]]) -> None:
        """Takes the others' snapshots over. `heard`: by gateway its own time, and when it was seen to change here.

        Clocks of nodes may differ, so it is the change that counts.
        """
        reply = await self._ask(command(b"HGETALL", GATEWAYS))
        if not isinstance(reply, list):
            return
        now, found, gone = self._loop.time(), {}, []
        for name, content in zip(reply[::2], reply[1::2], strict=False):
            try:
                one = _decode(content)
            except (msgspec.DecodeError, ValueError, RecursionError):
                gone.append(name)  # of another release, or not ours
                continue
            at, seen = heard.get(one.id, (0.0, now))
            if at != one.at:
                seen = now if one.id in heard or time.time() - one.at < FORGOTTEN_SECONDS else now - FORGOTTEN_SECONDS
                heard[one.id] = (one.at, seen)
            if now - seen < STALE_SECONDS:
                found[one.id] = one
            elif now - seen > FORGOTTEN_SECONDS:
                gone.append(name)
                heard.pop(one.id, None)
        if gone:
            self._call(command(b"HDEL", GATEWAYS, *gone))
        self._others = found

    def _call(self, data: bytes) -> None:
        if self._link is not None:
            self._link.call(data, None)

    async def _ask(self, data: bytes) -> Any:
        """None where there is no answer."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._link is None or not self._link.call(
            data, lambda reply: None if answer.done() else answer.set_result(reply)
        ):
            return None
        reply = await answer
        return None if isinstance(reply, Exception) else reply
