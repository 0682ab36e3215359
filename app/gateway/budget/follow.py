"""Keeps this gateway's budget level that of the database, and in one gateway at a time reads the queue and the ledger.

While the database is away the gateway stays at the level it knows; messages stay in the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import random
import time
from typing import TYPE_CHECKING

from app.gateway.budget import store
from app.gateway.budget.levels import Signal, month_of
from app.gateway.budget.messages import Unreadable, read
from app.gateway.budget.queue import Message, Queue, QueueError
from app.gateway.budget.schema import BUDGET, CHANNEL
from app.gateway.database.connection import FAILURES, connect
from app.gateway.database.migrations import migrate_as_user

if TYPE_CHECKING:
    import asyncpg

    from app.gateway.budget.steward import Steward
    from app.gateway.database.settings import Database
    from app.gateway.log import Log

POLL_SECONDS = 1.0
"""Between two looks where no notification comes; ends of overrides and months are seen as late as this."""
RENEW_SECONDS = 1.2
ANSWER_SECONDS = 3.0
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 5.0
HELD_SECONDS = 4.0
"""So long received messages are tried again here; then they come anew, perhaps to another gateway."""
HOUR = 3600.0
WHOLE_MONTH_SECONDS = 600.0
"""Days before today change by late rows alone: they are summed up anew so seldom."""
BUSY_SHARE = 20
"""The ledger's sum is asked for at most a twentieth of the time."""


