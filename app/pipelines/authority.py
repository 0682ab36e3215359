"""In whose name a step asks this gateway: a token for one step, known to this process alone. Without I/O.

The request runs as the client's own key, with its limits, its tenant's and its price ceiling. What a key may ask for
was judged by the pipeline's name, so that models inside are not compared with the key's list again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.gateway.errors import WRONG_KEY, Refused

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant

PREFIX = b"ps-"
MOST_MADE = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a request inside a pipeline inherits."""

    pipeline: str
    name: str
    request_id: bytes
    """The client's request has the same."""
    call: int
    """Counts the requests of one run, so that the rows of a job's second attempt are those of its first."""
    trace: bytes = b""
    """A `traceparent` line, empty where traces are off."""
    intent: str | None = None


class Authority:
    def __init__(self) -> None:
        self._open: dict[bytes, tuple[Grant, Step]] = {}
        self._made: dict[str, tuple[Grant, Grant]] = {}
        """By key id: the key's grant, and the one made of it. Limits count by grant, so there is one for a key."""

    def __len__(self) -> int:
        return len(self._open)

    def issue(self, grant: Grant, step: Step) -> bytes:
        """An `Authorization` header's value, good until `end`."""
        made = self._made.get(grant.id)
        if made is None or made[0] is not grant:
            if len(self._made) >= MOST_MADE:
                self._made.clear()
            made = self._made[grant.id] = grant, replace(grant, models=None, routes=None, stored=False, _visible=None)
        token = PREFIX + secrets.token_urlsafe(24).encode()
        self._open[token] = made[1], step
        return b"Bearer " + token

    def end(self, authorization: bytes) -> None:
        self._open.pop(authorization.removeprefix(b"Bearer "), None)

    def grant(self, token: bytes) -> Grant:
        """Raises Refused (401)."""
        found = self._open.get(token)
        if found is None:
            raise Refused(WRONG_KEY)
        return found[0]

    def step(self, authorization: bytes | None) -> Step | None:
        """The step that a header which was let in belongs to; None for a client's own."""
        if authorization is None or not authorization.startswith(b"Bearer ps-"):
            return None
        found = self._open.get(authorization.removeprefix(b"Bearer "))
        return None if found is None else found[1]
