"""Asks a service to judge text, beside the hot path: bounded in time, in number at once, and in number waiting.

Imported only where one is configured: aiohttp takes 8 MB and 0.2 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Literal

import aiohttp
import msgspec

if TYPE_CHECKING:
    from app.gateway.guards.settings import Classifier

Outcome = Literal["passed", "flagged", "timeout", "error", "full"]
MOST_REPLY_BYTES = 256 * 1024


class _Result(msgspec.Struct):
    flagged: bool = False


class _Reply(msgspec.Struct):
    results: list[_Result]


_decode = msgspec.json.Decoder(_Reply).decode


class Judge:
    """`ask` never blocks and never raises: its callback gets the outcome within the time-out."""

    def __init__(self, settings: Classifier, key: str, on_outcome: Callable[[Outcome, float], None]) -> None:
        self._settings = settings
        self._key = key
        self._on_outcome = on_outcome
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(settings.connections)
        self._session: aiohttp.ClientSession | None = None

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def ask(self, text: str, then: Callable[[Outcome], None]) -> None:
        if len(self._tasks) >= self._settings.most_waiting:
            self._on_outcome("full", 0.0)
            then("full")
            return
        task = asyncio.get_running_loop().create_task(self._ask(text, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, text: str, then: Callable[[Outcome], None]) -> None:
        begun = monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._turns:
                outcome = await self._post(text)
        except TimeoutError:
            outcome = "timeout"
        self._on_outcome(outcome, monotonic() - begun)
        then(outcome)

    async def _post(self, text: str) -> Outcome:
        if self._session is None:
            headers = {"content-type": "application/json"}
            if self._key:
                headers["authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(headers=headers, auto_decompress=False)
        content = {"input": text} if self._settings.model is None else {"model": self._settings.model, "input": text}
        try:
            async with self._session.post(
                self._settings.url, data=msgspec.json.encode(content), allow_redirects=False
            ) as reply:
                body = await reply.content.read(MOST_REPLY_BYTES)
                while not reply.content.at_eof() and len(body) < MOST_REPLY_BYTES:
                    body += await reply.content.read(MOST_REPLY_BYTES - len(body))
                if reply.status != 200:
                    return "error"
                results = _decode(body).results
        except (aiohttp.ClientError, OSError, msgspec.DecodeError):
            return "error"
        if not results:
            return "error"
        return "flagged" if any(result.flagged for result in results) else "passed"

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
