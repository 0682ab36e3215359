"""What clients send, checked."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, TypeVar

import msgspec

from app.gateway.errors import Problem, Refused
from app.retrieval.extract import KINDS

NAME = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
MOST_PASSAGES = 50
MOST_METADATA = 16

Collection = Annotated[str, msgspec.Meta(pattern=NAME)]
Count = Annotated[int, msgspec.Meta(ge=1, le=MOST_PASSAGES)]
T = TypeVar("T")


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> Refused:
    return Refused(Problem(400, message, code, param))


class IngestForm(msgspec.Struct, forbid_unknown_fields=True):
    collection: Collection
    text: str | None = None
    data: str | None = None
    """Base64; in place of `text`."""
    media_type: str = "text/markdown"
    name: Annotated[str, msgspec.Meta(max_length=500)] = ""
    metadata: dict[str, str] = {}

    def content(self, most: int) -> bytes:
        """Raises Refused."""
        if (self.text is None) == (self.data is None):
            raise bad("Give one of `text` and `data`.", "text")
        if self.media_type not in KINDS:
            raise Refused(
                Problem(415, f"`media_type` must be one of {', '.join(KINDS)}.", "unsupported_media_type", "media_type")
            )
        if self.text is not None:
            if KINDS[self.media_type] == "pdf":
                raise bad("A PDF goes in `data`, as Base64.", "data")
            found = self.text.encode("utf-8", "replace")
        else:
            try:
                found = base64.b64decode(self.data or "", validate=True)
            except (binascii.Error, ValueError):
                raise bad("`data` is not Base64.", "data") from None
        if len(found) > most:
            text = f"The document has {len(found)} bytes; the limit is {most}."
            raise Refused(Problem(413, text, "document_too_large", "data"))
        if len(self.metadata) > MOST_METADATA or any(
            len(key) > 64 or len(value) > 512 or "\0" in key + value for key, value in self.metadata.items()
        ):
            raise bad("`metadata` has at most 16 keys of 64 characters, with values of 512.", "metadata")
        if "\0" in self.name:
            raise bad("`name` must not hold a NUL.", "name")
        return found


class SearchForm(msgspec.Struct, forbid_unknown_fields=True):
    collection: Collection
    query: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
    k: Count = 5
    mode: str = "hybrid"


class RetrieveForm(msgspec.Struct, forbid_unknown_fields=True):
    collection: Collection
    k: Count = 5


class ReindexForm(msgspec.Struct, forbid_unknown_fields=True):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    chunk_tokens: Annotated[int, msgspec.Meta(ge=32, le=4000)] | None = None
    overlap_tokens: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None


def read_json(body: bytes, shape: type[T]) -> T:
    """Raises Refused (400), with the field's name."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _told(error) from None


def convert(content: object, shape: type[T], field: str) -> T:
    """As `read_json`, for a part of a body."""
    try:
        return msgspec.convert(content, shape)
    except msgspec.ValidationError as error:
        raise bad(f"`{field}`: {error}.", field) from None


def _told(error: Exception) -> Refused:
    message = str(error)
    named = re.search(r"`\$\.([\w.]+)`|field `([\w.]+)`", message)
    return bad(f"The request is not right: {message}.", None if named is None else named[1] or named[2])
