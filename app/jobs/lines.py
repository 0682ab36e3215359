"""Lines of a batch's files: what a client sends is checked here, and what it gets is made here. Without I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
}
"""What work can be asked for, and the route that a key needs for it."""
MOST_ERRORS = 100
MOST_LINE_BYTES = 8 * 1024 * 1024
LONGEST_CUSTOM_ID = 256


class Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    model: str
    stream: bool | None = None


_line, _body = msgspec.json.Decoder(Line), msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class RowShape:
    line: int
    """From 1."""
    custom_id: str
    start: int
    size: int
    """Of the line without its end, in bytes."""


@dataclass
class Checker:
    """Takes a file's bytes part by part; then `rows` or `errors` hold what is in it."""

    endpoint: str
    most_rows: int
    rows: list[RowShape] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)
    _rest: bytes = b""
    _start: int = 0
    _number: int = 0

    def feed(self, part: bytes) -> bool:
        """False once there is no use in going on."""
        *whole, self._rest = (self._rest + part).split(b"\n")
        for line in whole:
            self._take(line)
        if len(self._rest) > MOST_LINE_BYTES:
            self._number += 1
            self._say("line_too_long", f"This line is longer than {MOST_LINE_BYTES} bytes.")
            self._rest = b""
            return False
        return len(self.errors) < MOST_ERRORS and len(self.rows) <= self.most_rows

    def finish(self) -> None:
        if self._rest:
            self._take(self._rest)
        if len(self.rows) > self.most_rows:
            message = f"The file has more than {self.most_rows} requests, the most that one batch may have."
            self.errors.append({"code": "too_many_requests", "line": None, "message": message, "param": None})
        if not self.rows and not self.errors:
            self.errors.append(
                {"code": "empty_file", "line": None, "message": "The file has no requests.", "param": None}
            )

    def _say(self, code: str, message: str, param: str | None = None) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append({"code": code, "line": self._number, "message": message, "param": param})

    def _take(self, line: bytes) -> None:
        start, self._number = self._start, self._number + 1
        self._start += len(line) + 1
        if not line.strip():
            return
        if self._number == 1 and line.startswith(b"\xef\xbb\xbf"):
            self._say("invalid_json_line", "The file begins with a byte order mark; send UTF-8 without one.")
            return
        try:
            found = _line.decode(line)
        except (msgspec.ValidationError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            kind = "invalid_request" if isinstance(error, msgspec.ValidationError) else "invalid_json_line"
            self._say(kind, f"This line is not a request: {error}.")
            return
        if not 0 < len(found.custom_id) <= LONGEST_CUSTOM_ID or "\0" in found.custom_id:
            message = f"`custom_id` must have 1 to {LONGEST_CUSTOM_ID} characters."
            self._say("invalid_custom_id", message, "custom_id")
        elif (first := self._names.setdefault(found.custom_id, self._number)) != self._number:
            shown = found.custom_id[:50]
            self._say("duplicate_custom_id", f"The `custom_id` {shown!r} was used on line {first}.", "custom_id")
        elif found.method != "POST":
            self._say("invalid_method", "`method` must be `POST`.", "method")
        elif found.url != self.endpoint:
            message = f"`url` must be the batch's endpoint, `{self.endpoint}`."
            self._say("mismatched_endpoint", message, "url")
        elif problem := _problem_of_body(found.body):
            self._say("invalid_body", problem, "body")
        else:
            self.rows.append(RowShape(self._number, found.custom_id, start, len(line)))


def _problem_of_body(body: msgspec.Raw) -> str:
    try:
        found = _body.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        return f"`body`: {error}."
    return "`body.stream` must be false: a batch's answers are whole." if found.stream else ""


def problem_of_job(body: bytes) -> str:
    """What is wrong with the body of a single job; empty where nothing is."""
    return _problem_of_body(msgspec.Raw(body))


def body_of(line: bytes) -> bytes:
    """The request in a checked line, byte for byte."""
    return bytes(_line.decode(line).body)


def job_line(name: str, endpoint: str, body: bytes) -> bytes:
    """A job as the one line of a batch. `body` is JSON."""
    head = msgspec.json.encode({"custom_id": name, "method": "POST", "url": endpoint})
    return head[:-1] + b',"body":' + body.replace(b"\n", b" ").replace(b"\r", b" ") + b"}"


# -- answers --

_HEAD = b'{"id":"batch_req_'
_ID_END = len(_HEAD) + 32


def answer_line(row: str, custom_id: str, status: int, request: str, body: bytes) -> bytes:
    """`row`: 32 hexadecimal digits. A body that is no JSON becomes a text."""
    try:
        msgspec.json.decode(body)
        shown = body.replace(b"\n", b" ").replace(b"\r", b" ")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        shown = msgspec.json.encode(body.decode("utf-8", "replace")[:10_000])
    rest = msgspec.json.encode({"status_code": status, "request_id": request})[:-1]
    name = msgspec.json.encode(custom_id)
    return b'%b%b","custom_id":%b,"response":%b,"body":%b},"error":null}\n' % (_HEAD, row.encode(), name, rest, shown)


def error_line(row: str, custom_id: str, code: str, message: str) -> bytes:
    name, error = msgspec.json.encode(custom_id), msgspec.json.encode({"code": code, "message": message})
    return b'%b%b","custom_id":%b,"response":null,"error":%b}\n' % (_HEAD, row.encode(), name, error)


def only(lines: bytes, rows: set[str]) -> Iterator[bytes]:
    """The lines of these rows. Others were done by another worker after this one had lost them."""
    for line in lines.splitlines(keepends=True):
        if line[len(_HEAD) : _ID_END].decode("ascii", "replace") in rows:
            yield line
