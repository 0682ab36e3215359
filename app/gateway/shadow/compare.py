"""What an original and its copy were answered with, and in what they differ. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from app.gateway.account import Usage
from app.gateway.progress import Kept

What = Literal["status", "length", "text"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: none came, or it broke off. Times in seconds, `ttft` of streams alone. `tokens` and `text` None where
    they are not known."""

    status: int
    seconds: float = 0.0
    ttft: float | None = None
    tokens: int | None = None
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None


class _Sampling(msgspec.Struct):
    temperature: float | None = None
    n: int | None = None


_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_sampling = msgspec.json.Decoder(_Sampling).decode


def certain(body: bytes) -> bool:
    """Whether the same engine would answer this request with the same text again."""
    try:
        sampling = _decode_sampling(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return sampling.temperature == 0 and sampling.n in (None, 1)


def text_of(kept: Kept) -> str | None:
    """Of a stream's events; None where it is not known, or there is more than text."""
    told = kept.progress()
    return None if told.obstacle or told.beyond_text else "".join(told.text)


def read_stream(content: bytes, most_bytes: int) -> tuple[bool, int | None, str | None]:
    """Whether a stream's events are whole, its tokens and its text."""
    kept = Kept(most_bytes)
    kept.add(content)
    told = kept.progress()
    whole = told.finished > 0 and content.rstrip().endswith(b"data: [DONE]")
    return whole, None if told.usage is None else told.usage.completion_tokens, text_of(kept)


def read_reply(content: bytes) -> tuple[bool, int | None, str | None]:
    """The same of a JSON reply."""
    try:
        reply = _decode_reply(content)
    except (msgspec.DecodeError, RecursionError):
        return False, None, None
    texts = [c.message.content if c.message is not None else c.text for c in reply.choices]
    text = texts[0] if len(texts) == 1 else None
    return bool(texts), None if reply.usage is None else reply.usage.completion_tokens, text


def compared(original: Answer, copy: Answer) -> dict[What, bool]:
    """What can be compared -> whether it is the same."""
    found: dict[What, bool] = {"status": original.status == copy.status}
    if not found["status"]:
        return found
    if original.tokens is not None and copy.tokens is not None:
        found["length"] = original.tokens == copy.tokens
    if original.text is not None and copy.text is not None:
        found["text"] = original.text == copy.text
    return found
