"""Files, batches and jobs under /v1, served by gateways beside the hot path.

OpenAI's Files and Batches, and `POST /v1/jobs` for one long request. All that a key sees is of its tenant.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from app.gateway.database.connection import FAILURES
from app.gateway.errors import Problem, Refused, retry_after, unknown_url, wrong_method
from app.jobs import forms, shapes, webhooks
from app.jobs.lines import ENDPOINTS, MOST_LINE_BYTES, job_line, problem_of_job
from app.jobs.objects import Objects, StorageError, Writer
from app.jobs.pool import Pool
from app.jobs.store import NewBatch, Store

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant
    from app.gateway.keys.ring import KeyRing
    from app.gateway.log import Log
    from app.jobs.config import JobsConfig
    from app.jobs.settings import Place

ROOMS = ("files", "batches", "jobs")
MOST_BODY_BYTES = 64 * 1024
MOST_UPLOADS = 8
REQUEST_SECONDS = 15.0
DAY_SECONDS = 86_400
MOST_LISTED = 1000
_IDENTITY = re.compile(r"[a-z]+[-_][0-9a-z]{1,64}")
_IDEMPOTENCY = re.compile(r"[\x21-\x7e]{1,255}")

AWAY = Problem(503, "The database of jobs is away. Try again in 2 s.", "jobs_database_away", headers=retry_after())
NO_STORAGE = Problem(
    503, "The storage of files is away or full. Try again in 2 s.", "storage_unavailable", headers=retry_after()
)
TOO_MANY_UPLOADS = Problem(
    503, "Too many uploads at once. Try again in 2 s.", "too_many_uploads", headers=retry_after()
)

KEY_NEEDED = Problem(
    403,
    "Batches and jobs need an API key: they are asked for long after a token of an issuer has ended, and nobody could "
    "revoke that. Ask the operator of this gateway for a key of your tenant; it sees the files that you have uploaded.",
    "api_key_needed",
)


@dataclass(frozen=True)
class Call:
    grant: Grant
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    receive: Callable[[], Awaitable[Any]]

    def need(self, *methods: str) -> None:
        """Raises Refused (405)."""
        if self.method not in methods:
            raise Refused(wrong_method(self.method, self.path, ", ".join(methods)))

    async def body(self, most: int = MOST_BODY_BYTES) -> bytes:
        """Raises Refused (413)."""
        found = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left")
            found += message.get("body", b"")
            if len(found) > most:
                text = f"The request body is larger than the limit of {most} bytes."
                raise Refused(Problem(413, text, "request_too_large", headers=((b"connection", b"close"),)))
            if not message.get("more_body", False):
                return bytes(found)

    def idempotency_key(self) -> str | None:
        """Raises Refused (400)."""
        given = self.headers.get(b"idempotency-key")
        if given is None:
            return None
        text = given.decode("latin-1")
        if not _IDEMPOTENCY.fullmatch(text):
            raise forms.bad("The header `Idempotency-Key` must have 1 to 255 visible ASCII characters.")
        return text


class Stream:
    """A reply's body of known length that comes in parts."""

    def __init__(self, size: int, parts: AsyncIterator[bytes]) -> None:
        self._size = size
        self.parts = parts

    def __len__(self) -> int:
        return self._size


Answer = tuple[int, bytes, bytes | Stream]


def webhook_secret(secret: bytes, tenant: str) -> bytes:
    """What a tenant's messages are signed with. Derived, so that it is kept nowhere."""
    return hmac.digest(secret, b"webhook:" + tenant.encode(), hashlib.sha256)


def shown_secret(secret: bytes, tenant: str) -> str:
    return "whsec_" + base64.b64encode(webhook_secret(secret, tenant)).decode()


