"""Byte splicing: a request's body before it goes to an engine, an engine's SSE bytes before they go to the client."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec

from app.gateway.account import Billed, Usage, read_usage
from app.gateway.errors import EngineError, clean, parse_engine_error

_INCLUDE = b'"include_usage":true'
_COUNTED = b'"include_usage":true,"continuous_usage_stats":true'
COUNTED = b"continuous_usage_stats"
_USAGE = b',"usage":{'
_USAGES = re.compile(rb'\}\],"usage":\{[^{}]*\}(?=\}\n\n)')
"""Usage at the end of events with choices, numbers alone. Quotes inside JSON strings are escaped: no text looks so."""
_ANY_USAGE = re.compile(rb',\s*"usage"\s*:\s*(?=\{)')
BLANK_LINE = re.compile(rb"\r?\n\r?\n|\r\r")
"""The end of an event: lines may end in LF, CRLF or CR."""
MAX_HELD_BYTES = 4 * 1024 * 1024
"""An event longer than this is passed on in pieces: memory stays bounded. A chat event has some 250 bytes."""


def include_usage(body: bytes, stream_options: bytes | None) -> bytes:
    """Asks for the usage event. `stream_options` is that field's value in `body`, None where it is absent.

    The new field goes to the end, so that it also overrides an earlier `"stream_options": null` or one without
    `include_usage`: JSON readers keep the last of equal keys (Python's json, msgspec and jiter do).
    """
    inner = stream_options.strip()[1:-1].strip() if stream_options and stream_options.strip() != b"null" else b""
    options = b"%b,%b" % (inner, _INCLUDE) if inner else _INCLUDE
    return b'%b,"stream_options":{%b}}' % (body.rstrip(b" \t\r\n")[:-1], options)


def count_each(body: bytes, stream_options: bytes | None) -> bytes:
    """Asks for the usage so far in each event, at the end, beside what the client has asked for.

    vLLM and SGLang know the option (`continuous_usage_stats`); an engine that does not leaves it out.
    """
    inner = stream_options.strip()[1:-1].strip() if stream_options and stream_options.strip() != b"null" else b""
    options = b"%b,%b" % (inner, _COUNTED) if inner else _COUNTED
    return b'%b,"stream_options":{%b}}' % (body.rstrip(b" \t\r\n")[:-1], options)


def hold_output(body: bytes, name: bytes, tokens: int) -> bytes:
    """Gives a request its `max_tokens` (or what `name` says), at the end, where it overrides an earlier null."""
    return b'%b,"%b":%d}' % (body.rstrip(b" \t\r\n")[:-1], name, tokens)


class _Event(msgspec.Struct):
    choices: msgspec.Raw = msgspec.Raw()
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


_json = json.JSONDecoder()
_ABORTED = re.compile(rb'"finish_reason"\s*:\s*"abort"')
_decode_event = msgspec.json.Decoder(_Event).decode


class EventStream:
    """Splits an engine's bytes into whole SSE events, notes usage, drops a usage event that the client did not ask for.

    Whole events only: so a stream that is cut always ends between two events, where an error event can follow. An SSE
    client acts on whole events anyway, so nothing comes later for it.
    """

    __slots__ = (
        "_broken",
        "_counted",
        "_counts",
        "_held",
        "_tail",
        "error",
        "events",
        "failed",
        "strip_usage",
        "usage",
    )

    def __init__(self, *, strip_usage: bool, counted: bool = False) -> None:
        """`counted`: the engine was asked for usage in each event, and the client has not asked for that."""
        self.strip_usage = strip_usage
        self._counted = counted
        self._counts = b""
        """The usage object of the last event that had one beside its choices, unread: most streams do not break."""
        self.usage: Usage | None = None
        self.events = 0
        """Events relayed, an estimate of output tokens where a stream ends without usage."""
        self.failed = False
        """True once an error event of the engine came by: it and what follows are not passed on."""
        self.error = EngineError(500, "")
        self._held = b""
        self._tail = b""
        self._broken = False

    def feed(self, data: bytes) -> bytes:
        """The whole events that `data` completes, as they are to be relayed. May be empty."""
        if self._broken:
            return data
        if self._held:
            data = self._held + data
            self._held = b""
        if not data.endswith(b"\n\n"):
            end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\r") + 2, data.rfind(b"\n\r\n") + 3)
            end = end if end > 2 else 0  # 1 and 2: there is none
            if end == 0 and len(data) > MAX_HELD_BYTES:
                self._broken = True
                return data
            self._held = data[end:]
            data = data[:end]
        return self._pass(data) if data else data

    def finish(self) -> bytes:
        """What is left when the answer ended: `[DONE]` without a blank line, or part of an event, which is dropped."""
        rest, self._held = self._held, b""
        return self._pass(rest + b"\n\n") if self._ends(rest) else b""

    @property
    def complete(self) -> bool:
        """True when the stream ended as streams end, with `[DONE]`."""
        return self._broken or b"data: [DONE]" in self._tail or b"data:[DONE]" in self._tail

    def so_far(self) -> Usage | None:
        """The usage, or what the engine has told of it by now."""
        if self.usage is None and self._counts:
            return read_usage(b'{"usage":%b}' % self._counts)
        return self.usage

    def _ends(self, data: bytes) -> bool:
        return b"[DONE]" in data

    def _pass(self, data: bytes) -> bytes:
        if self._counted and (at := data.rfind(_USAGE)) >= 0 and data[at - 2 : at] == b"}]":
            data = self._uncount(data, at)
        self.events += data.count(b"\n\n") or sum(1 for _ in BLANK_LINE.finditer(data))
        # Quotes inside JSON strings are escaped, so a field's name cannot be missed; a false hit only costs a parse.
        if b'"usage"' in data or b'"error"' in data or b'"abort"' in data:
            data = each_event(data, self._inspect)
        if data:
            self._tail = data
        return data

    def _uncount(self, data: bytes, last: int) -> bytes:
        """Takes the usage that only the gateway has asked for out of events with choices, where it is in vLLM's form.

        Whatever is left, in any other form, is found and read by `_inspect`.
        """
        end = data.find(b"}", last) + 1
        if data[end:] == b"}\n\n":
            self._counts = data[last + len(_USAGE) - 1 : end]
            if data.find(_USAGE) == last:  # nearly all: one event
                return data[:last] + b"}\n\n"
        return _USAGES.sub(b"}]", data)

    def _inspect(self, event: bytes) -> bytes:
        if self.failed:
            return b""
        payload = event_payload(event)
        if payload is None:
            return event
        try:
            content = _decode_event(payload)
        except (msgspec.DecodeError, RecursionError):
            return event
        if bytes(content.error).strip() not in (b"", b"null"):
            error = parse_engine_error(200, payload)
            self.failed = True
            self.error = EngineError(
                error.status if error.status != 200 else 500,
                clean(error.message) or "The engine failed while it answered.",
                error.param,
            )
            return b""
        if _ABORTED.search(bytes(content.choices)):  # vLLM ends what it has under way so when it is told to stop
            self.failed = True
            self.error = EngineError(500, "The engine stopped while it answered.")
            return b""
        if content.usage is None:
            return event
        only_usage = bytes(content.choices).replace(b" ", b"") == b"[]"
        if self._counted and not only_usage:
            event, self._counts = _cut_usage(event)
            return event
        self.usage = content.usage
        return b"" if self.strip_usage and only_usage else event


def _cut_usage(event: bytes) -> tuple[bytes, bytes]:
    """An event without its usage, and the usage. Where that cannot be cut out it stays, and there is none."""
    found = _ANY_USAGE.search(event)
    if found is None:
        return event, b""
    text = event[found.end() :].decode(errors="replace")
    try:
        _, length = _json.raw_decode(text)
    except ValueError:
        return event, b""
    end = found.end() + len(text[:length].encode())
    return event[: found.start()] + event[end:], event[found.end() : end]


class _Typed(msgspec.Struct):
    response: Billed | None = None


# Quotes inside JSON strings are escaped, so no text that an engine generates can look like this.
_LAST_TYPE = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"')
_decode_typed = msgspec.json.Decoder(_Typed).decode


class TypedEventStream(EventStream):
    """The events of the Responses API: each has a type, and the last one holds the whole response with its usage."""

    __slots__ = ()

    @property
    def complete(self) -> bool:
        """True when the last event said how the response ended."""
        return self._broken or self._ends(self._tail)

    def _ends(self, data: bytes) -> bool:
        return _LAST_TYPE.search(data) is not None

    def _inspect(self, event: bytes) -> bytes:
        payload = event_payload(event)
        if payload is not None:
            try:
                content = _decode_typed(payload)
            except (msgspec.DecodeError, RecursionError):
                return event
            if content.response is not None and content.response.usage is not None:
                self.usage = content.response.usage
        return super()._inspect(event)


def each_event(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    out: list[bytes] = []
    start = 0
    for blank in BLANK_LINE.finditer(data):
        out.append(change(data[start : blank.end()]))
        start = blank.end()
    if start < len(data):
        out.append(change(data[start:]))
    return b"".join(out)


def event_payload(event: bytes) -> bytes | None:
    """The `data:` lines of one event, joined as the SSE standard says. None where it has none (a comment)."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def only_comments(data: bytes) -> bool:
    """True when these events carry nothing (vLLM's keep-alive comments): they are no first token."""
    return data[:1] == b":" and event_payload(data) is None


_TAIL_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')


def usage_in_tail(tail: bytes) -> Usage | None:
    """Usage from the end of a JSON reply that was too long to be kept."""
    found = _TAIL_USAGE.findall(tail)
    return read_usage(b'{"usage":%b}' % found[-1]) if found else None
