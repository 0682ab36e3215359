"""How far a stream has come: what a client was sent, kept so that another engine can go on with it. No I/O.

A stream that never breaks must cost next to nothing, so the events are kept as they were relayed and read a batch at a
time: `Kept.add` only appends.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from app.gateway.account import Usage

FOLD_BYTES = 32 * 1024
"""Raw events are read once so many bytes wait: about 120 of vLLM's. Text alone is a sixtieth of their size."""
MOST_RECENT = 256
"""Tokens whose text is remembered one by one: a stop string holds at most so many back."""


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[_Choice] = []
    usage: Usage | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_all = msgspec.json.Decoder(list[_Chunk]).decode


class Progress:
    """What the client has seen of one stream. `tokens` counts events with a token, so it is a lower bound where an
    engine puts several into one."""

    __slots__ = (
        "beyond_text",
        "created",
        "finished",
        "id",
        "model",
        "obstacle",
        "recent",
        "role",
        "size",
        "text",
        "tokens",
        "usage",
        "usage_told",
    )

    def __init__(self) -> None:
        self.id: str | None = None
        self.created: int | None = None
        self.model: str | None = None
        self.role = False
        self.text: list[str] = []
        self.size = 0
        """Characters of `text`."""
        self.tokens = 0
        self.recent: deque[str] = deque(maxlen=MOST_RECENT)
        """The text that came with each of the last tokens."""
        self.finished = 0
        """Choices that have their finish reason."""
        self.usage: Usage | None = None
        self.usage_told = False
        """True once the usage event was sent, the one after the last choice's end."""
        self.beyond_text = ""
        """What was sent that is no text: "tool_calls", "reasoning" or "choices" (more than one). Empty: nothing."""
        self.obstacle = ""
        """Why the text is not known: "too_long" or "unreadable"."""

    @property
    def begun(self) -> bool:
        """True once any token was sent."""
        return bool(self.tokens or self.finished or self.obstacle)

    def take(self, chunk: _Chunk) -> None:
        if self.id is None:
            self.id, self.created, self.model = chunk.id, chunk.created, chunk.model
        if chunk.usage is not None:
            self.usage = chunk.usage
            self.usage_told = not chunk.choices
        for choice in chunk.choices:
            self._take_choice(choice)

    def _take_choice(self, choice: _Choice) -> None:
        if choice.index:
            self.beyond_text = "choices"
        delta, content = choice.delta, choice.text
        if delta is not None:
            content = delta.content
            if delta.role is not None:
                self.role = True
                content = content or None  # vLLM begins with a role and no token
            if content is None:
                self._take_other(delta)
        if content is not None:
            self.tokens += 1
            self.recent.append(content)
            self.text.append(content)
            self.size += len(content)
        if choice.finish_reason is not None:
            self.finished += 1

    def _take_other(self, delta: _Delta) -> None:
        if delta.tool_calls or delta.function_call:
            self.beyond_text = "tool_calls"
        elif delta.reasoning or delta.reasoning_content:
            self.beyond_text = "reasoning"
        elif delta.refusal or delta.audio:
            self.beyond_text = "other"
        else:
            return
        self.tokens += 1

    def give_back(self, lag: int, *, white: bool) -> None:
        """Takes the last tokens off the count whose text the client has not seen: the next engine makes them again.

        These are tokens that are part of a character, with `white` those of trailing white space (a chat template cuts
        it off), and those of the last `lag` characters, which an engine with stop strings holds back: it sends each
        token with text of `lag` characters earlier, so the last tokens that have `lag` characters are the unseen ones.
        """
        room = lag
        while self.recent:
            last = self.recent[-1]
            if len(last) > room and not (white and last.isspace()):
                return
            room -= min(room, len(last))
            self.recent.pop()
            self.tokens -= 1


class Kept:
    """The events that were relayed, bounded: beyond `most_bytes` of text the progress is no longer known."""

    __slots__ = ("_most", "_raw", "_size", "_told")

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._raw: list[bytes] = []
        self._size = 0
        self._told = Progress()

    def add(self, events: bytes) -> None:
        """Keeps whole events, once they are relayed."""
        self._raw.append(events)
        self._size += len(events)
        if self._size > FOLD_BYTES:
            self.progress()

    def progress(self) -> Progress:
        """Reads what was added since the last call."""
        told = self._told
        raw, self._raw, self._size = b"".join(self._raw), [], 0
        if told.obstacle or not raw:
            return told
        try:
            for chunk in _read(raw):
                told.take(chunk)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            told.obstacle = "unreadable"
        if told.size > 256:
            told.text = ["".join(told.text)]
            if told.size > self._most or (4 * told.size > self._most and len(told.text[0].encode()) > self._most):
                told.obstacle = "too_long"
        if told.obstacle:
            told.text = []
        return told


def _read(raw: bytes) -> list[_Chunk]:
    """The chunks of whole events. Raises msgspec.DecodeError."""
    # Line breaks inside JSON strings are escaped, so a batch of plain events becomes one JSON list by replacement.
    if raw.startswith(b"data: {") and raw.endswith(b"}\n\n"):
        try:
            return _decode_all(b"[%b]" % raw[6:-2].replace(b"\n\ndata: ", b","))
        except msgspec.DecodeError:
            pass  # a comment, `[DONE]` or another form of framing is among them
    chunks = []
    for event in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        payload = b"\n".join(lines)
        if payload and payload.strip() != b"[DONE]":
            chunks.append(_decode(payload))
    return chunks
