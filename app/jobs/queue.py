"""The queue, from a worker's side. Rows are taken under a lease, in chunks of one batch, by tenants in turn.

Whatever a worker does with rows or batches it does under the token of its lease: one that was away for too long finds
its token gone, and changes nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.jobs.lines import RowShape
from app.jobs.schema import CANCELLED, CLAIMED, DONE, EXPIRED, FAILED, QUEUED

MOST_COUNTED = 100_000
"""A longer queue is told as so long: to count a million rows every few seconds would be a load of its own."""

# S608: only numbers of this package are put into the statements.
_TENANT = f"""
SELECT tenant FROM penstock_jobs.tenants t WHERE EXISTS (
    SELECT FROM penstock_jobs.rows r WHERE r.tenant = t.tenant AND r.state = {QUEUED} AND r.due_at <= now()
) ORDER BY last_claim, tenant LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608
_CLAIM = f"""
WITH chosen AS (
    SELECT id FROM penstock_jobs.rows WHERE tenant = $1 AND state = {QUEUED} AND due_at <= now() AND batch = (
        SELECT batch FROM penstock_jobs.rows WHERE tenant = $1 AND state = {QUEUED} AND due_at <= now()
        ORDER BY rank, batch_seq, line LIMIT 1
    ) ORDER BY rank, batch_seq, line LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE penstock_jobs.rows r SET state = {CLAIMED}, lease_token = $3, lease_until = now() + $4 * interval '1 second',
    attempts = attempts + 1, first_sent_at = coalesce(first_sent_at, now())
FROM chosen, penstock_jobs.batches b WHERE r.id = chosen.id AND b.id = r.batch
RETURNING r.id, r.batch, r.line, r.custom_id, r.start, r.size, r.attempts, r.key_id,
    extract(epoch FROM r.first_sent_at)::float8 AS first_sent, b.input_object, b.endpoint
"""  # noqa: S608

