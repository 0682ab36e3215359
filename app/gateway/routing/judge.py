"""Whether an unstreamed answer is one: not empty, not cut, and in the JSON that was asked for. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.gateway.routing.features import Features

Fault = Literal["empty_output", "cut_output", "wrong_format"]


class _Call(msgspec.Struct):
    function: Any = None


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: list[_Call] | None = None
    function_call: Any = None
    refusal: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Reply).decode


def judge(route: str, body: bytes, features: Features) -> Fault | None:
    """The fault of a chat's or completion's reply; None for a good one, and for routes that make no text."""
    if route not in ("chat", "completions"):
        return None
    try:
        reply = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "wrong_format"
    if not reply.choices:
        return "empty_output"
    for choice in reply.choices:
        fault = _judge(choice, features)
        if fault is not None:
            return fault
    return None


def _judge(choice: _Choice, features: Features) -> Fault | None:
    message = choice.message
    content = choice.text if message is None else message.content
    if choice.finish_reason in (None, "", "abort", "error"):
        return "cut_output"
    if message is not None and (message.tool_calls or message.function_call):
        return None if all(map(_has_json, message.tool_calls or ())) else "wrong_format"
    if message is not None and (message.refusal or message.audio):
        return None
    if choice.finish_reason == "content_filter":  # an answer as well: another model is not a way around a filter
        return None
    if isinstance(content, str) and not content.strip() and features.asked_tokens != 0:
        return "empty_output"
    if content is None:
        return "empty_output"
    if features.json_format and choice.finish_reason != "length" and isinstance(content, str):
        return None if _is_asked(content, features) else "wrong_format"
    return None


def _has_json(call: _Call) -> bool:
    arguments = call.function.get("arguments") if isinstance(call.function, dict) else None
    if not isinstance(arguments, str) or not arguments:
        return True
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _is_asked(content: str, features: Features) -> bool:
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return False
    if features.json_format == "json_object" or features.required:
        return isinstance(value, dict) and all(name in value for name in features.required)
    return True
