"""The routes beside the hot path, as a plain ASGI application: models, health, readiness, metrics, and the 404s."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from app.gateway.admit import ROUTES, Refused, request_id
from app.gateway.body import ClientGoneError, Receive, whole
from app.gateway.config import ModelRoute
from app.gateway.debug import snapshot
from app.gateway.errors import retry_after, unknown_model, unknown_url, wrong_method
from app.gateway.keys import admin
from app.gateway.keys.grant import Grant
from app.gateway.keys.problems import UnknownSignerError
from app.gateway.keys.tenant_data import is_export
from app.gateway.ledger import report
from app.gateway.openapi import document
from app.gateway.service import Service

if TYPE_CHECKING:
    from app.gateway.feedback.api import Feedback
    from app.jobs.api import JobsApi
    from app.jobs.call import Stream
    from app.retrieval.api import RetrievalApi

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]
Reply = tuple[int, bytes, bytes, Headers]
StreamReply = tuple[int, bytes, "bytes | Stream", Headers]
LinesReply = tuple[int, bytes, "bytes | Lines", Headers]

JSON = b"application/json"
DEBUG = "/debug"
PIPELINES = "/admin/v1/pipelines"
FEEDBACK = "/v1/feedback"
MOST_FEEDBACK_BYTES = 1024 * 1024
MODELS = "/v1/models"
KEYS_SECONDS = 15.0
"""So long a gateway that has not read its keys yet is not ready; then it serves with those of the key file."""
MODEL_PREFIX = "/v1/models/"
READ_METHODS = "GET, HEAD"


def _json(content: object, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    return status, JSON, msgspec.json.encode(content), headers


def _identity(given: dict[bytes, bytes]) -> bytes:
    """The client's own request id where it is well formed, else a new one."""
    return request_id(given.get(b"x-request-id"), b"") or b"req-" + os.urandom(12).hex().encode()


@dataclass(frozen=True, slots=True)
class Lines:
    """A body of unknown length; its first part is there already."""

    parts: AsyncIterator[bytes]


