"""Streams that break, as the tests ask for them and judge them."""

from __future__ import annotations

from typing import Any

from tests.gateway.broken_engines import Model, Told, told
from tests.gateway.harness import CHAT, Running

WORDS = ("Nothing", " is", " lost", ":", " 1", "2", " ms", "\n", "\n", "é漢", " 😀", "  ", "end", ".")
TOKENS = [word.encode() for word in WORDS[:9]] + [bytes([b]) for b in "é漢 😀".encode()] + [b"  ", b"end", b"."]
CHAT_STREAM: dict[str, Any] = CHAT | {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 100}
PROMPT_STREAM: dict[str, Any] = {"model": "tiny", "prompt": "Say|", "max_tokens": 100} | {
    key: CHAT_STREAM[key] for key in ("stream", "stream_options")
}
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
BODIES = {"chat": CHAT_STREAM, "completions": PROMPT_STREAM}


async def ask(gateway: Running, body: dict[str, Any] = CHAT_STREAM) -> Told:
    return told(await gateway.ask(body, PATHS["chat" if "messages" in body else "completions"]))


def check_whole(found: Told, model: Model, *, usage: bool = True) -> None:
    assert found.error is None
    assert found.text == model.text
    assert found.finishes == ["stop"]
    assert len(found.identities) == 1, "each event bears the first one's id, time and model"
    assert found.done == 1
    assert found.usages == ([(model.prompt_tokens, len(model.tokens))] if usage else [])
