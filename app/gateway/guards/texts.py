"""The texts inside a JSON body, by their places, so that one can be replaced and the rest stay byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(?:[ \t\r\n]*+:)?|[{}\[\]]', re.DOTALL)
PROMPT_FIELDS = frozenset(
    {"messages", "prompt", "input", "instructions", "suffix", "documents", "tools", "functions", "query"}
)
"""Top-level fields of requests whose texts a model reads."""
ANSWER_FIELDS = frozenset({"choices", "output", "response", "item", "part", "text", "arguments", "delta", "refusal"})
NOT_TEXT = frozenset(
    {
        "role", "type", "id", "name", "call_id", "tool_call_id", "item_id", "object", "status", "detail", "format",
        "url", "image_url", "audio_url", "video_url", "file_id", "file_data", "data", "encrypted_content",
        "finish_reason",
    }
)  # fmt: skip
"""Keys whose values are names, addresses or coded bytes: to change them would break the request."""

NOT_ANSWER = NOT_TEXT | {"token"}
"""In answers also: the tokens of log-probabilities repeat the text, and go where that is masked."""


class Text(NamedTuple):
    """One string value. `start` and `end` are its place with its quotes; `item` is the index in its field's list."""

    start: int
    end: int
    key: str
    field: str
    item: int


class Texts(NamedTuple):
    found: list[Text]
    roles: dict[int, str]
    """Of the items of `messages` and `input`."""


def find_texts(
    body: bytes, fields: frozenset[str] | None = PROMPT_FIELDS, not_text: frozenset[str] = NOT_TEXT
) -> Texts:
    """The texts below the named top-level fields (None: all). `body` is valid JSON."""
    found: list[Text] = []
    roles: dict[int, str] = {}
    keys: list[str] = []
    """The key that applies at each depth; a list hands on its own."""
    field, item = "", 0
    for match in _TOKEN.finditer(body):
        token = match[0]
        first = token[0]
        if first != 34:
            if first in b"{[":
                if len(keys) == 1:
                    item = -1
                if first == 123 and len(keys) == 2:
                    item += 1
                keys.append(keys[-1] if keys else "")
            elif keys:
                keys.pop()
        elif token[-1] == 58:
            key = _plain(token[: token.rindex(b'"') + 1])
            if keys:
                keys[-1] = key
            if len(keys) == 1:
                field, item = key, 0
        elif keys:
            key = keys[-1]
            if key == "role" and len(keys) == 3:
                roles[item] = _plain(token)
            if (fields is None or field in fields) and key not in not_text and not token.startswith(b'"data:'):
                found.append(Text(match.start(), match.end(), key, field, item))
    return Texts(found, roles)


def _plain(token: bytes) -> str:
    return token[1:-1].decode("latin-1") if b"\\" not in token else decode(token)


def decode(token: bytes) -> str:
    """The value of a JSON string with its quotes. Raises ValueError."""
    try:
        return msgspec.json.decode(token, type=str)
    except msgspec.DecodeError:  # half of a surrogate pair, or a raw control character: Python's engines take these
        return json.loads(token.decode("utf-8", "surrogatepass"), strict=False)


def encode(text: str) -> bytes:
    """As a JSON string with its quotes."""
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        return json.dumps(text).encode()


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def splice(body: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Replaces the places given, in their order."""
    out: list[bytes] = []
    last = 0
    for start, end, new in changes:
        out += (body[last:start], new)
        last = end
    out.append(body[last:])
    return b"".join(out)
