"""Keeps a gateway's keys those of the database: within a second of each change, and through the database's absence.

A change notifies; a look at the version number twice a second finds what a notification missed (a pooler between, a
connection that died unnoticed). While the database is away the gateway keeps the keys that it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
from pydantic import ValidationError

from app.gateway.config import Access, Limits
from app.gateway.database.connection import connect
from app.gateway.database.migrations import migrate_as_user
from app.gateway.keys.audit import Head, Witness
from app.gateway.keys.grant import Grant
from app.gateway.keys.problems import DISABLED, UNREADABLE
from app.gateway.keys.ring import DAY_SECONDS, KeyRing, StoredKey, StoredTenant
from app.gateway.keys.schema import CHANNEL, KEYS

if TYPE_CHECKING:
    from app.gateway.database.settings import Database
    from app.gateway.keys.metrics import KeyMetrics
    from app.gateway.log import Log

POLL_SECONDS = 0.4
ANSWER_SECONDS = 2.0
"""A database that is silent for longer is away."""
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0
USES_SECONDS = 60.0
ROWS_AT_ONCE = 1000
MOST_KEYS = 50_000
"""Keys that are neither revoked nor expired: 0.6 to 1.3 kB each in every gateway. The admin API makes no more."""
MOST_SHARED = 1000
REMEMBERED_DAYS = 30
"""A key revoked or expired for longer is not read: its client is told that the key is wrong, not why."""
_EPOCH = date(1970, 1, 1)

_IN_ACCESS = set(Access.model_fields) - {"tenant", "enabled", "expires_at"}
"""These three have columns of their own."""
_COLUMNS = (
    "id, tenant, access, enabled, extract(epoch from expires_at)::float8 AS expires_at, sha256, previous_sha256, "
    "extract(epoch from previous_until)::float8 AS previous_until, revoked_at IS NOT NULL AS revoked, version"
)


_STATE = (
    "SELECT version, reload, head.id AS audit_id, head.hash AS audit_hash "
    "FROM penstock_keys.state, penstock_keys.audit_head AS head"
)


class Follower:
    """One gateway's view of the keys' tables. `changed` is called when limits of tenants may have changed."""

    def __init__(
        self, database: Database, ring: KeyRing, metrics: KeyMetrics, log: Log, changed: Callable[[], None]
    ) -> None:
        self._database = database
        self._ring = ring
        self._metrics = metrics
        self._log = log
        self._changed = changed
        self._told = asyncio.Event()
        self._up: bool | None = None
        self._uses_at = 0.0
        self._shared: dict[str, Grant] = {}
        self._witness = Witness()
        self.known = 0
        """The version up to which everything is known; 0: nothing is."""
        self._caught_up = asyncio.Condition()
        ring.loaded = False

    @property
    def up(self) -> bool:
        return self._up is True

    def state(self) -> dict[str, Any]:
        """For /readyz and /debug."""
        checked = self._metrics.checked_at
        return {
            "state": "current" if self.up else "known ones kept" if self._ring.loaded else "not read yet",
            "stored": self._ring.stored,
            "version": self.known,
            "age_seconds": round(time.time() - checked, 1) if checked else None,
        }

    async def run(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            begun = time.monotonic()
            try:
                await self._follow()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a driver comes up with, the keys must be followed on
                self._say(up=False, reason=f"{type(error).__name__}: {error}"[:300])
            if time.monotonic() - begun > LONGEST_BACKOFF_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            await asyncio.sleep(backoff * random.uniform(0.75, 1.25))  # noqa: S311 - spreads replicas, no secret
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    async def wait_for(self, version: int, seconds: float = 1.0) -> None:
        """Until this gateway knows a change of its own, but no longer."""
        self._told.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._caught_up:
                await self._caught_up.wait_for(lambda: self.known >= version)

    def _say(self, *, up: bool, reason: str = "") -> None:
        self._metrics.up.set(int(up))
        if self._up is not up:
            self._up = up
            self._log.event("keys_database", connected=up, **({"reason": reason} if reason else {"known": self.known}))

    async def _follow(self) -> None:
        connection = await connect(self._database, "penstock-keys")
        lost = asyncio.Event()

        def ended(_: object) -> None:
            lost.set()
            self._told.set()

        try:
            connection.add_termination_listener(ended)
            await migrate_as_user(connection, KEYS)
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.add_listener(CHANNEL, lambda *_: self._told.set())
            # What happened while nobody looked may include a restored backup, whose versions say nothing.
            await self._load(connection, everything=True)
            while not lost.is_set():
                self._say(up=True)
                await self._flush_uses(connection)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):  # wait_for of 3.11 can lose a cancellation
                        await self._told.wait()
                self._told.clear()
                async with asyncio.timeout(ANSWER_SECONDS):
                    state = await connection.fetchrow(_STATE)
                    await self._look_at_audit(connection, Head(state["audit_id"], state["audit_hash"]))
                if state["version"] != self.known:
                    await self._load(connection, everything=not state["reload"] <= self.known < state["version"])
                self._metrics.checked_at = time.time()
        finally:
            connection.terminate()
        raise ConnectionError("the database closed the connection")

    async def _load(self, connection: asyncpg.Connection, *, everything: bool) -> None:
        since = 0 if everything else self.known
        seen: set[str] = set()
        # One snapshot for all: the version read first covers each row that is read after it.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async with asyncio.timeout(ANSWER_SECONDS):
                version = await connection.fetchval("SELECT version FROM penstock_keys.state")
                tenants = await connection.fetch("SELECT name, limits, enabled FROM penstock_keys.tenants")
            self._ring.take_tenants({row["name"]: self._tenant(row) for row in tenants})
            self._changed()
            recent = f"now() - interval '{REMEMBERED_DAYS} days'"
            last = since
            while True:
                async with asyncio.timeout(ANSWER_SECONDS):
                    rows = await connection.fetch(
                        f"SELECT {_COLUMNS} FROM penstock_keys.keys WHERE version > $1 "  # noqa: S608 - constants
                        f"AND ($2 OR coalesce(least(revoked_at, expires_at), now()) >= {recent}) "
                        f"ORDER BY version LIMIT {ROWS_AT_ONCE}",
                        last,
                        not everything,
                    )
                self._ring.take_stored(self._key(row) for row in rows)
                if everything:
                    seen.update(row["id"] for row in rows)
                if len(rows) < ROWS_AT_ONCE:
                    break
                last = rows[-1]["version"]
                await asyncio.sleep(0)  # requests go on while many keys are read
        if everything:
            self._ring.keep_only(seen)
        self._ring.loaded = True
        self._metrics.checked_at = time.time()
        self._metrics.loads.labels("all" if everything else "changed").inc()
        async with self._caught_up:
            self.known = version
            self._caught_up.notify_all()

    def _key(self, row: asyncpg.Record) -> StoredKey:
        try:
            grant = replace(self._grant(row["access"]), id=row["id"])
        except ValidationError as error:
            self._metrics.unreadable.inc()
            first = error.errors(include_url=False, include_input=False)[0]
            self._log.event("keys_row", key=row["id"], reason=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
            grant = Grant(row["id"], barred=UNREADABLE, stored=True)
        grant.tenant = row["tenant"]
        if row["expires_at"] is not None:
            grant.expires_at = row["expires_at"]
        if not row["enabled"] and grant.barred is None:
            grant.barred = DISABLED
        return StoredKey(
            grant, row["sha256"], row["previous_sha256"], row["previous_until"] or 0.0, revoked=row["revoked"]
        )

    def _grant(self, access: str) -> Grant:
        """Keys of equal access share its parts: most of a key's memory. Raises ValidationError."""
        found = self._shared.get(access)
        if found is None:
            if len(self._shared) >= MOST_SHARED:
                self._shared.clear()
            found = self._shared[access] = Grant.of("", Access.model_validate_json(access), stored=True)
        return found

    def _tenant(self, row: asyncpg.Record) -> StoredTenant:
        limits = None
        if row["limits"] is not None:
            try:
                limits = Limits.model_validate_json(row["limits"])
            except ValidationError:
                # A tenant whose limits nobody can read is not let through without any.
                self._metrics.unreadable.inc()
                self._log.event("keys_row", tenant=row["name"], reason="its limits cannot be read")
                return StoredTenant(row["name"], None, enabled=False)
        return StoredTenant(row["name"], limits, row["enabled"])

    async def _look_at_audit(self, connection: asyncpg.Connection, head: Head) -> None:
        """Each head goes to the log, out of reach of whoever can change the database."""
        wrong = await self._witness.look(connection, head)
        if wrong is None:
            return
        self._metrics.audit_rows.set(head.id)
        self._log.event("audit_head", head=str(head))
        if wrong:
            self._metrics.audit_breaks.inc()
            self._log.event("audit_broken", head=str(head), reason=wrong)

    async def _flush_uses(self, connection: asyncpg.Connection) -> None:
        ring, now = self._ring, time.monotonic()
        if not ring.used or now - self._uses_at < USES_SECONDS:
            return
        self._uses_at = now
        used, ring.used = ring.used, set()
        today = _EPOCH + timedelta(days=time.time() // DAY_SECONDS)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute(
                    "INSERT INTO penstock_keys.uses SELECT id, $2 FROM penstock_keys.keys WHERE id = ANY($1::text[]) "
                    "ON CONFLICT (key_id) DO UPDATE SET day = greatest(uses.day, excluded.day)",
                    sorted(used),
                    today,
                )
        except BaseException:
            ring.used |= used
            raise


def dump_access(access: Access) -> str:
    """The column `access`: what has no column of its own, and is not at its default."""
    told = access.model_dump(mode="json", include=_IN_ACCESS)
    return json.dumps({name: value for name, value in told.items() if value not in (None, {})})
