"""What is a request: validation, without I/O.

A body is read once, into a struct whose large fields stay raw bytes, and is never written again: what the client
sent is what the engine gets. A rule here protects the platform (size, ceilings, routing) or gives a clearer error than
the engine's; nothing that vLLM accepts is refused otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from app.gateway.config import ModelRoute, Route
from app.gateway.errors import Problem, Refused, unknown_model

ROUTES: Mapping[bytes, Route] = {
    b"/v1/chat/completions": "chat",
    b"/v1/completions": "completions",
    b"/v1/responses": "responses",
    b"/v1/embeddings": "embeddings",
    b"/v1/tokenize": "tokenize",
    b"/v1/detokenize": "detokenize",
}
GENERATING = frozenset({"chat", "completions", "responses"})
"""Routes that make tokens: they may stream, and have a ceiling."""
RESUMABLE = frozenset({"chat", "completions"})
"""Routes whose streams can go on at another engine: vLLM continues text, not the typed events of a response."""

COMPLETION_TOKENS = 16
"""vLLM's and OpenAI's `max_tokens` of /v1/completions where the request names none."""
MOST_PREFIX_BYTES = 64 * 1024
"""Of a prompt, by which a model's engines may be chosen."""
MAX_CHOICES = 128
"""Bound of `n` and `best_of`: OpenAI's own."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off", ""})

Scalar = bool | int | float | str | None


def request_id(header: bytes | None, fresh: bytes) -> bytes:
    """The client's id where it is well formed (it lands in logs and headers), else the fresh one."""
    return header if header is not None and _REQUEST_ID.fullmatch(header) else fresh


_ABSENT = msgspec.Raw()


class _Body(msgspec.Struct):
    model: Scalar = None
    messages: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT
    prompt_embeds: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    stream: Scalar = None
    stream_options: msgspec.Raw = _ABSENT
    max_tokens: Scalar = None
    max_completion_tokens: Scalar = None
    max_output_tokens: Scalar = None
    n: Scalar = None
    best_of: Scalar = None
    tokens: msgspec.Raw = _ABSENT
    background: Scalar = None
    previous_response_id: Scalar = None


class _StreamOptions(msgspec.Struct):
    include_usage: Scalar = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_options = msgspec.json.Decoder(_StreamOptions | None).decode


@dataclass(slots=True)
class Admitted:
    """A valid request. `add_usage` says that a stream was asked for without its usage, which the gateway needs.

    `output_tokens` is the most that all its answers together may have. `add_limit` names the field by which the model's
    ceiling is given to an engine, where the request names none and the engine's own bound is higher; else it is empty.
    """

    model: str
    stream: bool
    add_usage: bool
    stream_options: bytes | None
    output_tokens: int = 0
    add_limit: bytes = b""
    prefix: bytes = b""
    """The prompt's beginning, where the model's engines are chosen by it."""
    ceiling: int = 0
    """The most output tokens of one answer, of this model to this key."""


class Models(Protocol):
    """The models that one client may ask for, by each of their names."""

    def get(self, name: str, /) -> ModelRoute | None:
        """None for an unknown one. May raise Refused for one that this client may not have."""


def admit(route: Route, body: bytes, models: Models) -> Admitted:
    """Validates a body. Raises Refused (400, 403 or 404)."""
    try:
        fields = _decode(body)
    except msgspec.ValidationError as error:
        raise Refused(_wrong_type(str(error))) from None
    except RecursionError:
        raise Refused(Problem(400, "The request body is nested too deeply.", "invalid_json")) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(Problem(400, f"The request body is not valid JSON: {error}.", "invalid_json")) from None
    model = fields.model
    if model is None:
        raise Refused(_missing("model"))
    if not isinstance(model, str):
        raise Refused(_wrong("model", "a string"))
    target = models.get(model)
    if target is None:
        raise Refused(unknown_model(model))
    _require_input(route, fields)
    stream, output, add_limit = False, 0, b""
    if route in GENERATING:
        stream = _boolean("stream", fields.stream)
        output, add_limit = _ceilings(route, fields, target)
    if route == "responses":
        _stateless(fields)
    options = bytes(fields.stream_options) or None
    add_usage = stream and route in RESUMABLE and not _asks_usage(options)
    prefix = _prefix(fields, MOST_PREFIX_BYTES) if target.balance.policy == "prefix" else b""
    return Admitted(model, stream, add_usage, options, output, add_limit, prefix, target.max_output_tokens)


def _prefix(fields: _Body, size: int) -> bytes:
    """The first bytes of what the model is given, as they were sent."""
    for raw in (fields.messages, fields.prompt, fields.input):
        if head := bytes(memoryview(raw)[:size]):
            return head
    return b""


