"""Work of this gateway that outlives the request it began with: it asks its own door in the key's name. Without I/O.

The key itself is kept nowhere. A token is known to this process alone, and stands for whatever the key may at that
moment: its limits and routes hold, and a key that was revoked ends its work too.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from app.gateway.errors import WRONG_KEY, Refused
from app.gateway.keys.problems import REVOKED

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant
    from app.gateway.keys.ring import KeyRing

PREFIX = b"pe-"


class Errands:
    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._open: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def key_of(self, grant: Grant) -> str | None:
        """The id of the API key; None for what is none, as a token of an issuer. Raises Refused (503)."""
        return grant.id if self._ring.by_id(grant.id) is grant else None

    def issue(self, key_id: str) -> bytes:
        """An `Authorization` header's value, good until `end`."""
        token = PREFIX + secrets.token_urlsafe(24).encode()
        self._open[token] = key_id
        return b"Bearer " + token

    def end(self, authorization: bytes) -> None:
        self._open.pop(authorization.removeprefix(b"Bearer "), None)

    def grant(self, token: bytes) -> Grant:
        """Raises Refused (401, 503)."""
        key_id = self._open.get(token)
        if key_id is None:
            raise Refused(WRONG_KEY)
        found = self._ring.by_id(key_id)
        if found is None:
            raise Refused(REVOKED)
        return found
