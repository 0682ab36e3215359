"""One request to the API of jobs and files, and how it is answered."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from app.gateway.body import Receive, whole
from app.gateway.errors import Refused, wrong_method
from app.jobs import forms

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant

MOST_BODY_BYTES = 64 * 1024
MOST_LISTED = 1000
IDENTITY = re.compile(r"[a-z]+[-_][0-9a-z]{1,64}")
_IDEMPOTENCY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Call:
    grant: Grant
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    receive: Receive

    def need(self, *methods: str) -> None:
        """Raises Refused (405)."""
        if self.method not in methods:
            raise Refused(wrong_method(self.method, self.path, ", ".join(methods)))

    async def body(self, most: int = MOST_BODY_BYTES) -> bytes:
        """Raises Refused (413) and ClientGoneError."""
        return await whole(self.receive, most)

    def idempotency_key(self) -> str | None:
        """Raises Refused (400)."""
        given = self.headers.get(b"idempotency-key")
        if given is None:
            return None
        text = given.decode("latin-1")
        if not _IDEMPOTENCY.fullmatch(text):
            raise forms.bad("The header `Idempotency-Key` must have 1 to 255 visible ASCII characters.")
        return text


class Stream:
    """A reply's body of known length that comes in parts."""

    def __init__(self, size: int, parts: AsyncIterator[bytes]) -> None:
        self._size = size
        self.parts = parts

    def __len__(self) -> int:
        return self._size


Answer = tuple[int, bytes, bytes | Stream]


def in_json(content: object, status: int = 200) -> Answer:
    return status, b"application/json", json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def paging(query: Mapping[str, str]) -> tuple[int, str | None]:
    """How many rows to list, and the id that they come after. Raises Refused (400)."""
    given, after = query.get("limit", "20"), query.get("after")
    if not given.isdecimal() or not 1 <= int(given) <= MOST_LISTED:
        raise forms.bad(f"`limit` must be from 1 to {MOST_LISTED}.", "limit")
    if after is not None and not IDENTITY.fullmatch(after):
        raise forms.bad("`after` must be the id of the last one seen.", "after")
    return int(given), after


def read_query(text: bytes) -> dict[str, str]:
    return {key: value.replace("\0", "") for key, value in parse_qsl(text.decode("latin-1"))}