class Pages:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._pages: dict[str, Callable[[], Reply]] = {
            "/healthz": lambda: _json({"status": "ok"}),
            "/readyz": self._ready,
            "/metrics": self._metrics,
            MODELS: lambda: _json({}),  # depends on the key
            "/v1/openapi.json": lambda: _json(document(service.config)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientGoneError):
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        given: dict[bytes, bytes] = dict(scope["headers"])
        origins, console = self._service.origins, self._service.console
        if console is not None and console.serves(scope["path"]):
            await console.answer(scope, receive, send, _identity(given))
            return
        if scope["method"] == "OPTIONS" and (allowed := origins.preflight(given.get(b"origin"))) is not None:
            await send({"type": "http.response.start", "status": 204, "headers": [*allowed]})
            await send({"type": "http.response.body", "body": b""})
            return
        identity = _identity(given)
        body: bytes | Stream | Lines
        headers: Headers
        try:
            if scope["path"] == report.PATH:
                status, kind, body, headers = await self._usage(scope, given.get(b"authorization"))
            elif scope["path"].startswith(admin.PREFIX) or scope["path"] == DEBUG:
                status, kind, body, headers = await self._admin(scope, given, identity, receive)
            elif scope["path"] == FEEDBACK and self._service.feedback is not None:
                status, kind, body, headers = await self._feedback(self._service.feedback, scope, given, receive)
            elif self._service.jobs is not None and self._service.jobs.serves(scope["path"]):
                status, kind, body, headers = await self._jobs(self._service.jobs, scope, given, receive)
            elif self._service.retrieval is not None and self._service.retrieval.serves(scope["path"]):
                await self._retrieval(self._service.retrieval, scope, given, identity, receive, send)
                return
            else:
                await self._ask_issuer(given.get(b"authorization"))
                status, kind, body, headers = self._reply(scope["method"], scope["path"], given.get(b"authorization"))
        except Refused as refused:
            problem = refused.problem
            status, kind, body, headers = problem.status, JSON, problem.body(), problem.headers
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", kind),
                    *(() if isinstance(body, Lines) else ((b"content-length", str(len(body)).encode()),)),
                    (b"x-request-id", identity),
                    (b"x-penstock-colour", self._service.config.colour.encode()),
                    *headers,
                    *origins.reply_headers(given.get(b"origin")),
                ],
            }
        )
        if isinstance(body, bytes):
            await send({"type": "http.response.body", "body": body})
            return
        async for part in body.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _feedback(
        self, feedback: Feedback, scope: Scope, given: dict[bytes, bytes], receive: Receive
    ) -> StreamReply:
        authorization = given.get(b"authorization")
        await self._ask_issuer(authorization)
        grant = self._service.keys.authenticate(authorization, last=True)
        body = await whole(receive, MOST_FEEDBACK_BYTES)
        status, content = await feedback.take(grant, scope["method"], body)
        return _json(content, status, ((b"cache-control", b"no-store"),))

    async def _retrieval(
        self,
        retrieval: RetrievalApi,
        scope: Scope,
        given: dict[bytes, bytes],
        identity: bytes,
        receive: Receive,
        send: Send,
    ) -> None:
        authorization = given.get(b"authorization", b"")
        await self._ask_issuer(authorization)
        grant = self._service.keys.authenticate(authorization, last=True)
        more = [
            (b"x-request-id", identity),
            (b"x-penstock-colour", self._service.config.colour.encode()),
            *self._service.origins.reply_headers(given.get(b"origin")),
        ]
        await retrieval.serve(grant, authorization, scope, receive, send, more)

    async def _jobs(self, jobs: JobsApi, scope: Scope, given: dict[bytes, bytes], receive: Receive) -> StreamReply:
        from app.jobs.call import Call, read_query

        authorization = given.get(b"authorization")
        await self._ask_issuer(authorization)
        grant = self._service.keys.authenticate(authorization, last=True)
        call = Call(grant, scope["method"], scope["path"], read_query(scope["query_string"]), given, receive)
        return *await jobs.answer(call), ((b"cache-control", b"no-store"),)

    def _reply(self, method: str, path: str, authorization: bytes | None) -> Reply:
        page = self._pages.get(path)
        is_model = path.startswith(MODEL_PREFIX) and len(path) > len(MODEL_PREFIX)
        if page is None and not is_model:
            if path.encode() in ROUTES:
                raise Refused(wrong_method(method, path, "POST"))
            raise Refused(unknown_url(method, path))
        if method not in ("GET", "HEAD"):
            raise Refused(wrong_method(method, path, READ_METHODS))
        if path.startswith("/v1/"):
            grant = self._service.keys.authenticate(authorization, last=True)
            if path == MODELS:
                return self._models(grant)
            if is_model:
                return self._model(unquote(path.removeprefix(MODEL_PREFIX)), grant)
        assert page is not None  # noqa: S101 - looked at above
        return page()

    async def _ask_issuer(self, authorization: bytes | None) -> None:
        """Waits for the issuer's keys where a token's is not among those known."""
        keys = self._service.keys
        if keys.tokens is None:
            return
        try:
            keys.authenticate(authorization)
        except UnknownSignerError:
            asked = asyncio.Event()
            keys.tokens.when_refreshed(asked.set)
            await asked.wait()
        except Refused:
            return  # it is told later, where a page needs a key at all

    async def _admin(self, scope: Scope, given: dict[bytes, bytes], identity: bytes, receive: Receive) -> LinesReply:
        service, method, path = self._service, scope["method"], scope["path"]
        actor = admin.require_admin(service, given.get(b"authorization"), method, path)
        if path == DEBUG:
            if method not in ("GET", "HEAD"):
                raise Refused(wrong_method(method, path, READ_METHODS))
            return _json(snapshot(service))
        if path == PIPELINES:
            if method != "GET":
                raise Refused(wrong_method(method, path, "GET"))
            shown = [] if service.pipelines is None else service.pipelines.shown()
            return _json({"object": "list", "data": shown}, 200, ((b"cache-control", b"no-store"),))
        if service.admin is None:
            raise Refused(admin.NO_DATABASE)
        idempotency = given.get(b"idempotency-key")
        call = admin.Call(
            actor=actor,
            request_id=identity.decode("ascii"),
            method=method,
            path=path,
            query=scope["query_string"].decode("latin-1"),
            body=await whole(receive, admin.MOST_BODY_BYTES),
            idempotency_key=None if idempotency is None else idempotency.decode("latin-1"),
        )
        tenant = is_export(path)
        if tenant is not None and method == "GET":
            lines = service.admin.export(call, tenant)
            first = await anext(lines)  # its refusals come before the answer begins
            self._log_admin(call, 200)
            return 200, b"application/jsonl", Lines(_after(first, lines)), ((b"cache-control", b"no-store"),)
        try:
            status, content = await service.admin.answer(call)
        except Refused as refused:
            self._log_admin(call, refused.problem.status)
            raise
        self._log_admin(call, status)
        return _json(content, status, ((b"cache-control", b"no-store"),))

    async def _usage(self, scope: Scope, authorization: bytes | None) -> Reply:
        service, method = self._service, scope["method"]
        admin.require_admin(service, authorization, method, report.PATH)
        if method != "GET":
            raise Refused(wrong_method(method, report.PATH, "GET"))
        if service.ledger is None:
            raise Refused(report.NO_LEDGER)
        return _json(await service.ledger.reports.answer(scope["query_string"].decode("latin-1")))

    def _log_admin(self, call: admin.Call, status: int) -> None:
        self._service.log.event(
            "admin",
            actor=call.actor,
            method=call.method,
            path=call.path[:200],
            status=status,
            request_id=call.request_id,
        )

    def _ready(self) -> Reply:
        service = self._service
        engines = {
            name: {"ready": target.pool.ready, "known": len(target.pool.engines)}
            for name, target in service.targets.items()
        }
        waiting, follower, tokens = service.not_ready(), service.key_follower, service.keys.tokens
        status = "draining" if service.draining else "waiting for engines" if waiting else "ready"
        # A gateway that knows no key of the database would refuse good ones; it waits for them, but not for ever.
        if status == "ready" and not service.keys.loaded and time.time() - service.started_at < KEYS_SECONDS:
            status = "waiting for keys"
        content: dict[str, Any] = {"status": status, "models": engines}
        if follower is not None:
            content["keys"] = follower.state()
        if tokens is not None:
            content["tokens"] = tokens.state()
        return _json(content, 200) if status == "ready" else _json(content, 503, retry_after())

    def _metrics(self) -> Reply:
        return 200, b"text/plain; version=0.0.4; charset=utf-8", self._service.metrics.text(), ()

    def _models(self, grant: Grant) -> Reply:
        """Those that the key may ask for."""
        data = [self._describe(name, route) for name, route in grant.visible(self._service.routes).items()]
        return _json({"object": "list", "data": data})

    def _model(self, name: str, grant: Grant) -> Reply:
        route = grant.visible(self._service.routes).get(name)
        if route is None:
            raise Refused(unknown_model(name))
        return _json(self._describe(name, route))

    def _describe(self, name: str, route: ModelRoute) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._service.started_at,
            "owned_by": "penstock",
            "root": route.name,
            "max_model_len": route.context_tokens,
            "max_output_tokens": route.max_output_tokens,
        }


async def _after(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """The whole again. The connection to the database ends with it, also where the client left."""
    try:
        yield first
        async for part in rest:
            yield part
    finally:
        await rest.aclose()
