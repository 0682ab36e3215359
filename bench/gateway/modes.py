"""What is asked of a gateway: the loads, and the bodies that are sent. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

MODEL = "mock"
KEY = "sk-test-1234567890"  # the load generator sends it
CHUNKS, GAP_MS = 32, 5
EVENTS = CHUNKS + 3
"""SSE events of one stream: role, chunks, usage, [DONE]."""

SYSTEM = (
    "You are a careful assistant for a travel company. Answer in short plain sentences. Never give medical or legal "
    "advice. If you do not know, say so and offer to hand over to a person. "
)
QUESTION = (
    "Somewhere in France by train from Brussels, early May, two adults. What is the capital of France and what is "
    "worth seeing there in two days?"
)
FILLER = 'The quick brown fox jumps over the lazy dog near the river bank. "Quoted" text, newline\n and café. '


@dataclass(frozen=True)
class Mode:
    """One load. `rate` 0: as fast as `connections` allow; else so many requests a second whatever the answers do."""

    name: str
    title: str
    body: str
    connections: int
    slow_connections: int
    """For gateways that need milliseconds of CPU a request: fewer, so that requests end inside the window."""
    seconds: float
    rate: int = 0
    slow_rate: int = 0
    warm_seconds: float = 0.4
    stream: bool = False

    @property
    def low_load(self) -> bool:
        return self.rate > 0


MODES = (
    Mode("json", "JSON, 820 B", "json", 64, 8, 1.2),
    Mode("sse", "SSE, 32 chunks at 5 ms", "sse", 256, 4, 1.5, warm_seconds=0.6, stream=True),
    Mode("69KB", "JSON, 69 KB prompt", "69KB", 16, 4, 1.0),
    Mode("480KB", "JSON, 480 KB prompt", "480KB", 8, 4, 1.0),
    Mode("json-low", "JSON, low load", "json", 16, 16, 4.0, rate=60, slow_rate=10),
    Mode("sse-low", "SSE, low load", "sse", 64, 64, 3.0, rate=30, slow_rate=3, stream=True),
)


def bodies() -> dict[str, bytes]:
    """Name to request body. Sizes: json about 820 B, 69KB 69,000 B (16k tokens), 480KB 480,000 B (110k tokens)."""
    chat = [
        {"role": "system", "content": SYSTEM * 2},
        {"role": "user", "content": "Hello, I want to plan a weekend trip."},
        {"role": "assistant", "content": "Happy to help. Where would you like to go, and when?"},
        {"role": "user", "content": QUESTION},
    ]
    base = {"model": MODEL, "messages": chat, "temperature": 0.7, "max_tokens": 256, "user": "u-1842"}
    streamed = base | {"stream": True, "stream_options": {"include_usage": True}}
    made = {"json": json.dumps(base).encode(), "sse": json.dumps(streamed).encode()}
    for name, size in (("69KB", 69_000), ("480KB", 480_000)):
        made[name] = json.dumps(
            base | {"messages": [chat[0], {"role": "user", "content": _text(base, chat, size)}]}
        ).encode()
    return made


def _text(base: Mapping[str, object], chat: list[dict[str, str]], size: int) -> str:
    """Filler so long that the body has about `size` bytes; a whole number of fillers, so that no escape is cut."""
    empty = len(json.dumps({**base, "messages": [chat[0], {"role": "user", "content": ""}]}))
    each = len(json.dumps(FILLER)) - 2
    return FILLER * ((size - empty) // each)
