"""Writes OpenAI's chat replies and stream events from what other APIs say. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

_encode = msgspec.json.encode


@dataclass(slots=True)
class Used:
    """Tokens as the other API tells them: `fresh` ones of the prompt, and those read from and written to its cache."""

    fresh: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0

    def usage(self) -> dict[str, Any]:
        prompt = self.fresh + self.cached + self.written
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.output,
            "total_tokens": prompt + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


def count(value: Any) -> int:
    """A number of tokens that another side tells; what is none counts as 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@dataclass(slots=True)
class Said:
    """A whole answer."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    """Id, name and arguments."""
    finish: str | None = None


def reply(identity: str, model: str, said: Said, used: Used) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said.text) or None}
    if said.reasoning:
        message["reasoning_content"] = "".join(said.reasoning)
    if said.calls:
        message["tool_calls"] = [
            {
                "id": one,
                "type": "function",
                "function": {"name": name, "arguments": _encode(arguments).decode()},
            }
            for one, name, arguments in said.calls
        ]
    elif message["content"] is None:
        message["content"] = ""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": said.finish}
    return _encode(
        {
            "id": identity,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": used.usage(),
        }
    )


class Chunks:
    """The events of one stream. Each method returns the bytes of its events."""

    def __init__(self, identity: str, model: str) -> None:
        self.used = Used()
        self._base = {
            "id": identity,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._calls = -1
        self._begun = self._ended = False

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant", "content": "", **delta}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: %b\n\n" % _encode({**self._base, "choices": [choice]})

    def text(self, text: str) -> bytes:
        return self._event({"content": text}) if text else b""

    def reasoning(self, text: str) -> bytes:
        return self._event({"reasoning_content": text}) if text else b""

    def call(self, identity: str, name: str) -> bytes:
        """A tool call begins."""
        self._calls += 1
        function = {"name": name, "arguments": ""}
        return self._event(
            {"tool_calls": [{"index": self._calls, "id": identity, "type": "function", "function": function}]}
        )

    def arguments(self, part: str) -> bytes:
        """A part of the last call's arguments."""
        if not part:
            return b""
        return self._event({"tool_calls": [{"index": max(self._calls, 0), "function": {"arguments": part}}]})

    def finish(self, reason: str) -> bytes:
        return self._event({}, reason)

    def end(self) -> bytes:
        """The usage and the end of the stream."""
        if self._ended:
            return b""
        self._ended = True
        usage = {**self._base, "choices": [], "usage": self.used.usage()}
        return b"data: %b\n\ndata: [DONE]\n\n" % _encode(usage)

    @staticmethod
    def error(status: int, message: str) -> bytes:
        return b"data: %b\n\n" % _encode({"error": {"message": message, "code": status, "type": "upstream_error"}})
