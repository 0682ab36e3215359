"""Error replies in OpenAI's shape, and what an engine's own error replies become.

The shape: `{"error": {"message": str, "type": str, "param": str | null, "code": str | null}}`. Its source is OpenAI's
API reference; clients decide by HTTP status and `code`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

RETRY_AFTER_SECONDS = 2
"""Sent with each 503, and where no engine could be reached: about the time that a pod takes to become ready again after
a short failure."""
NO_RETRY = (b"x-should-retry", b"false")
"""What OpenAI's clients heed: to send the same request again is of no use."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request gets no answer. `type` follows from the status unless given."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __post_init__(self) -> None:
        """Whoever is told to come back is told when; NO_RETRY says that waiting does not help."""
        if self.status in (429, 503) and not any(name in (b"retry-after", NO_RETRY[0]) for name, _ in self.headers):
            object.__setattr__(self, "headers", (*self.headers, *retry_after()))

    def body(self) -> bytes:
        return msgspec.json.encode({"error": self.as_dict()})

    def as_dict(self) -> dict[str, Any]:
        return {
            "message": self.message,
            "type": self.type or _type(self.status),
            "param": self.param,
            "code": self.code,
        }


class Refused(Exception):  # noqa: N818 - it carries a refusal, which is a normal outcome and no error of the program
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _type(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"


def retry_after(seconds: int = RETRY_AFTER_SECONDS) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"retry-after", str(seconds).encode()),)


MISSING_KEY = Problem(
    401,
    "You didn't provide an API key. Send it in the header `Authorization: Bearer YOUR_KEY`.",
    "invalid_api_key",
    headers=((b"www-authenticate", b"Bearer"),),
)
WRONG_KEY = Problem(
    401,
    "Incorrect API key provided. Check the key, or ask the operator of this gateway for one.",
    "invalid_api_key",
    headers=((b"www-authenticate", b'Bearer error="invalid_token"'),),
)


def unknown_model(name: str) -> Problem:
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    return Problem(
        404, f"The model `{shown}` does not exist or you do not have access to it.", "model_not_found", "model"
    )


def unknown_url(method: str, path: str) -> Problem:
    return Problem(404, f"Unknown request URL: {method} {path[:200]}.", "unknown_url")


def wrong_method(method: str, path: str, allowed: str) -> Problem:
    return Problem(
        405,
        f"{method[:20]} is not allowed on {path}; use {allowed}.",
        "method_not_allowed",
        headers=((b"allow", allowed.encode()),),
    )


def too_large(limit: int) -> Problem:
    return Problem(413, f"The request body is larger than the limit of {limit} bytes.", "request_too_large")


def no_engine(model: str) -> Problem:
    message = f"No engine of the model `{model}` is ready. Try again in {RETRY_AFTER_SECONDS} s."
    return Problem(503, message, "no_engine", headers=retry_after())


def overloaded(model: str) -> Problem:
    message = f"All engines of the model `{model}` are busy. Try again in {RETRY_AFTER_SECONDS} s."
    return Problem(503, message, "overloaded", headers=retry_after())


def too_many(limit: int) -> Problem:
    message = f"This gateway has {limit} requests under way, its limit. Try again in {RETRY_AFTER_SECONDS} s."
    return Problem(503, message, "too_many_requests_under_way", headers=retry_after())


def unreachable(model: str) -> Problem:
    """Engines that leave refuse before anybody is told that they do; others are about to come."""
    message = f"No engine of the model `{model}` could be reached."
    return Problem(502, message, "engine_unreachable", headers=retry_after())


def engine_failed(model: str) -> Problem:
    message = f"The engine of the model `{model}` failed before it answered."
    return Problem(502, message, "engine_failed", headers=retry_after())


def interrupted(model: str) -> Problem:
    return Problem(502, f"The engine of the model `{model}` ended its answer early.", "upstream_interrupted")


