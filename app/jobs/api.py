"""Files, batches and jobs under /v1, served by gateways beside the hot path.

OpenAI's Files and Batches, and `POST /v1/jobs` for one long request. All that a key sees is of its tenant.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.gateway.database.connection import FAILURES
from app.gateway.errors import Problem, Refused, retry_after, unknown_url
from app.jobs import forms, shapes, webhooks
from app.jobs.call import IDENTITY, Answer, Call, in_json, paging
from app.jobs.files import DAY_SECONDS, Files
from app.jobs.lines import ENDPOINTS, MOST_LINE_BYTES, job_line, problem_of_job
from app.jobs.objects import Objects, StorageError
from app.jobs.pool import Pool
from app.jobs.store import NewBatch, Store

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant
    from app.gateway.keys.ring import KeyRing
    from app.gateway.log import Log
    from app.jobs.config import JobsConfig
    from app.jobs.settings import Place

ROOMS = ("files", "batches", "jobs")
REQUEST_SECONDS = 15.0

AWAY = Problem(503, "The database of jobs is away. Try again in 2 s.", "jobs_database_away", headers=retry_after())
NO_STORAGE = Problem(
    503, "The storage of files is away or full. Try again in 2 s.", "storage_unavailable", headers=retry_after()
)
KEY_NEEDED = Problem(
    403,
    "Batches and jobs need an API key: they are asked for long after a token of an issuer has ended, and nobody could "
    "revoke that. Ask the operator of this gateway for a key of your tenant; it sees the files that you have uploaded.",
    "api_key_needed",
)


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
        self._files = Files(config, self._store, self._objects, log)
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
        if rest and not IDENTITY.fullmatch(rest[0]):
            raise Refused(unknown_url(call.method, call.path))
        match room, rest:
            case "files", []:
                call.need("GET", "POST")
                return await (self._files.upload(call) if call.method == "POST" else self._files.listed(call))
            case "files", [identity]:
                call.need("GET", "DELETE")
                return await (
                    self._files.delete(call, identity) if call.method == "DELETE" else self._files.shown(call, identity)
                )
            case "files", [identity, "content"]:
                call.need("GET")
                row = await self._files.find(call, identity)
                return 200, b"application/octet-stream", self._files.content(row["object_key"], row["bytes"])
            case "batches", []:
                call.need("GET", "POST")
                return await (self._create_batch(call) if call.method == "POST" else self._list(call, "batch"))
            case "jobs", []:
                call.need("GET", "POST")
                return await (self._create_job(call) if call.method == "POST" else self._list(call, "job"))
            case ("batches" | "jobs") as kind, [identity]:
                call.need("GET")
                return in_json(self._shown(await self._find(call, identity, _kind(kind))))
            case ("batches" | "jobs") as kind, [identity, "cancel"]:
                call.need("POST")
                await self._find(call, identity, _kind(kind))
                async with self._store() as store:
                    await store.cancel(identity, call.grant.tenant)
                return in_json(self._shown(await self._find(call, identity, _kind(kind))))
            case "jobs", [identity, "result"]:
                call.need("GET")
                return await self._result(call, identity)
        raise Refused(unknown_url(call.method, call.path))

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncGenerator[Store]:
        async with asyncio.timeout(REQUEST_SECONDS), self._pool.connection() as connection:
            yield Store(connection)

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return shapes.job_object(row) if row["kind"] == "job" else shapes.batch_object(row)

    async def _find(self, call: Call, identity: str, kind: str) -> dict[str, Any]:
        async with self._store() as store:
            row = await store.batch(identity, call.grant.tenant, kind)
        if row is None:
            raise Refused(Problem(404, f"No {kind} found with id '{identity}'.", f"{kind}_not_found", "id"))
        return row

    async def _list(self, call: Call, kind: str) -> Answer:
        limit, after = paging(call.query)
        async with self._store() as store:
            rows = await store.list_batches(call.grant.tenant, kind, after, limit)
        return in_json(shapes.page([self._shown(dict(row)) for row in rows], limit))

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
        file = await self._files.find(call, form.input_file_id)
        if file["purpose"] != "batch":
            raise forms.bad("`input_file_id` must name a file of purpose `batch`.", "input_file_id")
        new = NewBatch(
            f"batch_{secrets.token_hex(12)}", "batch", call.grant.tenant, call.grant.id, form.endpoint,
            form.input_file_id, file["object_key"], file["bytes"], DAY_SECONDS, form.metadata,
            self._webhook(form.webhook), call.idempotency_key(), hashlib.sha256(raw).digest(),
        )  # fmt: skip
        return in_json(await self._add(new))

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
            made["webhook"]["secret"] = webhooks.shown_secret(self._secret, call.grant.tenant)
        return in_json(made, 200 if made["id"] != identity else 202)

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
        file = await self._files.find(call, name)
        line = json.loads(await self._objects.get(file["object_key"]))
        if line["response"] is None:
            raise Refused(Problem(502, line["error"]["message"], line["error"]["code"]))
        return in_json(line["response"]["body"], line["response"]["status_code"])

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


def _kind(room: str) -> str:
    return {"batches": "batch", "jobs": "job"}[room]