class JobsApi:
    def __init__(
        self, config: JobsConfig, place: Place, log: Log, ring: KeyRing, models: Callable[[Grant, str], object]
    ) -> None:
        """`models` says whether a key may ask for a model (raises Refused where not)."""
        self._config = config
        self._ring = ring
        self._secret = place.secret
        self._pool = Pool(place.database, "penstock-jobs-api")
        self._objects = Objects(place.bucket)
        self._uploads = 0
        self._models = models
        self._log = log

    @staticmethod
    def serves(path: str) -> str | None:
        """The room that a path is in, which is the route that a key needs for it."""
        if not path.startswith("/v1/"):
            return None
        room = path[4:].split("/", 1)[0]
        return room if room in ROOMS else None

    async def answer(self, call: Call) -> Answer:
        """Raises Refused."""
        try:
            return await self._answer(call)
        except FAILURES as error:
            self._log.event("jobs_failed", reason=type(error).__name__, path=call.path[:100])
            raise Refused(AWAY) from None
        except StorageError as error:
            self._log.event("jobs_failed", reason=str(error)[:300], path=call.path[:100])
            raise Refused(NO_STORAGE) from None

    async def _answer(self, call: Call) -> Answer:
        room, *rest = call.path.removeprefix("/v1/").split("/")
        call.grant.require_route(room)
        if rest and not _IDENTITY.fullmatch(rest[0]):
            raise Refused(unknown_url(call.method, call.path))
        match room, rest:
            case "files", []:
                call.need("GET", "POST")
                return await (self._upload(call) if call.method == "POST" else self._list_files(call))
            case "files", [identity]:
                call.need("GET", "DELETE")
                return await (
                    self._delete_file(call, identity) if call.method == "DELETE" else self._file(call, identity)
                )
            case "files", [identity, "content"]:
                call.need("GET")
                row = await self._find_file(call, identity)
                return 200, b"application/octet-stream", self._content(row["object_key"], row["bytes"])
            case "batches", []:
                call.need("GET", "POST")
                return await (self._create_batch(call) if call.method == "POST" else self._list(call, "batch"))
            case "jobs", []:
                call.need("GET", "POST")
                return await (self._create_job(call) if call.method == "POST" else self._list(call, "job"))
            case ("batches" | "jobs") as kind, [identity]:
                call.need("GET")
                return _json(self._shown(await self._find(call, identity, _kind(kind))))
            case ("batches" | "jobs") as kind, [identity, "cancel"]:
                call.need("POST")
                await self._find(call, identity, _kind(kind))
                async with self._store() as store:
                    await store.cancel(identity, call.grant.tenant)
                return _json(self._shown(await self._find(call, identity, _kind(kind))))
            case "jobs", [identity, "result"]:
                call.need("GET")
                return await self._result(call, identity)
        raise Refused(unknown_url(call.method, call.path))

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncGenerator[Store]:
        async with asyncio.timeout(REQUEST_SECONDS), self._pool.connection() as connection:
            yield Store(connection)

    # -- files --

    async def _upload(self, call: Call) -> Answer:
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
        return _json(shapes.file_object(row))

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

    async def _list_files(self, call: Call) -> Answer:
        limit, after = _paging(call.query)
        order = call.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise forms.bad("`order` must be `asc` or `desc`.", "order")
        async with self._store() as store:
            rows = await store.list_files(
                call.grant.tenant, call.query.get("purpose"), after, limit, newest_first=order == "desc"
            )
        return _json(shapes.page([shapes.file_object(row) for row in rows], limit))

    async def _find_file(self, call: Call, identity: str) -> Any:
        async with self._store() as store:
            row = await store.file(identity, call.grant.tenant)
        if row is None:
            raise Refused(Problem(404, f"No such File object: {identity}", "file_not_found", "id"))
        return row

    async def _file(self, call: Call, identity: str) -> Answer:
        return _json(shapes.file_object(await self._find_file(call, identity)))

    async def _delete_file(self, call: Call, identity: str) -> Answer:
        row = await self._find_file(call, identity)
        async with self._store() as store:
            if user := await store.used_by(identity):
                text = f"The file is the input of `{user}`, which has not ended. Cancel that first."
                raise Refused(Problem(409, text, "file_in_use", "id"))
        await self._objects.delete(row["object_key"])
        async with self._store() as store:
            await store.remove_file(identity, call.grant.tenant)
        return _json({"id": identity, "object": "file", "deleted": True})

    def _content(self, key: str, size: int) -> Stream:
        return Stream(size, self._objects.parts(key, size))

    # -- batches and jobs --

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return shapes.job_object(row) if row["kind"] == "job" else shapes.batch_object(row)

    async def _find(self, call: Call, identity: str, kind: str) -> dict[str, Any]:
        async with self._store() as store:
            row = await store.batch(identity, call.grant.tenant, kind)
        if row is None:
            raise Refused(Problem(404, f"No {kind} found with id '{identity}'.", f"{kind}_not_found", "id"))
        return row

    async def _list(self, call: Call, kind: str) -> Answer:
        limit, after = _paging(call.query)
        async with self._store() as store:
            rows = await store.list_batches(call.grant.tenant, kind, after, limit)
        return _json(shapes.page([self._shown(dict(row)) for row in rows], limit))

    def _endpoint(self, grant: Grant, endpoint: str) -> None:
        """Raises Refused (400, 403)."""
        route = ENDPOINTS.get(endpoint)
        if route is None:
            raise forms.bad(f"`endpoint` must be one of {', '.join(ENDPOINTS)}.", "endpoint", "invalid_endpoint")
        grant.require_route(route)
        if self._ring.by_id(grant.id) is not grant:
            raise Refused(KEY_NEEDED)

    def _webhook(self, given: forms.WebhookForm | None) -> str | None:
        """Raises Refused (400)."""
        if given is None:
            return None
        if problem := webhooks.problem_of(given.url, self._config.webhooks):
            raise forms.bad(f"`webhook.url`: {problem}.", "webhook.url", "invalid_webhook")
        return given.url

    async def _create_batch(self, call: Call) -> Answer:
        raw = await call.body()
        form = forms.read_json(raw, forms.BatchForm)
        forms.check_metadata(form.metadata)
        self._endpoint(call.grant, form.endpoint)
        if form.completion_window != "24h":
            raise forms.bad("`completion_window` must be `24h`.", "completion_window")
        file = await self._find_file(call, form.input_file_id)
        if file["purpose"] != "batch":
            raise forms.bad("`input_file_id` must name a file of purpose `batch`.", "input_file_id")
        new = NewBatch(
            f"batch_{secrets.token_hex(12)}", "batch", call.grant.tenant, call.grant.id, form.endpoint,
            form.input_file_id, file["object_key"], file["bytes"], DAY_SECONDS, form.metadata,
            self._webhook(form.webhook), call.idempotency_key(), hashlib.sha256(raw).digest(),
        )  # fmt: skip
        return _json(await self._add(new))

    async def _create_job(self, call: Call) -> Answer:
        raw = await call.body(MOST_LINE_BYTES)
        form = forms.read_json(raw, forms.JobForm)
        forms.check_metadata(form.metadata)
        self._endpoint(call.grant, form.endpoint)
        if problem := problem_of_job(bytes(form.body)):
            raise forms.bad(problem, "body")
        self._models(call.grant, json.loads(bytes(form.body))["model"])
        if not 60 <= form.expires_in_seconds <= 7 * DAY_SECONDS:
            raise forms.bad("`expires_in_seconds` must be from 60 to 604800.", "expires_in_seconds")
        identity = f"job_{secrets.token_hex(12)}"
        line, key = job_line(identity, form.endpoint, bytes(form.body)), f"inputs/{identity}"
        new = NewBatch(
            identity, "job", call.grant.tenant, call.grant.id, form.endpoint, None, key, len(line),
            form.expires_in_seconds, form.metadata, self._webhook(form.webhook), call.idempotency_key(),
            hashlib.sha256(raw).digest(),
        )  # fmt: skip
        made = await self._add(new, line)
        if new.webhook is not None:
            made["webhook"]["secret"] = shown_secret(self._secret, call.grant.tenant)
        return _json(made, 200 if made["id"] != identity else 202)

    async def _add(self, new: NewBatch, line: bytes | None = None) -> dict[str, Any]:
        """Raises Refused (409, 429)."""
        async with self._store() as store:
            row = await store.same(new)
            if row is None and await store.waiting(new.tenant) >= self._config.max_queued_rows:
                text = f"The tenant has {self._config.max_queued_rows} requests that wait, the most. Try again later."
                raise Refused(Problem(429, text, "queue_full", headers=retry_after(60)))
        if row is None:
            if line is not None:
                await self._objects.put(new.input_object, line)
            async with self._store() as store:
                row = await store.add_batch(new) or await store.same(new)
        assert row is not None  # noqa: S101 - it is new, or the key was used
        if row["fingerprint"] != new.fingerprint:
            text = "This `Idempotency-Key` was used with another request. Use a new one."
            raise Refused(Problem(409, text, "idempotency_conflict"))
        return self._shown(dict(row))

    async def _result(self, call: Call, identity: str) -> Answer:
        """The model's own answer, as it would have come at once."""
        row = await self._find(call, identity, "job")
        if row["ended_at"] is None:
            text = f"The job has not ended: it is {shapes.job_object(row)['status']}."
            raise Refused(Problem(409, text, "not_ended", headers=retry_after()))
        name = row["output_file"] or row["error_file"]
        if name is None:
            raise Refused(Problem(404, f"The job is {row['status']}, and has no result.", "no_result"))
        file = await self._find_file(call, name)
        line = json.loads(await self._objects.get(file["object_key"]))
        if line["response"] is None:
            raise Refused(Problem(502, line["error"]["message"], line["error"]["code"]))
        return _json(line["response"]["body"], line["response"]["status_code"])

    async def erase(self, keys: Sequence[str]) -> None:
        """Files of a tenant that is forgotten. Raises Refused (503)."""
        try:
            await self._objects.delete(*keys)
        except StorageError as error:
            self._log.event("erase_failed", reason=str(error)[:200])
            message = "The bucket did not delete the tenant's files, so no row was erased. Try again."
            raise Refused(Problem(503, message, "bucket_away", headers=retry_after())) from None

    def close(self) -> None:
        self._pool.close()
        self._objects.close()


