"""Servers that answer as outside providers do, from their documented shapes, and as they do when they fail."""

from __future__ import annotations

import asyncio
import binascii
import json
import struct
from typing import Any

from tests.gateway.harness import Answer, Request, Wire

KEY_TEXT = "sk-outside-0123456789"

# -- Anthropic Messages --

MESSAGE = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hello!"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 12,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 5,
        "output_tokens": 6,
        "service_tier": "standard",
    },
}
MESSAGE_TOOL = MESSAGE | {
    "content": [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Paris"}},
    ],
    "stop_reason": "tool_use",
}
MESSAGE_EVENTS: tuple[dict[str, Any], ...] = (
    {
        "type": "message_start",
        "message": MESSAGE | {"content": [], "stop_reason": None, "usage": MESSAGE["usage"] | {"output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo!"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city": '}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Paris"}'}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 15},
    },
    {"type": "message_stop"},
)
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in events)


# -- Bedrock ConverseStream --


def frame(kind: str, content: dict[str, Any], message_type: str = "event") -> bytes:
    """One message of the binary event stream: lengths, CRC, headers, payload, CRC (AWS's published format)."""
    name = ":event-type" if message_type == "event" else ":exception-type"
    pairs = ((name, kind), (":content-type", "application/json"), (":message-type", message_type))
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in pairs
    )
    payload = json.dumps(content).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))


CONVERSE = {
    "metrics": {"latencyMs": 551},
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello!"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 12, "outputTokens": 6, "totalTokens": 18, "cacheReadInputTokens": 0},
}
CONVERSE_FRAMES = (
    frame("messageStart", {"role": "assistant"}),
    frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}}),
    frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "lo!"}}),
    frame("contentBlockStop", {"contentBlockIndex": 0}),
    frame(
        "contentBlockStart",
        {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "tooluse_1", "name": "weather"}}},
    ),
    frame("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"city": "Paris"}'}}}),
    frame("contentBlockStop", {"contentBlockIndex": 1}),
    frame("messageStop", {"stopReason": "tool_use"}),
    frame(
        "metadata", {"usage": {"inputTokens": 20, "outputTokens": 15, "totalTokens": 35}, "metrics": {"latencyMs": 900}}
    ),
)
BINARY = "application/vnd.amazon.eventstream"

# -- how they answer --


def says(content: object, status: int = 200, **headers: str) -> Answer:
    async def answer(request: Request, wire: Wire) -> None:
        await wire.json(status, content, **headers)

    return answer


def streams(data: bytes, kind: str = "text/event-stream", *, pieces: int = 0, cut: bool = False) -> Answer:
    """Streams `data`, in pieces of some bytes where told, and ends or cuts the connection after it."""

    async def answer(request: Request, wire: Wire) -> None:
        await wire.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for start in range(0, len(data), pieces or len(data)):
            await wire.chunk(data[start : start + (pieces or len(data))])
            if pieces:
                await asyncio.sleep(0)
        if cut:
            await asyncio.sleep(0.03)
            wire.cut()
        else:
            await wire.end_stream()

    return answer


async def messages(request: Request, wire: Wire) -> None:
    """Anthropic, well."""
    if request.body.get("stream"):
        await streams(sse(*MESSAGE_EVENTS), pieces=37)(request, wire)
    else:
        await wire.json(200, MESSAGE)


async def converse(request: Request, wire: Wire) -> None:
    """Bedrock, well."""
    if request.path.endswith("/converse-stream"):
        await streams(b"".join(CONVERSE_FRAMES), BINARY, pieces=41)(request, wire)
    else:
        await wire.json(200, CONVERSE)
