"""The OpenAPI document of one gateway: its routes, the models that it serves, and the errors that it answers with.

Fields that only the engine reads are not listed: the gateway passes them on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.admit import ROUTES, Route
from app.gateway.config import GatewayConfig

JSON = "application/json"
ERRORS = {
    "400": "A field is missing, of the wrong type, or out of range; `param` names it.",
    "401": "No API key, or one that is unknown, expired, revoked or disabled; `code` says which.",
    "403": "The key may not use this model or route, or its tenant is disabled; the message says what is allowed.",
    "404": "No such model.",
    "413": "The body is larger than the gateway takes.",
    "429": "A limit is reached; `Retry-After` says when to come back.",
    "502": "The engine's answer broke off.",
    "503": "No engine is ready, or the gateway is full; `Retry-After` says when to come back.",
    "504": "A time-out; the message says which.",
}
_SUMMARIES: Mapping[Route, str] = {
    "chat": "Answer a conversation",
    "completions": "Continue a text",
    "responses": "Answer in the form of the Responses API, without storage",
    "embeddings": "Embed texts",
    "tokenize": "Split a text or a conversation into the model's tokens",
    "detokenize": "Join tokens to a text",
}
_TEXTS: dict[str, Any] = {"oneOf": [{"type": "string"}, {"type": "array", "items": {}}]}
_FIELDS: Mapping[Route, Mapping[str, Any]] = {
    "chat": {"messages": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
    "completions": {"prompt": _TEXTS},
    "responses": {"input": _TEXTS},
    "embeddings": {"input": _TEXTS},
    "tokenize": {},
    "detokenize": {"tokens": {"type": "array", "items": {"type": "integer"}}},
}
_OPTIONAL: Mapping[Route, Mapping[str, Any]] = {
    "tokenize": {"prompt": {"type": "string"}, "messages": {"type": "array", "items": {"type": "object"}}},
}
_CEILINGS: Mapping[Route, tuple[str, ...]] = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}


def document(config: GatewayConfig) -> dict[str, Any]:
    """OpenAPI 3.1. The same for every client: it holds no key and no tenant."""
    paths: dict[str, Any] = {path.decode(): {"post": _operation(route, config)} for path, route in ROUTES.items()}
    paths["/v1/models"] = {"get": _page("listModels", "List the models")}
    paths["/v1/models/{model}"] = {
        "get": _page("getModel", "Describe a model")
        | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock gateway",
            "version": "v1",
            "description": "OpenAI's API before your own engines. Errors have OpenAI's shape.",
        },
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
            "responses": {
                status: {"description": text, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
                for status, text in ERRORS.items()
            },
        },
    }


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def _operation(route: Route, config: GatewayConfig) -> dict[str, Any]:
    needed = {"model": {"type": "string", "enum": _names(config)}, **_FIELDS[route]}
    most = max(model.max_output_tokens for model in config.models)
    ceilings = {name: {"type": "integer", "minimum": 0, "maximum": most} for name in _CEILINGS.get(route, ())}
    streams = {"stream": {"type": "boolean", "default": False}} if route in _CEILINGS else {}
    schema = {
        "type": "object",
        "required": list(needed),
        "properties": {**needed, **_OPTIONAL.get(route, {}), **ceilings, **streams},
        "additionalProperties": True,
    }
    content: dict[str, Any] = {JSON: {"schema": {"type": "object"}}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "operationId": route,
        "summary": _SUMMARIES[route],
        "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
        "responses": {"200": {"description": "The engine's answer", "content": content}, **_errors()},
    }


def _page(operation: str, summary: str) -> dict[str, Any]:
    content = {JSON: {"schema": {"type": "object"}}}
    return {"operationId": operation, "summary": summary, "responses": {"200": {"description": "", "content": content}}}


def _errors() -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in ERRORS}


def _names(config: GatewayConfig) -> list[str]:
    return [name for model in config.models for name in (model.name, *model.aliases)]
