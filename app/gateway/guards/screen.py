"""Masks what an answer streams: holds events back only while a match may be open, without I/O.

Events are held whole and in their order, and each one comes out again: where a match was, the first of its events has
the mask and the others lose that part of their text. So the number of events, and what each says of tokens, stays.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.guards import pii
from app.gateway.guards.inspect import Findings, Plan, in_string
from app.gateway.rewrite import BLANK_LINE, event_payload

if TYPE_CHECKING:
    from app.gateway.guards.settings import PiiKind


class _Function(msgspec.Struct, gc=False):
    arguments: str | None = None


class _Tool(msgspec.Struct, gc=False):
    index: int = 0
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Tool] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    type: str | None = None
    delta: str | None = None
    item_id: str | None = None
    content_index: int | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_MOST_EVENTS = 512
"""Held back at once, whatever their texts."""

_WORD = rb"(?<![A-Za-z0-9._%+@\x80-\xff-])[A-Za-z0-9._%+@\x80-\xff-]{1,400}\Z"
_NUMBER = rb"(?:[+(]{1,2}|(?<![A-Za-z0-9]))[0-9][0-9 ()./-]{0,40}\Z|[+(]{1,2}\Z"
_OPEN: dict[PiiKind, bytes] = {
    "email": _WORD,
    "secret": (
        rb"(?<![A-Za-z0-9])(?:[a-zA-Z]{1,4}|[A-Za-z]{2,10}[-_][A-Za-z0-9_-]{0,400}|[AE][A-Za-z0-9_.-]{1,800}"
        rb"|eyJ[A-Za-z0-9_.-]{1,800})\Z|-{1,5}(?:[A-Z ]{0,45}-{0,5}|BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^\x80-\xff]*)\Z"
    ),
    "iban": rb"(?<![A-Za-z0-9])[A-Z]{1,2}(?:[0-9]{1,2}(?: ?[A-Z0-9]){0,30} ?)?\Z",
    "credit_card": _NUMBER,
    "us_ssn": _NUMBER,
    "phone": _NUMBER,
    "ip_address": rb"(?<![A-Za-z0-9.:])[0-9A-Fa-f.:]{1,45}\Z",
}
"""The end of a text that more text may make a match of."""
_GOES_ON = re.compile(rb"[A-Za-z0-9+/=_.-]*")
_BLOCK_GOES_ON = re.compile(rb"[A-Za-z0-9+/=\s-]*")
"""What belongs to a secret that was too long to be held."""
_BLOCK_END = b"KEY-----"


class _Channel:
    """One text that a stream builds up: a choice's content, a tool call's arguments."""

    __slots__ = ("before", "done", "inside", "json", "left", "spans", "swallows", "tail", "total")

    def __init__(self, *, is_json: bool) -> None:
        self.total = 0
        """Bytes that came."""
        self.done = 0
        """Bytes that are judged for good; `tail` is what follows them."""
        self.tail = b""
        self.left = b""
        """The byte before the tail."""
        self.spans: list[tuple[int, int, str]] = []
        """Matches from the first held event on, as places in the whole text, and what stands for them."""
        self.json = is_json
        self.inside = False
        self.swallows: re.Pattern[bytes] | None = None
        """Inside a secret too long to be held: what belongs to it."""
        self.before = b""

    def swallow(self, raw: bytes) -> int:
        """How many bytes of `raw` belong to the secret before it."""
        assert self.swallows is not None  # noqa: S101 - asked only then
        found = self.swallows.match(raw)
        length = 0 if found is None else found.end()
        if self.swallows is _BLOCK_GOES_ON:
            seen = self.before + raw[:length]
            end = seen.find(_BLOCK_END)
            if end >= 0:
                length = max(end + len(_BLOCK_END) - len(self.before), 0)
                self.swallows = None
                return length
            self.before = seen[1 - len(_BLOCK_END) :]
        if length < len(raw):
            self.swallows = None
        return length


class _Held:
    __slots__ = ("event", "parts")

    def __init__(self, event: bytes, parts: list[tuple[_Channel, int, bytes, tuple[Any, ...]]]) -> None:
        self.event = event
        self.parts = parts
        """Channel, place in its text, the text, and the path to it in the event."""


class Screen:
    """One stream's guard. `blocked` is True once a match was found that refuses the answer."""

    __slots__ = ("_channels", "_find", "_held", "_masks", "_most", "_open", "_plan", "blocked", "findings")

    def __init__(self, plan: Plan) -> None:
        assert plan.output is not None  # noqa: S101 - a stream is screened only where the mode is on
        self._plan = plan
        self._find = plan.output.find
        self._masks = plan.modes.pii_output == "mask"
        self._most = plan.config.max_held_characters
        self._open = open_pattern(plan.config.pii_kinds)
        self._channels: dict[Any, _Channel] = {}
        self._held: deque[_Held] = deque()
        self.findings = Findings()
        self.blocked = False

    def feed(self, events: bytes) -> bytes:
        """Whole events in, those that can be told out. May be empty."""
        out: list[bytes] = []
        start = 0
        for blank in BLANK_LINE.finditer(events):
            self._take(events[start : blank.end()], out)
            start = blank.end()
        if start < len(events):  # a piece of an event too long to be kept whole, so that nobody can judge it
            self.blocked = True
        return b"" if self.blocked else b"".join(out)

    def finish(self) -> bytes:
        """What is still held."""
        out: list[bytes] = []
        self._flush(out)
        return b"" if self.blocked else b"".join(out)

    @property
    def held(self) -> int:
        """Events held back now."""
        return len(self._held)

    def _take(self, event: bytes, out: list[bytes]) -> None:
        payload = event_payload(event)
        if payload is None:  # a comment: it may overtake
            out.append(event)
            return
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            chunk = None
        if chunk is None or (chunk.choices is None and chunk.delta is None):
            self._flush(out)
            out.append(event if payload == b"[DONE]" else self._whole(event, payload))
            return
        parts: list[tuple[_Channel, int, bytes, tuple[Any, ...]]] = []
        ended = False
        if chunk.delta is not None:
            key = (chunk.type, chunk.item_id, chunk.content_index)
            self._add(parts, key, chunk.delta, ("delta",), is_json="arguments" in (chunk.type or ""))
        for place, choice in enumerate(chunk.choices or ()):
            if choice.text:
                self._add(parts, choice.index, choice.text, ("choices", place, "text"))
            if choice.delta is not None:
                self._take_delta(parts, place, choice.index, choice.delta)
            ended = ended or choice.finish_reason is not None
        if not parts and not self._held:
            out.append(event)
            return
        self._held.append(_Held(event, parts))
        for channel, _, _, _ in parts:
            self._judge(channel, at_end=False)
        if ended or len(self._held) > _MOST_EVENTS:
            self._flush(out)
        else:
            self._release(out)

    def _take_delta(self, parts: Any, place: int, index: int, delta: _Delta) -> None:
        path = ("choices", place, "delta")
        if delta.content:
            self._add(parts, index, delta.content, (*path, "content"))
        for name in ("reasoning_content", "reasoning", "refusal"):
            text = getattr(delta, name)
            if text:
                self._add(parts, (index, name), text, (*path, name))
        for number, tool in enumerate(delta.tool_calls or ()):
            if tool.function is not None and tool.function.arguments:
                where = (*path, "tool_calls", number, "function", "arguments")
                self._add(parts, (index, "tool", tool.index), tool.function.arguments, where, is_json=True)

    def _add(self, parts: Any, key: Any, text: str, path: tuple[Any, ...], *, is_json: bool = False) -> None:
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(is_json=is_json)
        raw = text.encode()
        parts.append((channel, channel.total, raw, path))
        if channel.swallows:
            length = channel.swallow(raw)
            channel.spans.append((channel.total, channel.total + length, ""))
            channel.done += length
            channel.total += len(raw)
            channel.tail = raw[length:]
            return
        channel.total += len(raw)
        channel.tail += raw

    def _judge(self, channel: _Channel, *, at_end: bool) -> None:
        """Moves `done` on to where a match may be open."""
        tail, left = channel.tail, channel.left
        if not tail:
            return
        text = left + tail
        begun = None if at_end else self._open.search(text, len(left))
        end = len(text) if begun is None else begun.start()
        too_long = len(text) - end > self._most
        if too_long:
            end = len(text)
        found = self._find(text)
        for start, stop, _ in found:
            if start < end < stop:  # an open end inside a match: it may become another one
                end = start
        if end <= len(left):
            return
        zone = text[:end]
        for start, stop, kind in found:
            if stop <= len(left) or stop > end:
                continue
            base = channel.done - len(left)
            mask = self._mask(channel, zone, start, kind)
            channel.spans.append((base + max(start, len(left)), base + stop, mask))
            self.findings.add("pii_output", kind, self._plan.modes.pii_output)
            self.blocked = self.blocked or self._plan.modes.pii_output == "refuse"
            if too_long and stop == end:
                block = zone[start:stop].startswith(b"-----BEGIN") and not zone[30:].endswith(_BLOCK_END)
                channel.swallows = _BLOCK_GOES_ON if block else _GOES_ON
                channel.before = zone[1 - len(_BLOCK_END) :]
        if channel.json:
            channel.inside = in_string(zone[len(left) :], inside=channel.inside)
        channel.done += end - len(left)
        channel.left, channel.tail = zone[-1:], text[end:]

    def _mask(self, channel: _Channel, zone: bytes, start: int, kind: str) -> str:
        mask = pii.mask(kind).decode()
        if channel.json and not in_string(zone[len(channel.left) : start], inside=channel.inside):
            return f'"{mask}"'
        return mask

    def _release(self, out: list[bytes]) -> None:
        """Lets go of the first events that are judged whole."""
        held = self._held
        while held:
            parts = held[0].parts
            if any(begin + len(text) > channel.done for channel, begin, text, _ in parts):
                return
            out.append(self._told(held.popleft()))

    def _flush(self, out: list[bytes]) -> None:
        if self._held:
            for channel in self._channels.values():
                self._judge(channel, at_end=True)
            self._release(out)

    def _told(self, held: _Held) -> bytes:
        """An event as the client gets it."""
        changes: list[tuple[tuple[Any, ...], str]] = []
        for channel, begin, text, path in held.parts:
            if not channel.spans:
                continue
            end = begin + len(text)
            new, at = [], begin
            for start, stop, mask in channel.spans:
                if start < end and stop > begin:
                    new.append(text[max(at, begin) - begin : max(start, begin) - begin])
                    if start >= begin:
                        new.append(mask.encode())
                    at = max(at, min(stop, end))
            channel.spans = [span for span in channel.spans if span[1] > end]
            if new:
                new.append(text[at - begin :])
                changes.append((path, b"".join(new).decode("utf-8", "replace")))
        if not changes or not self._masks:
            return held.event
        payload = event_payload(held.event)
        content = msgspec.json.decode(payload or b"{}")
        for path, value in changes:
            where = content
            for step in path[:-1]:
                where = where[step]
            where[path[-1]] = value
        for choice in content.get("choices") or ():
            if choice.get("logprobs") is not None:
                choice["logprobs"] = None
        return _with_payload(held.event, msgspec.json.encode(content))

    def _whole(self, event: bytes, payload: bytes) -> bytes:
        """An event with whole texts (the last ones of the Responses API)."""
        try:
            new, findings = self._plan.answer(payload)
        except (ValueError, AttributeError):
            return event
        if findings is None:
            return event
        self.blocked = self.blocked or self._plan.modes.pii_output == "refuse"
        # Most of these repeat what the deltas said, so they are not counted again.
        self.findings.modes.update(findings.modes)
        for key, count in findings.counts.items():
            self.findings.counts.setdefault(key, count)
        return _with_payload(event, new) if self._masks else event


def _with_payload(event: bytes, payload: bytes) -> bytes:
    lines = [line for line in event.splitlines() if line and not line.startswith(b"data:")]
    return b"\n".join((*lines, b"data: %b\n\n" % payload))


def open_pattern(kinds: tuple[PiiKind, ...]) -> re.Pattern[bytes]:
    """Matches the end of a text that may be the beginning of one of these kinds."""
    return re.compile(b"|".join(dict.fromkeys(_OPEN[kind] for kind in kinds)), re.DOTALL)