def _json(content: object, status: int = 200) -> Answer:
    return status, b"application/json", json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _kind(room: str) -> str:
    return {"batches": "batch", "jobs": "job"}[room]


def _purpose(upload: forms.Upload) -> str:
    """Raises Refused (400)."""
    purpose = upload.fields.get("purpose", "")
    if purpose not in forms.PURPOSES:
        raise forms.bad(f"`purpose` must be {' or '.join(forms.PURPOSES)}.", "purpose", "invalid_purpose")
    if not upload.size:
        raise forms.bad("`file` is missing or empty.", "file", "empty_file" if upload.size == 0 else "missing_file")
    return purpose


def _paging(query: Mapping[str, str]) -> tuple[int, str | None]:
    """Raises Refused (400)."""
    given, after = query.get("limit", "20"), query.get("after")
    if not given.isdecimal() or not 1 <= int(given) <= MOST_LISTED:
        raise forms.bad(f"`limit` must be from 1 to {MOST_LISTED}.", "limit")
    if after is not None and not _IDENTITY.fullmatch(after):
        raise forms.bad("`after` must be the id of the last one seen.", "after")
    return int(given), after


def read_query(text: bytes) -> dict[str, str]:
    return {key: value.replace("\0", "") for key, value in parse_qsl(text.decode("latin-1"))}
