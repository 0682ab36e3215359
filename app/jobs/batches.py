"""A batch's beginning and end: its input is checked, and the parts of its answers become files."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from app.jobs.config import JobsConfig
from app.jobs.lines import Checker, error_line, only
from app.jobs.objects import Objects
from app.jobs.queue import Claimed, Queue

T = TypeVar("T")
Ask = Callable[[Callable[[Queue], Awaitable[T]]], Awaitable[T]]
"""Does something with the queue. Raises FAILURES."""


class Batches:
    """Raises FAILURES and StorageError: then the batch is to be tried again. All here may be done twice."""

    def __init__(self, config: JobsConfig, objects: Objects, ask: Ask[Any]) -> None:
        self._config = config
        self._objects = objects
        self._ask = ask

    async def work(self, claimed: Claimed) -> None:
        await (self._check(claimed) if claimed.row["status"] == "validating" else self._finish(claimed))

    async def _check(self, claimed: Claimed) -> None:
        batch = claimed.row
        checker = Checker(batch["endpoint"], self._config.max_rows)
        async for part in self._objects.parts(batch["input_object"], batch["input_bytes"]):
            if not checker.feed(part):
                break
        checker.finish()
        errors = checker.errors
        if not errors:
            waiting = await self._ask(lambda queue: queue.waiting(batch["tenant"]))
            if waiting + len(checker.rows) > self._config.max_queued_rows:
                text = (
                    f"The batch has {len(checker.rows)} requests, and {waiting} of the tenant's wait; "
                    f"{self._config.max_queued_rows} may wait together."
                )
                errors = [{"code": "queue_full", "line": None, "message": text, "param": None}]
        if not errors:
            await self._ask(lambda queue: queue.admit(claimed, checker.rows))
        elif await self._ask(lambda queue: queue.refuse(claimed, errors)):
            message = message_of(batch, "failed")
            await self._ask(lambda queue: queue.message(batch, message))

    async def _finish(self, claimed: Claimed) -> None:
        batch, files = claimed.row, []
        for role in ("output", "error"):
            # The same id each time: a second try writes over what the first one left.
            identity = "file-" + hashlib.sha256(f"{batch['id']} {role}".encode()).hexdigest()[:24]
            key = f"files/{identity}"
            size = await self._write(batch, key, failed=role == "error")
            if size:
                files.append((role, identity, key, size))
        status = batch["ending"]
        if batch["kind"] == "job" and batch["failed"]:
            status = "failed"
        message = message_of(batch, status)
        await self._ask(lambda queue: queue.finish(claimed, files, self._config.keep_days, message))
        await self._objects.delete_under(f"parts/{batch['id']}/")
        if batch["kind"] == "job":
            await self._objects.delete(batch["input_object"])

    async def _write(self, batch: Any, key: str, *, failed: bool) -> int:
        """Bytes written; nothing where there is no line."""
        writer = self._objects.writer(key)
        try:
            for part in await self._ask(lambda queue: queue.parts(batch["id"], failed=failed)):
                await self._copy(writer, part["id"], part["object_key"])
            if failed and batch["ending"] == "expired":
                text = "This request was not done before the batch expired."
                for row in await self._ask(lambda queue: queue.expired_rows(batch["id"])):
                    await writer.write(error_line(row["id"].hex, row["custom_id"], "batch_expired", text))
            if writer.size:
                await writer.finish()
        except BaseException:
            await writer.abort()
            raise
        return writer.size

    async def _copy(self, writer: Any, part: uuid.UUID, key: str) -> None:
        mine = await self._ask(lambda queue: queue.rows_of_part(part))
        await writer.write(b"".join(only(await self._objects.get(key), mine)))


def message_of(batch: Any, status: str) -> str:
    """What a webhook is told: little, as the receiver asks for more with its key."""
    kind = batch["kind"]
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps({"type": f"{kind}.{status}", "timestamp": now, "data": {"id": batch["id"], "status": status}})