def timed_out(what: str) -> Problem:
    return Problem(504, f"Time-out: {what}. The request may be sent again.", "timeout")


def interruption_event(
    message: str,
    code: str = "upstream_interrupted",
    *,
    retryable: bool = True,
    prompt_tokens: int | None = None,
    completion_tokens: int = 0,
) -> bytes:
    """The SSE event that ends a stream which cannot go on, so that nobody takes part of an answer for the whole.

    It bears the usage so far; the prompt's part is null where the engine has not told it.
    """
    error = {"message": message, "type": "upstream_interrupted", "param": None, "code": code, "retryable": retryable}
    total = None if prompt_tokens is None else prompt_tokens + completion_tokens
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": total, "completion_tokens": completion_tokens}
    return b"data: %b\n\n" % msgspec.json.encode({"error": error, "usage": usage})


# -- engines' errors --

_ADDRESS = re.compile(
    r"(?:https?://)?(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?|\[[0-9a-fA-F:]{3,}\](?::\d+)?|https?://[^\s'\"]+"
)
_VALIDATION = re.compile(r"'loc': '(?:body\.)?([^']*)', 'msg': '([^']*)'")
_ALIASES = re.compile(r"\s*Valid aliases:.*", re.DOTALL)

DRAIN_MESSAGE = "cannot schedule new futures after shutdown"
"""What vLLM 0.32 answers with status 500 to a new request while it finishes its old ones after SIGTERM."""


@dataclass(frozen=True, slots=True)
class EngineError:
    """An engine's error reply, whatever its shape: `{"error": {...}}`, `{"error": "text"}`, `{"detail": ...}`, text."""

    status: int
    message: str
    param: str | None = None

    @property
    def draining(self) -> bool:
        return self.status == 500 and DRAIN_MESSAGE in self.message


def parse_engine_error(status: int, body: bytes) -> EngineError:
    """Reads an error reply. Never raises: what cannot be read becomes an empty message."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return EngineError(status, "")
    if not isinstance(content, dict):
        return EngineError(status, "")
    error = content.get("error", content.get("detail", content))
    if isinstance(error, dict):
        message, param = error.get("message"), error.get("param")
        code = error.get("code")
        if status == 200 and isinstance(code, int) and 400 <= code <= 599:  # inside a stream
            status = code
        return EngineError(
            status, message if isinstance(message, str) else "", param if isinstance(param, str) else None
        )
    return EngineError(status, error if isinstance(error, str) else "")


def clean(message: str) -> str:
    """An engine's message for a client: validation lists become sentences, engine addresses and model aliases go."""
    found = _VALIDATION.findall(message)
    if found:
        message = "; ".join(f"{where}: {what}" if where else what for where, what in found)
    return _ADDRESS.sub("the engine", _ALIASES.sub("", message)).strip()[:2000]


def normalise(error: EngineError, model: str) -> Problem:
    """What the client gets for an engine's error reply. Decides by status: vLLM's `type` is not uniform."""
    message, param = clean(error.message), (error.param or "").removeprefix("body.") or None
    if error.draining or error.status == 503 or error.status == 429:
        return overloaded(model)
    if error.status == 504:
        return timed_out("the engine did not answer in time")
    if error.status in (401, 403) or 300 <= error.status < 400:
        return Problem(502, f"The engine of the model `{model}` refused the gateway.", "engine_refused")
    if error.status >= 500:
        return Problem(502 if error.status != 500 else 500, "The engine failed on this request.", "engine_failed")
    if error.status == 404:
        if error.param == "model":
            return unknown_model(model)
        return Problem(404, f"The model `{model}` does not support this route.", "unsupported_route")
    code = "context_length_exceeded" if "max_model_len" in message or "context length" in message else None
    if message.startswith("JSON decode error") or "JSON decode error" in message:
        code, param = "invalid_json", None
    return Problem(error.status, message or "The engine refused this request.", code, param)
