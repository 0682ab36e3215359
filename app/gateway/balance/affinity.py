"""What keeps a request near an engine: its session, or the beginning of its prompt."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.gateway.balance.pick import prefix_key, prefix_marks, session_key
from app.gateway.choose import Near

if TYPE_CHECKING:
    from app.gateway.config import ModelRoute

MOST_NAME_BYTES = 256
"""A longer session name counts by its beginning."""
COOKIE_SECONDS = 86_400


def sticky_headers(routes: Iterable[ModelRoute]) -> frozenset[bytes]:
    """The request headers that any model's sessions are read from."""
    found = (route.sticky for route in routes)
    return frozenset(
        b"cookie" if sticky.source == "cookie" else sticky.name.encode() for sticky in found if sticky is not None
    )


def affinity(
    route: ModelRoute, tenant: str, headers: Iterable[tuple[bytes, bytes]], prefix: bytes
) -> tuple[Near | None, bytes]:
    """What places a request, and header lines for the reply (a new cookie). `prefix`: the prompt's beginning.

    A cookie is 16 random bytes and says nothing: whatever a client sends is only hashed, so it needs no signature.
    """
    sticky = route.sticky
    if sticky is not None:
        name = sticky.name.encode()
        value = _cookie(headers, name) if sticky.source == "cookie" else _header(headers, name)
        if value:
            return Near(session_key(tenant, value[:MOST_NAME_BYTES]), session=True), b""
        if sticky.source == "cookie":
            fresh = secrets.token_hex(16).encode()
            line = b"set-cookie: %b=%b; Path=/v1; Max-Age=%d; HttpOnly; SameSite=Lax\r\n"
            return Near(session_key(tenant, fresh), session=True), line % (name, fresh, COOKIE_SECONDS)
    if not prefix:
        return None, b""
    return Near(prefix_key(prefix[: route.balance.prefix_bytes]), marks=prefix_marks(prefix)), b""


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value.strip() for name, value in headers if name == wanted), b"")


def _cookie(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    for name, value in headers:
        if name == b"cookie":
            for pair in value.split(b";"):
                key, _, content = pair.strip().partition(b"=")
                if key == wanted:
                    return content.strip()
    return b""
