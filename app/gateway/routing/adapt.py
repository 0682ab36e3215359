"""The body of a request for a model other than the one that it names: spliced at its end, never written anew. Pure.

A later key overrides an earlier one of the same name in vLLM's JSON reader, as in those of rewrite.py.
"""

from __future__ import annotations

import msgspec

from app.gateway.admit import COMPLETION_TOKENS, GENERATING, Route
from app.gateway.config import ModelRoute
from app.gateway.rewrite import hold_output


def held(model: ModelRoute, most: int) -> ModelRoute:
    """The model with a client's own ceiling of output (0: none) where that is lower."""
    if not most or most >= model.max_output_tokens:
        return model
    return model.model_copy(update={"max_output_tokens": most})


def use_model(body: bytes, name: str) -> bytes:
    """Names another model."""
    return b'%b,"model":%b}' % (body.rstrip(b" \t\r\n")[:-1], msgspec.json.encode(name))


def limit_field(route: Route) -> bytes:
    return b"max_output_tokens" if route == "responses" else b"max_tokens"


def cap(route: Route, body: bytes, asked: int | None, model: ModelRoute) -> bytes:
    """Lowers what the request asks for to the model's own ceiling."""
    if route not in GENERATING or asked is None or asked <= model.max_output_tokens:
        return body
    body = hold_output(body, limit_field(route), model.max_output_tokens)
    # vLLM takes this field before the other where a request has both.
    return hold_output(body, b"max_completion_tokens", model.max_output_tokens) if route == "chat" else body


def ceiling(route: Route, asked: int | None, model: ModelRoute) -> tuple[int, bytes]:
    """The most output tokens of one choice, and the field by which an engine must be told so, as in `Admitted`."""
    if route not in GENERATING:
        return 0, b""
    if asked is not None:
        return min(asked, model.max_output_tokens), b""
    if route == "completions" and model.max_output_tokens >= COMPLETION_TOKENS:
        return COMPLETION_TOKENS, b""
    if model.max_output_tokens >= model.context_tokens:
        return model.context_tokens, b""
    return model.max_output_tokens, limit_field(route)


def body_for(route: Route, base: bytes, name: str, asked: int | None, model: ModelRoute) -> tuple[bytes, bytes]:
    """A request's body for another model, and the same without the ceiling that was added (empty where none was).

    `base` has no ceiling of the gateway; `name` is what it names.
    """
    if name not in (model.name, *model.aliases):
        base = use_model(base, model.name)
    base = cap(route, base, asked, model)
    tokens, field = ceiling(route, asked, model)
    return (hold_output(base, field, tokens), base) if field else (base, b"")
