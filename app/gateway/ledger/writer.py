"""Takes rows from requests into the spool, and from the spool into PostgreSQL, twice a second or every 1,000 rows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from app.gateway.ledger.metrics import LedgerMetrics
from app.gateway.ledger.report import Reports
from app.gateway.ledger.row import Row, encode
from app.gateway.ledger.spool import Segment, Spool, SpoolError

if TYPE_CHECKING:
    from app.gateway.ledger.database import Session
    from app.gateway.ledger.settings import LedgerSettings
    from app.gateway.log import Log

FLUSH_SECONDS = 0.5
FLUSH_ROWS = 1000
MOST_ROWS_IN_MEMORY = 10_000
"""Rows that the spool refuses wait here, about 4 MB. They are lost with the process."""
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
ADOPT_SECONDS = 30.0
PREPARE_SECONDS = 3600.0


class Ledger:
    def __init__(
        self, settings: LedgerSettings, log: Log, metrics: LedgerMetrics, *, flush_rows: int = FLUSH_ROWS
    ) -> None:
        """Raises OSError where the spool's folder cannot be made."""
        self._settings = settings
        self._log = log
        self.metrics = metrics
        self.spool = Spool(settings.folder, settings.spool_bytes)
        self.reports = Reports(settings.database)
        self._memory: deque[bytes] = deque()
        self._refused: str | None = None
        self._writer = os.urandom(8).hex()
        self._number = 0
        self._flush_rows = flush_rows
        self._many = asyncio.Event()
        self._session: Session | None = None
        self._up: bool | None = None
        self._prepared_at = self._adopted_at = float("-inf")
        metrics.watch(self)

    # -- the requests' side: no await, no wait --

    def next_id(self) -> str:
        """32 hexadecimal digits that no other row has: 8 random bytes of this process, and a count."""
        self._number += 1
        return f"{self._writer}{self._number:016x}"

    def record(self, row: Row) -> None:
        """Keeps a row. To be called before the reply's last byte is handed out. Never raises for a full disk."""
        line = encode(row)
        try:
            self.spool.append(line)
        except SpoolError as error:
            self._keep_in_memory(line, error)
        else:
            if self._refused is not None:
                self._refused = None
                self._log.event("ledger_spool", usable=True)
            if self.spool.rows >= self._flush_rows:
                self._many.set()

    def _keep_in_memory(self, line: bytes, error: SpoolError) -> None:
        if self._refused != error.reason:
            self._refused = error.reason
            self._log.event("ledger_spool", usable=False, reason=error.reason, message=str(error))
        if len(self._memory) < MOST_ROWS_IN_MEMORY:
            self._memory.append(line)
            self.metrics.unspooled[error.reason].inc()
        else:
            # The request's own log line has its tokens and cost: what is lost here can be counted from there.
            self.metrics.lost[error.reason].inc()

    @property
    def rows_in_memory(self) -> int:
        return len(self._memory)

    # -- the database's side --

    @property
    def up(self) -> bool:
        """False from a failure of the database to the next batch that it takes."""
        return self._up is not False

    async def run(self) -> None:
        """Stores rows for ever. Failures of the database end in a wait that doubles up to 30 s, and in the metrics."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            if await self.flush():
                backoff = FIRST_BACKOFF_SECONDS
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._many.wait(), FLUSH_SECONDS)
                self._many.clear()
            else:
                await asyncio.sleep(backoff * random.uniform(0.75, 1.25))  # noqa: S311 - spreads replicas, no secret
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    async def flush(self) -> bool:
        """Stores all that waits; False where the database did not take it, and it waits on."""
        # Imported here: a gateway without a database needs neither asyncpg's memory nor its start-up time.
        from app.gateway.ledger.database import Session

        try:
            if self._session is None:
                self._session = await Session.open(self._settings.database)
                self._prepared_at = float("-inf")
            await self._keep_house(self._session)
            self.spool.seal()
            while self.spool.sealed:
                await self._store_segment(self._session, self.spool.sealed[0])
            await self._store_memory(self._session)
        except asyncio.CancelledError:
            self._close_session()
            raise
        except Exception as error:  # noqa: BLE001 - whatever a driver comes up with, it must not end the ledger
            self._lost_database(error)
            return False
        if self._up is not True:
            self._up = True
            self.metrics.up.set(1)
            self._log.event("ledger", connected=True)
        return True

    async def _keep_house(self, session: Session) -> None:
        now = time.monotonic()
        if now - self._adopted_at >= ADOPT_SECONDS:
            self._adopted_at = now
            found = self.spool.adopt()
            if found:
                self._log.event("ledger_replay", segments=found)
        if now - self._prepared_at >= PREPARE_SECONDS:
            await session.prepare_days()
            self._prepared_at = now

    async def _store_segment(self, session: Session, segment: Segment) -> None:
        parts = segment.parts()
        while True:  # a failure between two parts is no matter: rows that come again are known by their ids
            try:
                part = next(parts, b"")
            except OSError as error:
                self.spool.set_aside(segment)
                self._log.event("ledger_unreadable", file=segment.path.name, reason=str(error))
                return
            if not part:
                break
            await self._store(session, part)
        self.spool.drop(segment)

    async def _store_memory(self, session: Session) -> None:
        count = len(self._memory)
        if count:
            await self._store(session, b"".join(self._memory))
            for _ in range(count):  # what came meanwhile stays
                self._memory.popleft()

    async def _store(self, session: Session, lines: bytes) -> None:
        """All lines but those that the database will never take: one of them must not hold up the others."""
        from app.gateway.ledger.database import RefusedRowsError

        waiting = [lines]
        while waiting:
            part = waiting.pop()
            try:
                new = await session.store(part)
            except RefusedRowsError as error:
                rows = part.splitlines(keepends=True)
                if len(rows) == 1:
                    self.metrics.lost["rejected"].inc()
                    self._log.event("ledger_rejected", row=part.decode("latin-1"), reason=str(error))
                    continue
                half = len(rows) // 2
                waiting += [b"".join(rows[half:]), b"".join(rows[:half])]
            else:
                self.metrics.stored.inc(new)
                self.metrics.repeated.inc(part.count(b"\n") - new)

    def _lost_database(self, error: Exception) -> None:
        self._close_session()
        self.metrics.failures.inc()
        if self._up is not False:
            self._up = False
            self.metrics.up.set(0)
            self._log.event("ledger", connected=False, reason=f"{type(error).__name__}: {error}"[:500])

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def close(self, seconds: float = 5.0) -> None:
        """Stores what waits, within the time given; the rest stays in the spool. To be called after `run` has ended."""
        try:
            async with asyncio.timeout(seconds):
                await self.flush()
        except TimeoutError:
            self._close_session()
        left = self.spool.size
        if left or self._memory:
            self._log.event("ledger_left", spool_bytes=left, rows_in_memory=len(self._memory))
        self._close_session()
        self.spool.close()
