"""What clients get from a pipeline: a chat completion, or its events, in OpenAI's form. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

EVENTS = b"text/event-stream; charset=utf-8"
JSON = b"application/json"
DONE = b"data: [DONE]\n\n"
PIECE_CHARACTERS = 512
"""Of one event, where a text is there as a whole."""

_encode = msgspec.json.encode
_LINES = str.maketrans({"\n": " ", "\r": " "})


@dataclass(slots=True)
class Used:
    """Tokens of all models of one run."""

    prompt: int = 0
    completion: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    def add(self, usage: object) -> None:
        if isinstance(usage, Mapping):
            self.prompt += _count(usage.get("prompt_tokens"))
            self.completion += _count(usage.get("completion_tokens"))

    def shown(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": self.total}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@dataclass(slots=True)
class Answer:
    """One reply under way."""

    identity: str
    model: str
    usage_asked: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(
        self, text: str, finish: str, used: Used, steps: Iterable[Mapping[str, Any]], cited: list[dict[str, Any]]
    ) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        content = self._base("chat.completion") | {
            "choices": [choice],
            "usage": used.shown(),
            "pipeline": {"name": self.model, "steps": list(steps)},
        }
        return _encode(content | {"citations": cited} if cited else content)

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._event({"choices": [choice]})

    def text(self, text: str, finish: str) -> bytes:
        """A text that is there as a whole, from its role to its finish."""
        pieces = [text[at : at + PIECE_CHARACTERS] for at in range(0, len(text), PIECE_CHARACTERS)]
        parts = [self.chunk({"role": "assistant", "content": ""}), *(self.chunk({"content": one}) for one in pieces)]
        return b"".join((*parts, self.chunk({}, finish)))

    def cited(self, cited: list[dict[str, Any]]) -> bytes:
        """A chunk without choices, which clients take as they take the one of usage."""
        return self._event({"choices": [], "citations": cited})

    def last(self, used: Used) -> bytes:
        return (self._event({"choices": [], "usage": used.shown()}) if self.usage_asked else b"") + DONE

    def relayed(self, event: Mapping[str, Any]) -> bytes:
        """A model's own chunk, as one of this reply."""
        rest = {key: value for key, value in event.items() if key not in ("id", "created", "model", "usage")}
        return self._event(rest)

    def _base(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self.identity}", "object": kind, "created": self.created, "model": self.model}

    def _event(self, content: Mapping[str, Any]) -> bytes:
        return b"data: %b\n\n" % _encode({**self._base("chat.completion.chunk"), **content})


def comment(step: str, kind: str, state: str, text: str = "") -> bytes:
    """Progress. A comment of server-sent events: clients that do not know it pass over it, as the standard says."""
    told = {"step": step, "kind": kind, "state": state} | ({"text": text.translate(_LINES)} if text else {})
    return b": pipeline %b\n\n" % _encode(told)
