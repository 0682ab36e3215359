"""OpenAI's Files: uploads to the bucket, and what a tenant may see and delete of them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from app.gateway.database.connection import FAILURES
from app.gateway.errors import Problem, Refused, retry_after
from app.jobs import forms, shapes
from app.jobs.call import Answer, Call, Stream, in_json, paging
from app.jobs.objects import Objects, StorageError, Writer
from app.jobs.store import Store

if TYPE_CHECKING:
    from app.gateway.log import Log
    from app.jobs.config import JobsConfig

MOST_UPLOADS = 8
DAY_SECONDS = 86_400

TOO_MANY_UPLOADS = Problem(
    503, "Too many uploads at once. Try again in 2 s.", "too_many_uploads", headers=retry_after()
)


class Files:
    """Each method raises Refused where a request is wrong, StorageError, and the database's failures."""

    def __init__(
        self, config: JobsConfig, store: Callable[[], AbstractAsyncContextManager[Store]], objects: Objects, log: Log
    ) -> None:
        """`store` lends a connection's store for one transaction or read."""
        self._config = config
        self._store = store
        self._objects = objects
        self._log = log
        self._uploads = 0

    async def upload(self, call: Call) -> Answer:
        upload = forms.Upload(call.headers.get(b"content-type", b""), call.receive, self._config.max_file_bytes)
        if self._uploads >= MOST_UPLOADS:
            raise Refused(TOO_MANY_UPLOADS)
        self._uploads += 1
        identity = f"file-{secrets.token_hex(12)}"
        key = f"files/{identity}"
        writer = self._objects.writer(key)
        try:
            await upload.read(writer.write)
            purpose, seconds = _purpose(upload), self._seconds_to_keep(upload.fields)
            await writer.finish()
        except BaseException:
            await self._abort(writer)
            raise
        finally:
            self._uploads -= 1
        try:
            async with self._store() as store:
                row = await store.add_file(
                    identity, call.grant.tenant, call.grant.id, purpose, upload.filename[:255].replace("\0", ""),
                    writer.size, key, seconds,
                )  # fmt: skip
        except FAILURES:
            with contextlib.suppress(StorageError):
                await self._objects.delete(key)
            raise
        return in_json(shapes.file_object(row))

    async def _abort(self, writer: Writer) -> None:
        try:
            await writer.abort()
        except StorageError as error:  # the bucket's lifecycle ends it later
            self._log.event("jobs_failed", reason=str(error)[:300], path="abort")

    def _seconds_to_keep(self, fields: Mapping[str, str]) -> float:
        """Raises Refused (400)."""
        longest = self._config.keep_days * DAY_SECONDS
        given = fields.get("expires_after[seconds]")
        if given is None:
            return longest
        if fields.get("expires_after[anchor]", "created_at") != "created_at":
            raise forms.bad("`expires_after.anchor` must be `created_at`.", "expires_after")
        if not given.isdecimal() or not 3600 <= int(given) <= 2_592_000:
            raise forms.bad("`expires_after.seconds` must be from 3600 to 2592000.", "expires_after")
        return min(longest, int(given))

    async def listed(self, call: Call) -> Answer:
        limit, after = paging(call.query)
        order = call.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise forms.bad("`order` must be `asc` or `desc`.", "order")
        async with self._store() as store:
            rows = await store.list_files(
                call.grant.tenant, call.query.get("purpose"), after, limit, newest_first=order == "desc"
            )
        return in_json(shapes.page([shapes.file_object(row) for row in rows], limit))

    async def find(self, call: Call, identity: str) -> Any:
        async with self._store() as store:
            row = await store.file(identity, call.grant.tenant)
        if row is None:
            raise Refused(Problem(404, f"No such File object: {identity}", "file_not_found", "id"))
        return row

    async def shown(self, call: Call, identity: str) -> Answer:
        return in_json(shapes.file_object(await self.find(call, identity)))

    async def delete(self, call: Call, identity: str) -> Answer:
        row = await self.find(call, identity)
        async with self._store() as store:
            if user := await store.used_by(identity):
                text = f"The file is the input of `{user}`, which has not ended. Cancel that first."
                raise Refused(Problem(409, text, "file_in_use", "id"))
        await self._objects.delete(row["object_key"])
        async with self._store() as store:
            await store.remove_file(identity, call.grant.tenant)
        return in_json({"id": identity, "object": "file", "deleted": True})

    def content(self, key: str, size: int) -> Stream:
        return Stream(size, self._objects.parts(key, size))


def _purpose(upload: forms.Upload) -> str:
    """Raises Refused (400)."""
    purpose = upload.fields.get("purpose", "")
    if purpose not in forms.PURPOSES:
        raise forms.bad(f"`purpose` must be {' or '.join(forms.PURPOSES)}.", "purpose", "invalid_purpose")
    if not upload.size:
        raise forms.bad("`file` is missing or empty.", "file", "empty_file" if upload.size == 0 else "missing_file")
    return purpose
