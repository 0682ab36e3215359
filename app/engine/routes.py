"""Which path does what. Routes of features that the simulator lacks answer as a vLLM without that feature."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping

from app.engine import replies
from app.engine.metrics import CONTENT_TYPE
from app.engine.pooling import embed
from app.engine.protocol import Request
from app.engine.replies import ApiError, Json, dump, invalid
from app.engine.requests import (
    Plan,
    Served,
    anthropic_messages,
    chat_batch_plan,
    chat_plan,
    chat_prompt,
    check_model,
    completion_plan,
    decode_body,
    messages_plan,
    plain_prompts,
    responses_plan,
)  # fmt: skip
from app.engine.server import EngineServer

Handler = Callable[[EngineServer, Request], None]

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
"""Paths that need the API key, where there is one."""

DISABLED = re.compile(r"/v1/.*/(render|derender)|/inference/v1/(generate|abort_requests)")
"""Routes that --enable-scale-out opens."""


def dispatch(server: EngineServer, request: Request) -> None:
    """Answers a request. Raises ApiError."""
    keys = server.flags.api_key
    if keys and request.path.startswith(GUARDED) and request.method != "OPTIONS" and not _authorised(request, keys):
        # The check stands before all else in vLLM too, which is why its body is not the usual error object.
        request.send(401, b'{"error":"Unauthorized"}', vary=False)
        return
    methods = routes_of(server.flags.runner).get(request.path)
    request.route = request.path
    if methods is None and (match := re.fullmatch(r"/v1/responses/([^/]+)(/cancel)?", request.path)):
        request.route = f"/v1/responses/{{response_id}}{match[2] or ''}"
        methods = {"POST" if match[2] else "GET": _unknown_response}
    if methods is None and DISABLED.fullmatch(request.path):
        if not server.flags.enable_scale_out:
            raise replies.not_enabled(request.path)
        raise ApiError(501, "The simulated engine does not render prompts.", "NotImplementedError")
    if methods is None:
        request.route = "none"
        request.send(404, b'{"detail":"Not Found"}')
        return
    handler = methods.get(request.method)
    if handler is None:
        allowed = ", ".join(methods).encode()
        request.send(405, b'{"detail":"Method Not Allowed"}', extra=b"allow: %b\r\n" % allowed)
        return
    handler(server, request)


def _authorised(request: Request, keys: tuple[str, ...]) -> bool:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and any(hmac.compare_digest(given.encode(), key.encode()) for key in keys)


def _body(request: Request) -> Json:
    return decode_body(request.body, request.headers.get("content-type", ""))


def _send(server: EngineServer, request: Request, content: object) -> None:
    extra = b""
    if server.flags.enable_request_id_headers:
        extra = b"x-request-id: %b\r\n" % request.headers.get("x-request-id", server.new_id()).encode(
            "latin-1", "replace"
        )
    request.send(200, dump(content), extra=extra)


def _generation(kind: str, plan: Callable[[Served, Json], Plan]) -> Handler:
    def handle(server: EngineServer, request: Request) -> None:
        body = _body(request)
        check_model(server.served, body)
        if server.draining:  # vLLM fails here, in its renderer, before it looks at the parameters
            raise replies.draining()
        server.generate(request, kind, plan(server.served, body))

    return handle


def _embeddings(server: EngineServer, request: Request) -> None:
    body = _body(request)
    if server.draining:
        raise replies.draining()
    embed(server, request, body)


def _invocations(server: EngineServer, request: Request) -> None:
    """SageMaker's route: the body's keys say which one is meant."""
    body = _body(request)
    kind, plan = ("chat", chat_plan) if "messages" in body else ("completion", completion_plan)
    server.generate(request, kind, plan(server.served, body))


def _health(server: EngineServer, request: Request) -> None:
    request.send(200, b"", None)


def _load(server: EngineServer, request: Request) -> None:
    request.send(200, b'{"server_load":0}')


def _version(server: EngineServer, request: Request) -> None:
    request.send(200, dump({"version": replies.VERSION}))


def _models(server: EngineServer, request: Request) -> None:
    flags = server.flags
    ids = [server.new_id() for _ in range(len(flags.names) + len(flags.lora_modules))]
    card = replies.models(flags.names, flags.model, flags.lora_modules, server.now(), flags.max_model_len, ids)
    _send(server, request, card)


def _metrics(server: EngineServer, request: Request) -> None:
    server.observer.refresh()
    request.send(200, server.metrics.render().encode(), CONTENT_TYPE.encode())


def _tokenize(server: EngineServer, request: Request) -> None:
    body = _body(request)
    if server.draining:
        raise replies.draining()
    check_model(server.served, body)
    tokenizer = server.tokenizer
    if "messages" in body:
        continued = bool(body.get("continue_final_message"))
        tokens = chat_prompt(tokenizer, body["messages"], body.get("tools"), continued).tokens
    elif isinstance(body.get("prompt"), str):
        tokens = plain_prompts(tokenizer, body["prompt"])[0].tokens
    else:
        raise invalid("missing", "body.prompt", "Field required", body)
    strings = None
    if body.get("return_token_strs"):
        strings = [tokenizer.pieces[token].decode(errors="replace") for token in tokens]
    limit = server.flags.max_model_len
    _send(server, request, {"count": len(tokens), "max_model_len": limit, "tokens": tokens, "token_strs": strings})


def _detokenize(server: EngineServer, request: Request) -> None:
    body = _body(request)
    tokens = body.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise invalid("missing", "body.tokens", "Field required", body)
    try:
        _send(server, request, {"prompt": server.tokenizer.decode(tokens)})
    except ValueError as error:
        raise ApiError(400, str(error), "BadRequestError", "tokens") from None


def _count_tokens(server: EngineServer, request: Request) -> None:
    body = _body(request)
    if "messages" not in body:
        raise invalid("missing", "body.messages", "Field required", body)
    check_model(server.served, body)
    count = len(chat_prompt(server.tokenizer, anthropic_messages(body), None, False).tokens)
    _send(server, request, {"input_tokens": count, "context_management": None})


def _unknown_response(server: EngineServer, request: Request) -> None:
    response_id = request.path.split("/")[3]
    raise ApiError(404, f"Response with id '{response_id}' not found.", "NotFoundError", "response_id")


def _not_supported(feature: str) -> Handler:
    def handle(server: EngineServer, request: Request) -> None:
        raise ApiError(400, f"The model does not support {feature} API", "BadRequestError")

    return handle


def _event_sources(server: EngineServer, request: Request) -> None:
    request.send(200, b"[]")


def _not_scaling(server: EngineServer, request: Request) -> None:
    request.send(200, b'{"is_scaling_elastic_ep":false}')


def _no_scaling(server: EngineServer, request: Request) -> None:
    request.send(400, b'{"detail":"new_data_parallel_size is required"}')


def _schema(server: EngineServer, request: Request) -> None:
    hidden = {"/openapi.json", "/docs"}
    paths = {
        path: {method.lower(): {"responses": {"200": {"description": "Successful Response"}}} for method in methods}
        for path, methods in {**routes_of(server.flags.runner), **_TEMPLATES}.items()
        if path not in hidden
    }
    request.send(200, dump({"openapi": "3.1.0", "info": {"title": "FastAPI", "version": "0.1.0"}, "paths": paths}))


def _docs(server: EngineServer, request: Request) -> None:
    page = b'<!DOCTYPE html><title>FastAPI</title><a href="/openapi.json">/openapi.json</a>'
    request.send(200, page, b"text/html; charset=utf-8")


_TEMPLATES: Mapping[str, Mapping[str, Handler]] = {
    "/v1/responses/{response_id}": {"GET": _unknown_response},
    "/v1/responses/{response_id}/cancel": {"POST": _unknown_response},
}

ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/health": {"GET": _health},
    "/ping": {"GET": _health, "POST": _health},
    "/load": {"GET": _load},
    "/version": {"GET": _version},
    "/metrics": {"GET": _metrics},
    "/openapi.json": {"GET": _schema},
    "/docs": {"GET": _docs},
    "/tokenize": {"POST": _tokenize},
    "/detokenize": {"POST": _detokenize},
    "/invocations": {"POST": _invocations},
    "/v1/models": {"GET": _models},
    "/v1/chat/completions": {"POST": _generation("chat", chat_plan)},
    "/v1/chat/completions/batch": {"POST": _generation("chat", chat_batch_plan)},
    "/v1/completions": {"POST": _generation("completion", completion_plan)},
    "/v1/responses": {"POST": _generation("responses", responses_plan)},
    "/v1/messages": {"POST": _generation("messages", messages_plan)},
    "/v1/messages/count_tokens": {"POST": _count_tokens},
    "/generative_scoring": {"POST": _not_supported("Generative Scoring")},
    "/v1/systemone": {"POST": _not_supported("System One")},
    "/kv_event_sources": {"GET": _event_sources},
    "/scale_elastic_ep": {"POST": _no_scaling},
    "/is_scaling_elastic_ep": {"POST": _not_scaling},
}
"""Path -> method -> what answers."""

_POOLING: Mapping[str, Mapping[str, Handler]] = {
    **{path: methods for path, methods in ROUTES.items() if path.count("/") == 1 and path != "/invocations"},
    "/v1/models": ROUTES["/v1/models"],
    "/v1/embeddings": {"POST": _embeddings},
}
"""Of a model that makes embeddings: what generates is not there at all."""


def routes_of(runner: str) -> Mapping[str, Mapping[str, Handler]]:
    return _POOLING if runner == "pooling" else ROUTES
