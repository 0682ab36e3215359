"""An answer that no model made, in the shape that the client asked for: chat, completion, response, streamed or not."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec

TEXT_ROUTES = frozenset({"chat", "completions", "responses"})
JSON, EVENTS = b"application/json", b"text/event-stream; charset=utf-8"

_encode = msgspec.json.encode


def answer(route: str, text: str, *, model: str, identity: str, stream: bool, usage: bool) -> tuple[bytes, bytes]:
    """Content type and body. `usage`: the client of a stream asked for it; it is all zeros, as nothing was computed."""
    made = int(time.time())
    if route == "responses":
        return _response(text, model, identity, made, stream=stream)
    chat = route == "chat"
    base: dict[str, Any] = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{identity}",
        "object": "chat.completion" if chat else "text_completion",
        "created": made,
        "model": model,
    }
    zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if not stream:
        content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": "stop"}
        return JSON, _encode({**base, "choices": [choice], "usage": zero})
    if chat:
        base["object"] = "chat.completion.chunk"
    parts: list[dict[str, Any]] = (
        [{"delta": {"role": "assistant", "content": ""}}, {"delta": {"content": text}}, {"delta": {}}]
        if chat
        else [{"text": text}, {"text": ""}]
    )
    chunks = [
        {**base, "choices": [{"index": 0, **part, "finish_reason": "stop" if part is parts[-1] else None}]}
        for part in parts
    ]
    if usage:
        chunks.append({**base, "choices": [], "usage": zero})
    return EVENTS, b"".join(b"data: %b\n\n" % _encode(chunk) for chunk in chunks) + b"data: [DONE]\n\n"


def _response(text: str, model: str, identity: str, made: int, *, stream: bool) -> tuple[bytes, bytes]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": f"msg_{identity}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    whole: dict[str, Any] = {
        "id": f"resp_{identity}",
        "object": "response",
        "created_at": made,
        "model": model,
        "status": "completed",
        "output": [item],
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": None,
        "top_p": None,
    }
    if not stream:
        return JSON, _encode(whole)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    events = (
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}}),
        ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
        ("response.output_text.delta", {**place, "delta": text, "logprobs": []}),
        ("response.output_text.done", {**place, "text": text, "logprobs": []}),
        ("response.content_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": whole}),
    )
    return EVENTS, b"".join(_typed(events))


def _typed(events: Iterable[tuple[str, dict[str, Any]]]) -> Iterable[bytes]:
    for number, (kind, content) in enumerate(events):
        told = _encode({"type": kind, "sequence_number": number, **content})
        yield b"event: %b\ndata: %b\n\n" % (kind.encode(), told)


class _Choice(msgspec.Struct):
    message: dict[str, Any] | None = None
    text: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]


def text_of(body: bytes) -> str | None:
    """The text of a kept chat or completion reply; None where it has none, or calls tools."""
    try:
        choices = msgspec.json.decode(body, type=_Reply).choices
    except (msgspec.DecodeError, RecursionError):
        return None
    if len(choices) != 1:
        return None
    message = choices[0].message
    if message is None:
        return choices[0].text
    content = message.get("content")
    return content if isinstance(content, str) and not message.get("tool_calls") else None
