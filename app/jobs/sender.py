"""Sends rows to a gateway in their key's name, as many at once as it takes well."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from app.jobs import ticket
from app.jobs.lines import answer_line, error_line
from app.jobs.queue import Row

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=900)
PUSHED_BACK = (429, 503)
RETRIED = (408, 500, 502, 504)
LONGEST_WAIT_SECONDS = 600.0
FIRST_WAIT_SECONDS = 1.0
MOST_ANSWER_BYTES = 32 * 1024 * 1024


class Gate:
    """How many requests go at once: half as many after a push back, and one more after each round without one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(max(1, most // 2))
        self.busy = 0
        self._halved_at = 0.0
        self._changed = asyncio.Condition()

    async def enter(self) -> None:
        async with self._changed:
            while self.busy >= self.limit // 1:
                await self._changed.wait()
            self.busy += 1

    async def let_all_in(self) -> None:
        """Nobody waits from now on."""
        async with self._changed:
            self.limit = float("inf")
            self._changed.notify_all()

    async def leave(self, *, pushed_back: bool) -> None:
        async with self._changed:
            self.busy -= 1
            if pushed_back:
                # Answers to requests that went out before the last halving say nothing new.
                if time.monotonic() - self._halved_at > 1.0:
                    self.limit, self._halved_at = max(1.0, self.limit / 2), time.monotonic()
            else:
                self.limit = min(float(self.most), self.limit + 1 / self.limit)
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Answered:
    line: bytes
    failed: bool


@dataclass(frozen=True, slots=True)
class Later:
    seconds: float
    tried: bool
    """It counts among the tries of this row."""


class Sender:
    def __init__(self, gateways: Callable[[], Sequence[str]], secret: bytes, most_attempts: int, gate: Gate) -> None:
        self._gateways = gateways
        self._secret = secret
        self._most_attempts = most_attempts
        self._turn = itertools.count()
        self.gate = gate
        self.stopping = False
        """True: nothing is sent any more."""
        self._session: aiohttp.ClientSession | None = None

    async def send(self, row: Row, endpoint: str, body: bytes) -> Answered | Later:
        """Never raises for what a gateway does."""
        known = self._gateways()
        if not known:
            return Later(FIRST_WAIT_SECONDS, tried=False)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0))
        await self.gate.enter()
        pushed_back = True
        try:
            if self.stopping:
                return Later(0.0, tried=False)
            outcome = await self._send(self._session, known[next(self._turn) % len(known)], row, endpoint, body)
            pushed_back = isinstance(outcome, Later) and not outcome.tried
        finally:
            await asyncio.shield(self.gate.leave(pushed_back=pushed_back))
        return outcome

    async def _send(
        self, session: aiohttp.ClientSession, gateway: str, row: Row, endpoint: str, body: bytes
    ) -> Answered | Later:
        identity = ticket.request_id(row.id, row.first_sent, row.attempt)
        headers = {
            "authorization": f"Bearer {ticket.issue(self._secret, row.key_id, time.time())}",
            "content-type": "application/json",
            "x-request-id": identity,
        }
        try:
            async with session.post(gateway + endpoint, data=body, headers=headers, allow_redirects=False) as reply:
                content = await reply.content.read(MOST_ANSWER_BYTES)
                status, wait = reply.status, reply.headers.get("retry-after", "")
                if not reply.content.at_eof():
                    content, status = b'"the answer is too long"', 502
        except aiohttp.ClientConnectorError:
            return Later(FIRST_WAIT_SECONDS, tried=False)  # nothing was asked
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if row.attempt < self._most_attempts:
                return Later(_backoff(row.attempt), tried=True)
            text = f"The gateway could not be reached in {row.attempt} tries ({type(error).__name__})."
            return Answered(error_line(row.id, row.custom_id, "gateway_unreachable", text), failed=True)
        if status in PUSHED_BACK:
            return Later(_retry_after(wait), tried=False)
        if status in RETRIED and row.attempt < self._most_attempts:
            return Later(_backoff(row.attempt), tried=True)
        return Answered(answer_line(row.id, row.custom_id, status, identity, content), failed=status != 200)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _backoff(attempt: int) -> float:
    return min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)  # noqa: S311


def _retry_after(given: str) -> float:
    """The gateway's Retry-After in seconds, and a little more, so that not all come back at once."""
    seconds = float(given) if given.isdecimal() else FIRST_WAIT_SECONDS
    return min(max(seconds, 0.2), LONGEST_WAIT_SECONDS) * random.uniform(1, 1.25)  # noqa: S311 - jitter
