"""Reads what clients send: a file in multipart form, part by part, and small JSON bodies."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from app.gateway.body import Receive, part
from app.gateway.errors import Problem, Refused

MOST_FIELD_BYTES = 4096
MOST_FIELDS = 10
PIECE_BYTES = 256 * 1024
PURPOSES = ("batch",)

T = TypeVar("T")
Metadata = dict[str, str] | None


class BatchForm(msgspec.Struct, forbid_unknown_fields=True):
    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: Metadata = None
    webhook: WebhookForm | None = None
    output_expires_after: dict[str, Any] | None = None


class WebhookForm(msgspec.Struct, forbid_unknown_fields=True):
    url: str


class JobForm(msgspec.Struct, forbid_unknown_fields=True):
    endpoint: str
    body: msgspec.Raw
    webhook: WebhookForm | None = None
    expires_in_seconds: int = 86_400
    metadata: Metadata = None


def read_json(body: bytes, shape: type[T]) -> T:
    """Raises Refused (400), with the field's name."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = str(error)
        named = re.search(r"`\$\.([\w.]+)`|field `([\w.]+)`", message)
        field = None if named is None else named[1] or named[2]
        raise bad(f"The request is not right: {message}.", field) from None


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> Refused:
    return Refused(Problem(400, message, code, param))


def check_metadata(metadata: Metadata) -> None:
    """Raises Refused (400)."""
    for key, value in (metadata or {}).items():
        if len(key) > 64 or len(value) > 512 or "\0" in key + value:
            raise bad("`metadata`: keys have at most 64 characters, and values 512.", "metadata")
    if metadata is not None and len(metadata) > 16:
        raise bad("`metadata` has more than 16 keys.", "metadata")


class _Source:
    """An ASGI request's body in the form that aiohttp's reader of multipart takes: bytes as it asks for them."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most
        self._most = most
        self._ready = bytearray()
        self._ended = False

    async def _more(self) -> None:
        some, more = await part(self._receive)
        self._ready += some
        self._left -= len(some)
        self._ended = not more
        if self._left < 0:
            text = f"The request is larger than {self._most} bytes, the limit for a file."
            raise Refused(Problem(413, text, "file_too_large", "file", headers=((b"connection", b"close"),)))

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        while (end := self._ready.find(b"\n")) < 0 and not self._ended and len(self._ready) < 65_536:
            await self._more()
        return self._take(len(self._ready) if end < 0 else end + 1)

    async def read(self, n: int = -1) -> bytes:
        while not self._ready and not self._ended:
            await self._more()
        return self._take(n if n >= 0 else len(self._ready))

    def _take(self, count: int) -> bytes:
        found = bytes(self._ready[:count])
        del self._ready[:count]
        return found

    def at_eof(self) -> bool:
        return self._ended and not self._ready

    def unread_data(self, data: bytes) -> None:
        self._ready[:0] = data


class Upload:
    """A form with a file. `read` hands the file's bytes on; the fields that came are known when it returns."""

    def __init__(self, content_type: bytes, receive: Receive, most_bytes: int) -> None:
        """Raises Refused (415)."""
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.size: int | None = None
        self._most_bytes = most_bytes
        kind = content_type.decode("latin-1")
        if not re.fullmatch(r"multipart/form-data\s*;.*boundary=.+", kind, re.IGNORECASE | re.DOTALL):
            raise Refused(Problem(415, "Send the file as `multipart/form-data`.", "unsupported_media_type"))
        # A little more than the file: its fields and boundaries.
        source = _Source(receive, most_bytes + 65_536)
        try:
            self._reader = aiohttp.MultipartReader({"Content-Type": kind}, cast("aiohttp.StreamReader", source))
        except (ValueError, AssertionError):
            raise Refused(Problem(415, "The boundary of `multipart/form-data` is wrong.", "bad_boundary")) from None

    async def read(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Raises Refused (400, 413), and what `write` raises."""
        try:
            for _ in range(MOST_FIELDS):
                part = await self._reader.next()
                if part is None:
                    return
                if not isinstance(part, aiohttp.BodyPartReader):
                    raise bad("A form inside the form is not supported.")
                await self._part(part, write)
        except (ValueError, AssertionError, aiohttp.ClientError, HttpProcessingError):
            raise bad("The form cannot be read: its parts or their headers are wrong.", None, "invalid_form") from None
        raise bad(f"The form has more than {MOST_FIELDS} fields.")

    async def _part(self, part: aiohttp.BodyPartReader, write: Callable[[bytes], Awaitable[None]]) -> None:
        if part.name == "file" and self.size is None:
            self.filename, self.size = part.filename or "upload.jsonl", 0
            while piece := await part.read_chunk(PIECE_BYTES):
                self.size += len(piece)
                if self.size > self._most_bytes:
                    text = f"The file is larger than {self._most_bytes} bytes, the limit."
                    raise Refused(Problem(413, text, "file_too_large", "file", headers=((b"connection", b"close"),)))
                await write(bytes(piece))
            return
        name = part.name or ""
        value = bytearray()
        while piece := await part.read_chunk(MOST_FIELD_BYTES):
            value += piece
            if len(value) > MOST_FIELD_BYTES:
                raise bad(f"The field `{name[:50]}` is longer than {MOST_FIELD_BYTES} bytes.", name[:50])
        self.fields[name] = value.decode("utf-8", "replace").replace("\0", "")