_DEPTH = f"""
SELECT (SELECT count(*) FROM (SELECT FROM penstock_jobs.rows WHERE state = {QUEUED} LIMIT {MOST_COUNTED}) q) AS queued,
    (SELECT count(*) FROM (SELECT FROM penstock_jobs.rows WHERE state = {CLAIMED} LIMIT {MOST_COUNTED}) r) AS running,
    count(*) FILTER (WHERE status = 'validating') AS unchecked,
    coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_seconds
FROM penstock_jobs.batches WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    """32 hexadecimal digits."""
    line: int
    custom_id: str
    start: int
    size: int
    attempt: int
    key_id: str
    first_sent: float


@dataclass(frozen=True)
class Chunk:
    """Rows of one batch, in the order of their lines."""

    batch: str
    token: uuid.UUID
    input_object: str
    endpoint: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Depth:
    """The queue of all tenants at one moment."""

    queued: int
    running: int
    unchecked: int
    """Batches whose rows are not known yet."""
    oldest_seconds: float
    """Age of the oldest batch or job that has not ended; 0 without one."""

    @property
    def demand(self) -> int:
        """What workers are needed for: a batch that waits to be checked needs one too."""
        return self.queued + self.running + self.unchecked


@dataclass(frozen=True)
class Claimed:
    """A batch that is to be checked, or whose files are to be made."""

    row: asyncpg.Record
    token: uuid.UUID


class Queue:
    """Raises FAILURES."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def depth(self) -> Depth:
        """By indexes of what has not ended alone."""
        found = await self._connection.fetchrow(_DEPTH)
        return Depth(**dict(found or {}))

    async def claim(self, most: int, lease_seconds: float) -> Chunk | None:
        """None where nothing waits that is due."""
        token = uuid.uuid4()
        async with self._connection.transaction():
            tenant = await self._connection.fetchval(_TENANT)
            if tenant is None:
                return None
            await self._connection.execute(
                "UPDATE penstock_jobs.tenants SET last_claim = clock_timestamp() WHERE tenant = $1", tenant
            )
            found = await self._connection.fetch(_CLAIM, tenant, most, token, lease_seconds)
        if not found:
            return None
        rows = [
            Row(
                one["id"].hex, one["line"], one["custom_id"], one["start"], one["size"], one["attempts"], one["key_id"],
                one["first_sent"],
            )
            for one in sorted(found, key=lambda one: one["line"])
        ]  # fmt: skip
        first = found[0]
        return Chunk(first["batch"], token, first["input_object"], first["endpoint"], rows)

    async def extend(self, tokens: Sequence[uuid.UUID], lease_seconds: float) -> None:
        """The worker is alive."""
        await self._connection.execute(
            "UPDATE penstock_jobs.rows SET lease_until = now() + $2 * interval '1 second' "  # noqa: S608
            f"WHERE state = {CLAIMED} AND lease_token = ANY($1)",
            *(tokens, lease_seconds),
        )
        await self._connection.execute(
            "UPDATE penstock_jobs.batches SET lease_until = now() + $2 * interval '1 second' "
            "WHERE lease_token = ANY($1)",
            *(tokens, lease_seconds),
        )

    async def put_back(self, chunk: Chunk, rows: Sequence[Row], seconds: float, *, tried: bool) -> None:
        """These may be taken again after so many seconds. `tried`: the attempt counts."""
        await self._connection.execute(
            f"UPDATE penstock_jobs.rows SET state = {QUEUED}, lease_token = NULL, "  # noqa: S608
            "due_at = now() + $3 * interval '1 second', attempts = attempts - $4 "
            f"WHERE id = ANY($1) AND lease_token = $2 AND state = {CLAIMED}",
            *([uuid.UUID(row.id) for row in rows], chunk.token, seconds, 0 if tried else 1),
        )

    async def ended(self, chunk: Chunk, rows: Sequence[Row], part: uuid.UUID, key: str, *, failed: bool) -> int:
        """The answers of these rows are in the part, which is stored. Returns how many rows were still this worker's.

        To be repeated after a failure, with the same part: what is recorded is recorded once.
        """
        state = FAILED if failed else DONE
        async with self._connection.transaction():
            if await self._connection.fetchval("SELECT true FROM penstock_jobs.parts WHERE id = $1", part):
                return len(rows)
            changed = await self._connection.fetch(
                f"UPDATE penstock_jobs.rows SET state = {state}, part = $3, lease_token = NULL "  # noqa: S608
                f"WHERE id = ANY($1) AND lease_token = $2 AND state = {CLAIMED} RETURNING id",
                *([uuid.UUID(row.id) for row in rows], chunk.token, part),
            )
            if changed:
                await self._connection.execute(
                    "INSERT INTO penstock_jobs.parts (id, batch, failed, object_key) VALUES ($1, $2, $3, $4)",
                    *(part, chunk.batch, failed, key),
                )
                counted = "failed" if failed else "completed"
                await self._connection.execute(
                    f"UPDATE penstock_jobs.batches SET {counted} = {counted} + $2, open = open - $2 "  # noqa: S608
                    "WHERE id = $1",
                    *(chunk.batch, len(changed)),
                )
        return len(changed)

    # -- batches --

    async def sweep(self) -> None:
        """Frees what dead workers held, ends rows of batches that were cancelled or are too old, and opens the way to
        the end for batches whose rows have all ended."""
        await self._connection.execute(
            f"""
            UPDATE penstock_jobs.rows SET state = {QUEUED}, lease_token = NULL WHERE id IN (
                SELECT id FROM penstock_jobs.rows WHERE state = {CLAIMED} AND lease_until < now()
                LIMIT 10000 FOR UPDATE SKIP LOCKED
            )
            """  # noqa: S608
        )
        over = await self._connection.fetch(
            "SELECT id, status, expires_at <= now() AS late FROM penstock_jobs.batches WHERE status = 'cancelling' "
            "OR (status IN ('validating', 'in_progress') AND expires_at <= now()) LIMIT 100"
        )
        for one in over:
            cancelled = one["status"] == "cancelling"
            async with self._connection.transaction():
                said = await self._connection.execute(
                    "UPDATE penstock_jobs.rows SET state = $2 "  # noqa: S608
                    f"WHERE batch = $1 AND state = {QUEUED}",
                    *(one["id"], CANCELLED if cancelled else EXPIRED),
                )
                await self._connection.execute(
                    "UPDATE penstock_jobs.batches SET open = open - $2, ending = $3, "
                    "status = CASE WHEN status = 'validating' THEN 'in_progress' ELSE status END WHERE id = $1",
                    *(one["id"], int(said.rpartition(" ")[2]), "cancelled" if cancelled else "expired"),
                )
        await self._connection.execute(
            "UPDATE penstock_jobs.batches SET status = 'finalizing', finalizing_at = now(), "
            "ending = coalesce(ending, 'completed'), lease_token = NULL, lease_until = NULL WHERE open = 0 "
            "AND (status = 'in_progress' OR (status = 'cancelling' AND ending IS NOT NULL))"
        )

    async def claim_batch(self, lease_seconds: float) -> Claimed | None:
        """A batch that waits to be checked or finished."""
        token = uuid.uuid4()
        row = await self._connection.fetchrow(
            "UPDATE penstock_jobs.batches SET lease_token = $1, lease_until = now() + $2 * interval '1 second' "
            "WHERE id = (SELECT id FROM penstock_jobs.batches WHERE status IN ('validating', 'finalizing') "
            "AND (lease_until IS NULL OR lease_until < now()) ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
            *(token, lease_seconds),
        )
        return None if row is None else Claimed(row, token)

    async def release_batch(self, claimed: Claimed, seconds: float) -> None:
        """Somebody may try again after so many seconds."""
        await self._connection.execute(
            "UPDATE penstock_jobs.batches SET lease_until = now() + $3 * interval '1 second', lease_token = NULL "
            "WHERE id = $1 AND lease_token = $2",
            *(claimed.row["id"], claimed.token, seconds),
        )

    async def refuse(self, claimed: Claimed, errors: Sequence[dict[str, Any]]) -> bool:
        """The input is wrong. False where the batch is another worker's by now, or was cancelled."""
        said = await self._connection.execute(
            "UPDATE penstock_jobs.batches SET status = 'failed', errors = $3, ended_at = now(), lease_token = NULL "
            "WHERE id = $1 AND lease_token = $2 AND status = 'validating'",
            *(claimed.row["id"], claimed.token, json.dumps(list(errors))),
        )
        return said.endswith(" 1")

    async def waiting(self, tenant: str) -> int:
        return await self._connection.fetchval(
            f"SELECT count(*) FROM penstock_jobs.rows WHERE tenant = $1 AND state IN ({QUEUED}, {CLAIMED})",  # noqa: S608
            tenant,
        )

    async def admit(self, claimed: Claimed, rows: Sequence[RowShape]) -> bool:
        """The input is right: its rows wait from now on. False as for `refuse`."""
        batch = claimed.row
        rank = 0 if batch["kind"] == "job" else 1
        async with self._connection.transaction():
            said = await self._connection.execute(
                "UPDATE penstock_jobs.batches SET status = 'in_progress', in_progress_at = now(), total = $3, "
                "open = $3, lease_token = NULL, lease_until = NULL "
                "WHERE id = $1 AND lease_token = $2 AND status = 'validating'",
                *(batch["id"], claimed.token, len(rows)),
            )
            if not said.endswith(" 1"):
                return False
            await self._connection.copy_records_to_table(
                "rows",
                schema_name="penstock_jobs",
                columns=("id", "batch", "tenant", "key_id", "rank", "batch_seq", "line", "custom_id", "start", "size"),
                records=[
                    (uuid.uuid4(), batch["id"], batch["tenant"], batch["key_id"], rank, batch["seq"], row.line,
                     row.custom_id, row.start, row.size)
                    for row in rows
                ],
            )  # fmt: skip
            await self._connection.execute(
                "INSERT INTO penstock_jobs.tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING", batch["tenant"]
            )
        return True

    async def parts(self, batch: str, *, failed: bool) -> list[asyncpg.Record]:
        return await self._connection.fetch(
            "SELECT id, object_key FROM penstock_jobs.parts WHERE batch = $1 AND failed = $2 ORDER BY seq",
            *(batch, failed),
        )

    async def rows_of_part(self, part: uuid.UUID) -> set[str]:
        found = await self._connection.fetch("SELECT id FROM penstock_jobs.rows WHERE part = $1", part)
        return {row["id"].hex for row in found}

    async def expired_rows(self, batch: str) -> list[asyncpg.Record]:
        return await self._connection.fetch(
            f"SELECT id, custom_id FROM penstock_jobs.rows WHERE batch = $1 AND state = {EXPIRED} ORDER BY line",  # noqa: S608
            batch,
        )

    async def finish(
        self, claimed: Claimed, files: Sequence[tuple[str, str, str, int]], keep_days: int, message: str | None
    ) -> bool:
        """The batch's files are stored: (role, id, key, bytes). `message` goes to its webhook."""
        batch = claimed.row
        by_role = {role: identity for role, identity, _, _ in files}
        async with self._connection.transaction():
            said = await self._connection.execute(
                "UPDATE penstock_jobs.batches SET status = ending, ended_at = now(), output_file = $3, "
                "error_file = $4, lease_token = NULL WHERE id = $1 AND lease_token = $2 AND status = 'finalizing'",
                *(batch["id"], claimed.token, by_role.get("output"), by_role.get("error")),
            )
            if not said.endswith(" 1"):
                return False
            for role, identity, key, size in files:
                await self._connection.execute(
                    "INSERT INTO penstock_jobs.files (id, tenant, key_id, purpose, filename, bytes, object_key, "
                    "expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, now() + $8 * interval '1 day')",
                    *(identity, batch["tenant"], batch["key_id"], f"{batch['kind']}_output"),
                    *(f"{batch['id']}_{role}.jsonl", size, key, keep_days),
                )
            if message is not None and batch["webhook"]:
                await self._message(batch, message)
        return True

    async def _message(self, batch: asyncpg.Record, message: str) -> None:
        await self._connection.execute(
            "INSERT INTO penstock_jobs.deliveries (batch, tenant, url, body) VALUES ($1, $2, $3, $4)",
            *(batch["id"], batch["tenant"], batch["webhook"], message),
        )

    async def message(self, batch: asyncpg.Record, message: str) -> None:
        if batch["webhook"]:
            await self._message(batch, message)

    # -- webhooks and what is old --

    async def claim_delivery(self, seconds: float) -> asyncpg.Record | None:
        """A message that is due; nobody else takes it for so many seconds."""
        return await self._connection.fetchrow(
            "UPDATE penstock_jobs.deliveries SET attempts = attempts + 1, due_at = now() + $1 * interval '1 second' "
            "WHERE id = (SELECT id FROM penstock_jobs.deliveries WHERE NOT done AND due_at <= now() "
            "ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
            seconds,
        )

    async def delivered(self, identity: uuid.UUID, result: str, wait_seconds: float | None) -> None:
        """None: it needs no other try."""
        await self._connection.execute(
            "UPDATE penstock_jobs.deliveries SET last_result = $2, done = $3, "
            "due_at = now() + $4 * interval '1 second' WHERE id = $1",
            *(identity, result[:200], wait_seconds is None, wait_seconds or 0.0),
        )

    async def old_files(self) -> list[asyncpg.Record]:
        """Files past their end that no open batch reads."""
        return await self._connection.fetch(
            "SELECT id, object_key FROM penstock_jobs.files f WHERE expires_at <= now() AND NOT EXISTS ("
            "SELECT FROM penstock_jobs.batches b WHERE b.input_file = f.id AND b.ended_at IS NULL) LIMIT 500"
        )

    async def forget_files(self, identities: Sequence[str]) -> None:
        await self._connection.execute("DELETE FROM penstock_jobs.files WHERE id = ANY($1)", identities)

    async def forget_batches(self, keep_days: int) -> None:
        """Those that ended long ago, with their rows."""
        await self._connection.execute(
            "DELETE FROM penstock_jobs.batches WHERE id IN (SELECT id FROM penstock_jobs.batches "
            "WHERE ended_at < now() - $1 * interval '1 day' LIMIT 20)",
            keep_days,
        )
