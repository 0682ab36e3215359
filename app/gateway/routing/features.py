"""What routing reads of a request: a few numbers and the last user message, bounded, without I/O. Never raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from app.gateway.account import BYTES_A_TOKEN, guess_input_tokens

MOST_TEXT = 4096
"""Characters of the last user message that rules look at."""
MOST_PARTS = 64
ANY_CONTEXT = 1 << 40


@dataclass(frozen=True, slots=True)
class Features:
    """`prompt_tokens` is guessed by size; `asked_tokens` is the request's own ceiling of output for one choice."""

    text: str = ""
    """The last user message, its first and last halves where it is longer than MOST_TEXT."""
    length: int = 0
    """Characters of that message."""
    turns: int = 0
    tools: int = 0
    prompt_tokens: int = 0
    asked_tokens: int | None = None
    choices: int = 1
    json_format: str = ""
    """`json_object` or `json_schema` where the answer must be JSON."""
    required: tuple[str, ...] = ()
    """Properties that the asked schema requires."""


class _Message(msgspec.Struct, gc=False):
    role: Any = None
    content: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    messages: list[_Message] | None = None
    input: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    tools: list[msgspec.Raw] | None = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    best_of: Any = None
    response_format: Any = None
    text: Any = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode


def read_features(body: bytes) -> Features:
    """The features of a body that was admitted. What has an unknown shape counts as absent."""
    # Images and sound are left out of the count, which takes an expression over the whole body: only where they are.
    tokens = guess_input_tokens(body, ANY_CONTEXT) if b"base64," in body else len(body) // BYTES_A_TOKEN
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Features(prompt_tokens=tokens)
    messages = fields.messages
    text = ""
    if messages is None and bytes(fields.input)[:1] == b"[":
        try:
            messages = _decode_messages(fields.input)
        except (msgspec.DecodeError, RecursionError):
            messages = None
    if messages:
        users = [message for message in messages if message.role == "user"]
        text = _text(users[-1].content) if users else ""
        turns = len(messages)
    else:
        text = _text(fields.input) or _text(fields.prompt)
        turns = 1
    kind, required = _format(fields)
    half = MOST_TEXT // 2
    return Features(
        text=text if len(text) <= MOST_TEXT else text[:half] + text[-half:],
        length=len(text),
        turns=turns,
        tools=len(fields.tools or ()),
        prompt_tokens=tokens,
        asked_tokens=_asked(fields),
        choices=max(_integer(fields.n) or 1, _integer(fields.best_of) or 1),
        json_format=kind,
        required=required,
    )


def _text(raw: msgspec.Raw) -> str:
    if not bytes(raw):
        return ""
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content[-MOST_PARTS:] if isinstance(part, dict)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _integer(value: Any) -> int | None:
    """Of a value that validation let through, which may be 5, 5.0 or "5"."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        return None


def _asked(fields: _Body) -> int | None:
    values = (fields.max_tokens, fields.max_completion_tokens, fields.max_output_tokens)
    given = [number for number in map(_integer, values) if number is not None]
    return max(given) if given else None


def _format(fields: _Body) -> tuple[str, tuple[str, ...]]:
    asked = fields.response_format
    if asked is None and isinstance(fields.text, dict):
        asked = fields.text.get("format")
    if not isinstance(asked, dict) or asked.get("type") not in ("json_object", "json_schema"):
        return "", ()
    inner = asked.get("json_schema", asked)
    schema = inner.get("schema") if isinstance(inner, dict) else None
    required = schema.get("required") if isinstance(schema, dict) else None
    names = tuple(name for name in required if isinstance(name, str)) if isinstance(required, list) else ()
    return asked["type"], names