class Follower:
    def __init__(self, steward: Steward, database: Database, log: Log, queue: Queue | None) -> None:
        self._steward = steward
        self._database = database
        self._log = log
        self._queue = queue
        self._told = asyncio.Event()
        self._reading = asyncio.Event()
        """Set while this gateway is the reader."""
        self._me = os.urandom(8).hex()
        self._renewed = self._forgot = float("-inf")
        self._up: bool | None = None
        self._queue_ok: bool | None = None
        self._held: list[Message] = []
        """Received, and not in the database yet."""
        self._held_until = 0.0
        self.loads = 0

    @property
    def reader(self) -> bool:
        return self._reading.is_set()

    async def loaded(self, seconds: float = 1.0) -> None:
        """Until the tables were read once more, but no longer."""
        before = self.loads
        self._told.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.loads < before + 1:  # noqa: ASYNC110 - an admin waits here, seldom
                    await asyncio.sleep(0.01)

    def _say(self, *, up: bool, reason: str = "") -> None:
        self._steward.metrics.database_up.set(int(up))
        if up is not self._up:
            self._up = up
            self._log.event("budget_database", connected=up, **({"reason": reason} if reason else {}))

    def _lead(self, reading: bool) -> None:
        self._steward.metrics.reader.set(int(reading))
        if reading != self.reader:
            self._log.event("budget_reader", reading=reading)
            self._reading.set() if reading else self._reading.clear()

    # -- the tables --

    async def run(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            begun = time.monotonic()
            try:
                await self._follow()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a driver comes up with, budgets must be followed on
                self._say(up=False, reason=f"{type(error).__name__}: {error}"[:300])
            self._lead(False)
            pause = PAUSE_SECONDS if time.monotonic() - begun > HOUR / 60 else min(pause * 2, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - spreads replicas, no secret

    async def _follow(self) -> None:
        connection = await connect(self._database, "penstock-budget")
        try:
            connection.add_termination_listener(lambda *_: self._told.set())
            await migrate_as_user(connection, BUDGET)
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.add_listener(CHANNEL, lambda *_: self._told.set())
            self._renewed = float("-inf")
            while not connection.is_closed():
                self._told.clear()
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._look(connection)
                self._say(up=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._told.wait()
        except asyncio.CancelledError:
            if self.reader and not connection.is_closed():
                with contextlib.suppress(*FAILURES):  # another gateway may read at once
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await store.give_up(connection, self._me)
            raise
        finally:
            connection.terminate()
        raise ConnectionError("the database closed the connection")

    async def _look(self, connection: asyncpg.Connection) -> None:
        now = time.monotonic()
        if now - self._renewed >= RENEW_SECONDS:
            self._lead(await store.lease(connection, self._me))
            self._renewed = now
        known = await store.load(connection)
        self._steward.take(known, time.time())
        self.loads += 1
        if self.reader:
            if known.recorded != self._steward.standing.level:
                await store.record(connection, known.recorded, self._steward.standing)
            if now - self._forgot >= HOUR:
                self._forgot = now
                await store.forget(connection, time.time())

    # -- the queue --

    async def read_queue(self) -> None:
        """Runs until it is cancelled."""
        queue = self._queue
        if queue is None:
            return
        async with queue:
            pause = PAUSE_SECONDS
            while True:
                await self._reading.wait()
                try:
                    if not self._held or time.monotonic() > self._held_until:
                        self._held = await queue.receive()
                        self._held_until = time.monotonic() + HELD_SECONDS
                    self._say_queue(True)
                    if self._held:
                        await self._take(queue, self._held)
                    pause = PAUSE_SECONDS
                except QueueError as error:
                    self._say_queue(False, str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _say_queue(self, usable: bool, reason: str = "") -> None:
        if usable is not self._queue_ok:
            self._queue_ok = usable
            self._log.event("budget_queue", usable=usable, **({"reason": reason} if reason else {}))

    async def _take(self, queue: Queue, messages: list[Message]) -> None:
        """Each is deleted once the database has it, and never before. What cannot be read is left, and goes aside by
        redrive. Empties `messages`; those left after an error can be taken again."""
        rules, metrics = self._steward.rules, self._steward.metrics
        connection = None
        try:
            while messages:
                message = messages[0]
                try:
                    heard = read(message.body, rules.account_id, message.sent, rules.anomaly_hours)
                except Unreadable as error:
                    metrics.messages.labels("unreadable").inc()
                    self._log.event(
                        "budget_message", id=message.id, outcome="unreadable", times=message.times, reason=str(error)
                    )
                    messages.pop(0)
                    continue
                outcome = "other"
                if heard is not None:
                    if connection is None or connection.is_closed():
                        connection = await connect(self._database, "penstock-budget-reader")
                    async with asyncio.timeout(ANSWER_SECONDS):
                        outcome = "taken" if await store.hear(connection, message.id, heard) else "again"
                    await self.loaded()
                    metrics.delay.set(max(0.0, time.time() - message.sent))
                    self._log.event("budget_message", id=message.id, source=heard.source, outcome=outcome)
                metrics.messages.labels(outcome).inc()
                await queue.delete(message)
                messages.pop(0)
        except FAILURES as error:
            raise QueueError(f"the database did not take a message: {type(error).__name__}") from None
        finally:
            if connection is not None:
                connection.terminate()

    # -- the ledger --

    async def sum_up(self) -> None:
        """Runs until it is cancelled."""
        rules = self._steward.rules
        before, before_at, before_day = 0.0, float("-inf"), dt.date.min
        told = ""
        while True:
            await self._reading.wait()
            begun = time.monotonic()
            today = dt.datetime.now(dt.UTC).date()
            try:
                connection = await connect(self._database, "penstock-budget-spend")
                try:
                    if today.day > 1 and (today != before_day or begun - before_at > WHOLE_MONTH_SECONDS):
                        before = await store.spent(connection, today.replace(day=1), today - dt.timedelta(days=1))
                        before_at = begun
                    elif today.day == 1:
                        before = 0.0
                    before_day = today
                    usd = before + await store.spent(connection, today, today)
                    await self._spent(connection, usd, rules.monthly_usd or 0.0)
                finally:
                    connection.terminate()
                reason = ""
            except FAILURES as error:
                reason = type(error).__name__
            if reason != told:
                told = reason
                self._log.event("budget_spend", usable=not reason, **({"reason": reason} if reason else {}))
            took = time.monotonic() - begun
            await asyncio.sleep(max(rules.spend_seconds, took * BUSY_SHARE))

    async def _spent(self, connection: asyncpg.Connection, usd: float, budget: float) -> None:
        percent, now = round(usd / budget * 100, 2), time.time()
        known = self._steward.known
        last = next((one for one in known.signals if one.source == "spend"), None) if known is not None else None
        if last is None or last.percent != percent or last.month != month_of(now):
            detail = f"{usd:.2f} of {budget:.2f} USD by the ledger"
            await store.put(connection, Signal("spend", "spend", percent, month_of(now), now, None, detail))
