"""The routes beside the hot path, as a plain ASGI application: models, health, readiness, metrics, and the 404s."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import msgspec

from app.gateway.admit import ROUTES, Refused, request_id
from app.gateway.config import ModelRoute
from app.gateway.errors import retry_after, unknown_model, unknown_url, wrong_method
from app.gateway.openapi import document
from app.gateway.service import Service

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Reply = tuple[int, bytes, bytes, tuple[tuple[bytes, bytes], ...]]

JSON = b"application/json"
MODEL_PREFIX = "/v1/models/"
READ_METHODS = "GET, HEAD"


def _json(content: object, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    return status, JSON, msgspec.json.encode(content), headers


class Pages:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._pages: dict[str, Callable[[], Reply]] = {
            "/healthz": lambda: _json({"status": "ok"}),
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/v1/models": self._models,
            "/v1/openapi.json": lambda: _json(document(service.config)),
        }

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        given: dict[bytes, bytes] = dict(scope["headers"])
        origins = self._service.origins
        if scope["method"] == "OPTIONS" and (allowed := origins.preflight(given.get(b"origin"))) is not None:
            await send({"type": "http.response.start", "status": 204, "headers": [*allowed]})
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            status, kind, body, headers = self._reply(scope["method"], scope["path"], given.get(b"authorization"))
        except Refused as refused:
            problem = refused.problem
            status, kind, body, headers = problem.status, JSON, problem.body(), problem.headers
        identity = request_id(given.get(b"x-request-id"), b"") or b"req-" + os.urandom(12).hex().encode()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", kind),
                    (b"content-length", str(len(body)).encode()),
                    (b"x-request-id", identity),
                    (b"x-penstock-colour", self._service.config.colour.encode()),
                    *headers,
                    *origins.reply_headers(given.get(b"origin")),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

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
            self._service.keys.authenticate(authorization)
        return self._model(unquote(path.removeprefix(MODEL_PREFIX))) if page is None else page()

    def _ready(self) -> Reply:
        service = self._service
        engines = {
            name: {"ready": target.pool.ready, "known": len(target.pool.engines)}
            for name, target in service.targets.items()
        }
        waiting = service.not_ready()
        status = "draining" if service.draining else "waiting for engines" if waiting else "ready"
        content = {"status": status, "models": engines}
        return _json(content, 200) if status == "ready" else _json(content, 503, retry_after())

    def _metrics(self) -> Reply:
        return 200, b"text/plain; version=0.0.4; charset=utf-8", self._service.metrics.text(), ()

    def _models(self) -> Reply:
        data = [self._describe(name, route) for name, route in self._service.routes.items()]
        return _json({"object": "list", "data": data})

    def _model(self, name: str) -> Reply:
        route = self._service.routes.get(name)
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
