"""Bodies of requests that are read whole, beside the hot path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from app.gateway.errors import Refused, too_large

Receive = Callable[[], Awaitable[Any]]
"""ASGI's."""


class ClientGoneError(Exception):
    """The client left before its request was whole: nothing of it is done, and nobody hears an answer."""


async def part(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes, and whether more follow. Raises ClientGoneError."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message.get("body", b""), message.get("more_body", False)


async def whole(receive: Receive, most: int) -> bytes:
    """All of a body of `most` bytes. Raises Refused (413, and the connection closes) and ClientGoneError."""
    found, more = bytearray(), True
    while more:
        some, more = await part(receive)
        found += some
        if len(found) > most:
            raise Refused(replace(too_large(most), headers=((b"connection", b"close"),)))
    return bytes(found)
