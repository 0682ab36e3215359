"""From answers to their canonical form, the JSON answer, and from there to streams. No I/O.

Kept is only what is whole: each choice has ended by itself or at the asked length, and holds nothing that this module
does not know how to give back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.gateway.account import Usage
from app.gateway.continuation import DONE
from app.gateway.rewrite import event_payload

FOLD_BYTES = 16 * 1024
PIECE = 512
"""Characters in one event of an answer that is streamed from the cache."""
WHOLE = ("stop", "length")

Json = dict[str, Any]


class _Message(msgspec.Struct):
    tool_calls: list[Any] | None = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    message: _Message | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    error: Any = None


_decode = msgspec.json.Decoder(_Reply).decode
_decode_any = msgspec.json.decode


def is_whole(route: str, reply: bytes, *, tools: bool) -> bool:
    """Whether a JSON answer may be kept. With `tools` one that ends in tool calls may too."""
    try:
        content = _decode(reply)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    if content.error is not None:
        return False
    if route == "embeddings":
        return True
    return bool(content.choices) and all(_ended(choice, tools) for choice in content.choices)


def _ended(choice: _Choice, tools: bool) -> bool:
    message = choice.message
    called = message is not None and bool(message.tool_calls)
    if message is not None and (message.function_call is not None or message.audio is not None):
        return False
    if called:
        return tools and choice.finish_reason in (*WHOLE, "tool_calls")
    return choice.finish_reason in WHOLE


# -- from a stream --

_TEXT = ("content", "reasoning", "reasoning_content", "refusal")
_KNOWN_DELTA = frozenset({"role", *_TEXT})
_KNOWN_CHOICE = frozenset({"index", "delta", "text", "finish_reason", "stop_reason"})


class Collected:
    """A stream's events, put together as they come. What it does not know makes `reply` None."""

    def __init__(self, route: str, most_bytes: int) -> None:
        self._route = route
        self._most = most_bytes
        self._raw: list[bytes] = []
        self._size = 0
        self._kept = 0
        self._head: Json | None = None
        self._choices: dict[int, Json] = {}
        self.refused = False

    def add(self, events: bytes) -> None:
        """Takes whole events."""
        if self.refused:
            return
        self._raw.append(events)
        self._size += len(events)
        if self._size > FOLD_BYTES:
            self._fold()

    def _refuse(self) -> None:
        self.refused = True
        self._raw, self._choices = [], {}

    def _fold(self) -> None:
        raw, self._raw, self._size = self._raw, [], 0
        try:
            for chunk in _chunks(raw):
                self._take(chunk)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, AttributeError, TypeError, KeyError):
            self._refuse()  # not the events of a chat or a completion
        if self._kept > self._most:
            self._refuse()

    def _take(self, chunk: Json) -> None:
        if "error" in chunk:
            raise KeyError("error")
        if self._head is None:
            self._head = {
                name: chunk[name] for name in ("id", "created", "model", "system_fingerprint") if name in chunk
            }
        for part in chunk["choices"]:
            index = part["index"]
            choice = self._choices.get(index)
            if choice is None:
                fresh: Json = {"parts": {}, "finish_reason": None, "stop_reason": None}
                choice = self._choices[index] = fresh
            if not part.keys() <= _KNOWN_CHOICE and any(
                value is not None for name, value in part.items() if name not in _KNOWN_CHOICE
            ):
                raise KeyError("choice")
            delta = part["delta"] if "delta" in part else {"content": part["text"]}
            for name, value in delta.items():
                if name == "role" or value is None or value == []:
                    continue
                if name not in _KNOWN_DELTA:
                    raise KeyError(name)
                choice["parts"].setdefault(name, []).append(value)
                self._kept += len(value)
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
                choice["stop_reason"] = part.get("stop_reason")

    def reply(self, usage: Usage | None) -> bytes | None:
        """The answer as JSON; None where it is not whole or not to be kept."""
        if not self.refused:
            self._fold()
        if self.refused or self._head is None or usage is None or not self._choices:
            return None
        choices = []
        for index in sorted(self._choices):
            choice = self._choices[index]
            if choice["finish_reason"] not in WHOLE:
                return None
            texts = {name: "".join(parts) for name, parts in choice["parts"].items()}
            told: Json = {"index": index}
            if self._route == "chat":
                told["message"] = {"role": "assistant", "content": None, "refusal": None, **texts}
                if told["message"]["content"] is None and len(texts) == 0:
                    told["message"]["content"] = ""
            else:
                told["text"] = texts.get("content", "")
            told |= {"logprobs": None, "finish_reason": choice["finish_reason"], "stop_reason": choice["stop_reason"]}
            choices.append(told)
        kind = "chat.completion" if self._route == "chat" else "text_completion"
        return msgspec.json.encode({**self._head, "object": kind, "choices": choices, "usage": _usage(usage)})


def _chunks(raw: list[bytes]) -> list[Json]:
    # Most parts are one event of one line, so that together they are a JSON list.
    try:
        return _decode_any(b"[%b]" % b",".join([part[6:-2] for part in raw]))
    except msgspec.DecodeError:
        events = b"".join(raw).replace(b"\r\n", b"\n").split(b"\n\n")
        found = [event_payload(event) for event in events]
        return [_decode_any(one) for one in found if one is not None and one.strip() != b"[DONE]"]


def _usage(usage: Usage) -> Json:
    output = usage.completion_tokens or 0
    details = usage.prompt_tokens_details
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + output,
        "completion_tokens": output,
        "prompt_tokens_details": None if details is None else {"cached_tokens": details.cached_tokens},
    }


# -- to a stream --


def as_events(route: str, reply: bytes, *, usage: bool) -> bytes | None:
    """A kept answer as the events of a stream, `[DONE]` included; with `usage` its usage event too.

    None where it holds what streams write in another way (log-probabilities).
    """
    content = _decode_any(reply)
    chat = route == "chat"
    head = {name: content[name] for name in ("id", "created", "model", "system_fingerprint") if name in content}
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    out: list[bytes] = []
    for choice in content["choices"]:
        if choice.get("logprobs") is not None or choice.get("prompt_logprobs") is not None:
            return None
        for part in _deltas(choice) if chat else _texts(choice):
            event = {**head, "choices": [{"index": choice["index"], **part}]}
            out.append(b"data: %b\n\n" % msgspec.json.encode(event))
    if usage:
        event = {**head, "choices": [], "usage": content.get("usage")}
        out.append(b"data: %b\n\n" % msgspec.json.encode(event))
    out.append(DONE)
    return b"".join(out)


def _deltas(choice: Json) -> list[Json]:
    message = choice["message"]
    parts: list[Json] = [{"role": "assistant", "content": ""}]
    for name in ("reasoning", "reasoning_content", "content", "refusal"):
        parts += [{name: piece} for piece in _pieces(message.get(name) or "")]
    calls = message.get("tool_calls")
    if calls:
        parts.append({"tool_calls": [{"index": number, **call} for number, call in enumerate(calls)]})
    told = [{"delta": part, "logprobs": None, "finish_reason": None} for part in parts]
    return [*told, _end(choice) | {"delta": {}}]


def _texts(choice: Json) -> list[Json]:
    told = [{"text": piece, "logprobs": None, "finish_reason": None} for piece in _pieces(choice["text"])]
    return [*told, _end(choice) | {"text": ""}]


def _end(choice: Json) -> Json:
    return {"logprobs": None, "finish_reason": choice["finish_reason"], "stop_reason": choice.get("stop_reason")}


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
