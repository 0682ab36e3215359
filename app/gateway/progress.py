"""How far a stream has come: what a client was sent, kept so that another engine can go on with it. No I/O.

A stream that never breaks must cost next to nothing, so the events are kept as they were relayed and read a batch at a
time: `Kept.add` only appends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from app.gateway.account import Usage

FOLD_BYTES = 16 * 1024
"""Raw events are read once so many bytes wait: about 60 of vLLM's. Text alone is a sixtieth of their size."""
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
    choices: list[_Choice] = []
    usage: Usage | None = None


class _Identity(msgspec.Struct):
    id: str | None = None
    created: int | None = None
    model: str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_all = msgspec.json.Decoder(list[_Chunk]).decode
_decode_identity = msgspec.json.Decoder(_Identity).decode


class Progress:
    """What the client has seen of one stream. `tokens` counts events with a token, so it is a lower bound where an
    engine puts several into one and does not tell its usage in each."""

    __slots__ = (
        "again",
        "beyond_text",
        "created",
        "finished",
        "fresh",
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
        """Bytes of `text`."""
        self.tokens = 0
        self.fresh = 0
        """Of these, the ones of the engine that answers now."""
        self.again = 0
        """Events that the client has of tokens that are not in `tokens`: the next engine makes them again."""
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

    def take(self, chunks: list[_Chunk]) -> None:
        texts: list[str] = []
        for chunk in chunks:
            choices = chunk.choices
            if len(choices) == 1 and chunk.usage is None:  # nearly all are a token and nothing else
                choice = choices[0]
                delta = choice.delta
                content = choice.text if delta is None else delta.content
                plain = delta is None or (delta.tool_calls is None and delta.reasoning is None)
                if content and plain and choice.finish_reason is None and not choice.index:
                    texts.append(content)
                    if delta is not None and delta.role is not None:
                        self.role = True
                    continue
            if texts:
                self._add(texts)
                texts = []
            if chunk.usage is not None:
                self.usage = chunk.usage
                self.usage_told = not choices
            for choice in choices:
                self._take_choice(choice)
            if chunk.usage is not None and choices:
                self._count(chunk.usage.completion_tokens or 0)
        self._add(texts)

    def told(self, usage: Usage) -> None:
        """The engine has said this with its last event, of which the client has the rest alone."""
        if not self.usage_told:
            self.usage = usage
            self._count(usage.completion_tokens or 0)

    def _count(self, told: int) -> None:
        """The engine says with an event how many tokens there are by now: more than events, where one bears several."""
        more = max(0, told - self.tokens)
        self.tokens += more
        self.fresh += more

    def _add(self, texts: list[str]) -> None:
        self.tokens += len(texts)
        self.fresh += len(texts)
        self.recent.extend(texts)
        text = "".join(texts)
        self.text.append(text)
        self.size += len(text) if text.isascii() else len(text.encode())

    def _take_choice(self, choice: _Choice) -> None:
        if choice.index:
            self.beyond_text = "choices"
        delta, content = choice.delta, choice.text
        if delta is not None:
            content = delta.content
            if delta.role is not None:
                self.role = True
                content = content or None  # vLLM begins with a role and no token
            if self._take_other(delta):
                content = content or None
        if content is not None:
            self._add([content])
        if choice.finish_reason is not None:
            self.finished += 1

    def _take_other(self, delta: _Delta) -> bool:
        if delta.tool_calls or delta.function_call:
            self.beyond_text = "tool_calls"
        elif delta.reasoning or delta.reasoning_content:
            self.beyond_text = "reasoning"
        elif delta.refusal or delta.audio:
            self.beyond_text = "other"
        else:
            return False
        self.tokens += not delta.content
        self.fresh += not delta.content
        return True

    def give_back(self, lag: int, *, white: bool) -> bool:
        """Takes the last tokens off the count whose text the client has not seen: the next engine makes them again.

        These are tokens that are part of a character, with `white` those of trailing white space (a chat template cuts
        it off), and those of the last `lag` characters, which an engine with stop strings holds back: it sends each
        token with text of `lag` characters earlier, so the last tokens that have `lag` characters are the unseen ones.
        A token that is seen in part is given back too, as its rest is made again; then the result is True.
        """
        made = list(self.recent)[-self.fresh :] if self.fresh else []
        # Before its first text an engine filled what it holds back; which of those tokens are seen is not known, and
        # they stay counted, so that a limit is never exceeded.
        unsure = next((number + 1 for number, text in enumerate(made) if text), 0) if lag else 0
        while self.recent:
            if unsure and self.fresh <= unsure:
                self.fresh = 0
                return True
            last = self.recent[-1]
            if not self.fresh:  # the engine before this one holds nothing back any more
                lag = 0
            partly = len(last) > lag and not (white and last.isspace())
            if partly and not lag and not (white and last[-1:].isspace()):
                break
            lag -= min(lag, len(last))
            self.recent.pop()
            self.tokens -= 1
            self.again += 1
            self.fresh = max(self.fresh - 1, 0)
            if partly:
                self.fresh = 0
                return True
        self.fresh = 0
        return False


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

    def made_again(self) -> None:
        """A token was made again: its event came before, and none of its text is out yet."""
        self.add(b'data: {"choices":[{"index":0,"delta":{"content":""}}]}\n\n')
        self._told.again -= 1

    def progress(self) -> Progress:
        """Reads what was added since the last call."""
        told = self._told
        raw, self._raw, self._size = self._raw, [], 0
        if told.obstacle or not raw:
            return told
        try:
            if told.id is None:
                _identify(told, raw)
            told.take(_read(raw))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            told.obstacle = "unreadable"
        if told.size > self._most:
            told.obstacle = "too_long"
        if told.obstacle:
            told.text = []
        return told


def _identify(told: Progress, parts: list[bytes]) -> None:
    """Takes id, time and model of the first chunk. Raises msgspec.DecodeError."""
    for part in parts:
        for payload in _payloads(part):
            first = _decode_identity(payload)
            told.id, told.created, told.model = first.id, first.created, first.model
            return


def _read(parts: list[bytes]) -> list[_Chunk]:
    """The chunks of whole events. Raises msgspec.DecodeError."""
    # Most parts are one event with one line, so that together they are a JSON list; else that is no JSON.
    try:
        return _decode_all(b"[%b]" % b",".join([part[6:-2] for part in parts]))
    except msgspec.DecodeError:
        return [_decode(payload) for part in parts for payload in _payloads(part)]


def _payloads(events: bytes) -> Iterator[bytes]:
    for event in events.replace(b"\r\n", b"\n").split(b"\n\n"):
        payload = b"\n".join([line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")])
        if payload and payload.strip() != b"[DONE]":
            yield payload