def _require_input(route: Route, fields: _Body) -> None:
    if route == "chat":
        head = _head(fields.messages)
        if head is None:
            raise Refused(_missing("messages"))
        if head[:1] != b"[":
            raise Refused(_wrong("messages", "a list"))
        if head[1:].lstrip()[:1] == b"]":
            raise Refused(Problem(400, "`messages` is empty; give at least one message.", "empty_array", "messages"))
    elif route == "completions":
        if _head(fields.prompt) is None and _head(fields.prompt_embeds) is None:
            raise Refused(_missing("prompt"))
    elif route == "tokenize":
        if _head(fields.prompt) is None and _head(fields.messages) is None:
            raise Refused(_missing("prompt"))
    elif route == "detokenize":
        if _head(fields.tokens) is None:
            raise Refused(_missing("tokens"))
    elif _head(fields.input) is None and (route == "responses" or _head(fields.messages) is None):
        raise Refused(_missing("input"))


def _stateless(fields: _Body) -> None:
    """An engine keeps responses in its own memory, if at all: what another engine cannot see is not promised."""
    if fields.previous_response_id is not None:
        message = "`previous_response_id` is not supported: responses are not stored. Send the conversation as `input`."
        raise Refused(Problem(400, message, "unsupported_parameter", "previous_response_id"))
    if _boolean("background", fields.background):
        message = "`background` is not supported: responses are not stored. Stream the response instead."
        raise Refused(Problem(400, message, "unsupported_parameter", "background"))


def _head(raw: msgspec.Raw) -> bytes | None:
    """The beginning of a raw value; None where it is absent or null."""
    head = bytes(memoryview(raw)[:64]).strip()
    return None if head in (b"", b"null") else head


def _ceilings(route: Route, fields: _Body, target: ModelRoute) -> tuple[int, bytes]:
    """The most output tokens of a request, and the field that is to hold it to that; see Admitted."""
    if (
        type(fields.max_tokens) is int
        and 1 <= fields.max_tokens <= target.max_output_tokens
        and fields.n is fields.best_of is fields.max_completion_tokens is None
        and route != "responses"
    ):  # nearly all that name a ceiling
        return fields.max_tokens, b""
    # A completion with echo may ask for no token at all: vLLM then returns the prompt's log-probabilities.
    least = 0 if route == "completions" else 1
    asked = (
        (("max_output_tokens", fields.max_output_tokens),)
        if route == "responses"
        else (("max_tokens", fields.max_tokens), ("max_completion_tokens", fields.max_completion_tokens))
    )
    for name, value in asked:
        _integer(name, value, least, target.max_output_tokens)
    _integer("n", fields.n, 1, MAX_CHOICES)
    _integer("best_of", fields.best_of, 1, MAX_CHOICES)
    choices = max(_number(fields.n, 1), _number(fields.best_of, 1))
    given = [_number(value, 0) for _, value in asked if value is not None]
    if given:
        return max(given) * choices, b""
    if route == "completions" and target.max_output_tokens >= COMPLETION_TOKENS:
        return COMPLETION_TOKENS * choices, b""
    if target.max_output_tokens >= target.context_tokens:
        return target.context_tokens * choices, b""
    return target.max_output_tokens * choices, b"max_output_tokens" if route == "responses" else b"max_tokens"


def _number(value: Scalar, absent: int) -> int:
    """Of a value that `_integer` let through."""
    return absent if value is None else int(value)


def _integer(name: str, value: Scalar, least: int, most: int) -> None:
    """Accepts what pydantic's lax mode, and so vLLM, accepts: 5, 5.0 and "5"."""
    if value is None or (type(value) is int and least <= value <= most):
        return
    number: float | None = None
    if isinstance(value, int | float):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        number = int(value)
    if number is None or number != number // 1:
        raise Refused(_wrong(name, f"an integer from {least} to {most}"))
    if not least <= number <= most:
        message = f"`{name}` is {number:.0f}; allowed are {least} to {most}."
        raise Refused(Problem(400, message, "integer_out_of_range", name))


def _boolean(name: str, value: Scalar) -> bool:
    """Accepts what pydantic's lax mode, and so vLLM, accepts."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        if value.lower() in _TRUE:
            return True
        if value and value.lower() in _FALSE:
            return False
    elif value in (0, 1):
        return bool(value)
    raise Refused(_wrong(name, "true or false"))


def _asks_usage(options: bytes | None) -> bool:
    if options is None:
        return False
    try:
        found = _decode_options(options)
    except (msgspec.DecodeError, RecursionError):
        raise Refused(_wrong("stream_options", "an object with the boolean `include_usage`")) from None
    return found is not None and _boolean("stream_options.include_usage", found.include_usage)


def _missing(name: str) -> Problem:
    return Problem(400, f"Missing required parameter: `{name}`.", "missing_required_parameter", name)


def _wrong(name: str, allowed: str) -> Problem:
    return Problem(400, f"Invalid value for `{name}`: it must be {allowed}.", "invalid_type", name)


def _wrong_type(error: str) -> Problem:
    """From msgspec's sentence, such as "Expected `str`, got `array` - at `$.model`"."""
    found = re.search(r"`\$\.([A-Za-z_]+)", error)
    if found is None:
        return Problem(400, "The request body must be a JSON object.", "invalid_json")
    allowed = {
        "model": "a string",
        "previous_response_id": "a string",
        "stream": "true or false",
        "background": "true or false",
    }.get(found[1], "an integer")
    return _wrong(found[1], allowed)
