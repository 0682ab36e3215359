"""Anthropic's Messages API, version 2023-06-01: requests, replies and streams. Pure.

Source of names and events: Anthropic's API reference, "Messages" and "Streaming Messages".
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.gateway.providers.chunks import Chunks, Said, Used, count, reply
from app.gateway.providers.conversation import Block, Call, Conversation, Image, read
from app.gateway.rewrite import event_payload

VERSION = "2023-06-01"
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}


def request(body: bytes, model: str, most_tokens: int) -> bytes:
    """The body of a Messages request from that of a chat request. Raises Untranslatable."""
    asked = read(body, most_tokens)
    content: dict[str, Any] = {
        "model": model,
        "max_tokens": asked.max_tokens,
        "messages": [{"role": turn.role, "content": [_block(one) for one in turn.blocks]} for turn in asked.turns],
    }
    if asked.system:
        content["system"] = "\n\n".join(asked.system)
    if asked.temperature is not None:
        content["temperature"] = min(asked.temperature, 1.0)  # OpenAI's goes to 2, this one's to 1
    if asked.top_p is not None:
        content["top_p"] = asked.top_p
    if asked.stop:
        content["stop_sequences"] = asked.stop
    if asked.stream:
        content["stream"] = True
    if asked.tools:
        content["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in asked.tools
        ]
        choice = _choice(asked)
        if choice is not None:
            content["tool_choice"] = choice
    return msgspec.json.encode(content)


def _choice(asked: Conversation) -> dict[str, Any] | None:
    choice: dict[str, Any] | None = None
    if asked.choice is not None:
        named = asked.choice.startswith("=")
        choice = {"type": "tool", "name": asked.choice[1:]} if named else {"type": asked.choice}
    if not asked.parallel and asked.choice != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    if isinstance(block, Image):
        source = (
            {"type": "url", "url": block.url}
            if block.url
            else {"type": "base64", "media_type": block.kind, "data": block.data}
        )
        return {"type": "image", "source": source}
    if isinstance(block, Call):
        return {"type": "tool_use", "id": block.identity, "name": block.name, "input": block.arguments}
    return {"type": "tool_result", "tool_use_id": block.identity, "content": block.text}


def _used(usage: Any, used: Used) -> None:
    """Takes over what is told; a later event of a stream may tell only a part."""
    if not isinstance(usage, dict):
        return
    used.fresh = count(usage.get("input_tokens")) or used.fresh
    used.cached = count(usage.get("cache_read_input_tokens")) or used.cached
    used.written = count(usage.get("cache_creation_input_tokens")) or used.written
    used.output = count(usage.get("output_tokens")) or used.output


def whole(body: bytes, model: str) -> bytes:
    """A chat reply from a Messages reply. Raises ValueError for what is none."""
    content = msgspec.json.decode(body)
    if not isinstance(content, dict) or not isinstance(content.get("content"), list):
        raise ValueError("no content")
    said, used = Said(), Used()
    for block in content["content"]:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            said.text.append(str(block.get("text", "")))
        elif kind == "thinking":
            said.reasoning.append(str(block.get("thinking", "")))
        elif kind == "tool_use":
            said.calls.append((str(block.get("id", "")), str(block.get("name", "")), block.get("input") or {}))
    stop = content.get("stop_reason")
    said.finish = None if stop is None else FINISH.get(stop, "stop")
    _used(content.get("usage"), used)
    return reply(str(content.get("id", "")), model, said, used)


class Stream:
    """Turns the bytes of a Messages stream into those of a chat stream."""

    def __init__(self, identity: str, model: str) -> None:
        self._chunks = Chunks(identity, model)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Raises ValueError for what is no event."""
        data = (self._held + data).replace(b"\r\n", b"\n")
        *events, self._held = data.split(b"\n\n")
        return b"".join(map(self._event, events))

    def _event(self, event: bytes) -> bytes:
        payload = event_payload(event)
        if payload is None:
            return b""
        content = msgspec.json.decode(payload)
        if not isinstance(content, dict):
            raise ValueError("no object")
        chunks, kind = self._chunks, content.get("type")
        if kind == "content_block_delta":
            return self._delta(content.get("delta") or {})
        if kind == "message_start":
            _used((content.get("message") or {}).get("usage"), chunks.used)
        elif kind == "content_block_start":
            block = content.get("content_block") or {}
            if block.get("type") == "tool_use":
                return chunks.call(str(block.get("id", "")), str(block.get("name", "")))
            if block.get("type") == "text":
                return chunks.text(block.get("text") or "")
        elif kind == "message_delta":
            _used(content.get("usage"), chunks.used)
            stop = (content.get("delta") or {}).get("stop_reason")
            return b"" if stop is None else chunks.finish(FINISH.get(stop, "stop"))
        elif kind == "message_stop":
            return chunks.end()
        elif kind == "error":
            error = content.get("error") or {}
            return chunks.error(STATUS.get(error.get("type"), 500), str(error.get("message", "")))
        return b""

    def _delta(self, delta: dict[str, Any]) -> bytes:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._chunks.text(delta.get("text") or "")
        if kind == "input_json_delta":
            return self._chunks.arguments(delta.get("partial_json") or "")
        if kind == "thinking_delta":
            return self._chunks.reasoning(delta.get("thinking") or "")
        return b""
