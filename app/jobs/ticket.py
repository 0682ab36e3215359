"""In whose name a worker asks a gateway, and how the ledger knows one row of work again. Without I/O.

A key itself is kept nowhere, so a worker cannot send it. It sends a ticket instead: the key's id and an end, signed
with a secret that gateways and workers share. The gateway then takes the request as that key's, of batch priority, and
with all that holds for the key now: a key that was revoked ends its batches too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from app.gateway.errors import WRONG_KEY, Problem, Refused

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant
    from app.gateway.keys.ring import KeyRing

PREFIX = b"pj-"
SECONDS = 3600
_ROW = re.compile(rb"pjr-([0-9a-f]{32})-([0-9]{1,16})-[0-9]{1,5}")

GONE = Problem(401, "The key that this work was given with is revoked or was removed.", "key_revoked")


def issue(secret: bytes, key_id: str, now: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps([key_id, int(now) + SECONDS]).encode()).rstrip(b"=")
    return f"pj-{payload.decode()}.{_sign(secret, payload).decode()}"


def _sign(secret: bytes, payload: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(secret, b"ticket:" + payload, hashlib.sha256)).rstrip(b"=")


class Tickets:
    """Checks tickets, and knows the grants of the keys that they name."""

    def __init__(self, secret: bytes, ring: KeyRing) -> None:
        self._secret = secret
        self._ring = ring
        self._made: dict[str, tuple[Grant, Grant]] = {}
        """By key id: the key's grant, and the one made of it. Limits count by grant, so there is one for a key."""

    def grant(self, token: bytes) -> Grant:
        """Raises Refused (401, 503)."""
        payload, _, signature = token.removeprefix(PREFIX).partition(b".")
        if not hmac.compare_digest(_sign(self._secret, payload), signature):
            raise Refused(WRONG_KEY)
        try:
            key_id, until = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        except (ValueError, TypeError, binascii.Error):
            raise Refused(WRONG_KEY) from None
        if until <= time.time():
            raise Refused(WRONG_KEY)
        found = self._ring.by_id(key_id)
        if found is None:
            self._made.pop(key_id, None)
            raise Refused(GONE)
        made = self._made.get(key_id)
        if made is None or made[0] is not found:
            made = self._made[key_id] = found, replace(found, priority="batch", job=True, _visible=None)
        return made[1]


def request_id(row: str, first_sent: float, attempt: int) -> str:
    """`row`: 32 hexadecimal digits. `first_sent`: seconds since 1970, the same in each attempt."""
    return f"pjr-{row}-{int(first_sent * 1000)}-{attempt}"


def billed_as(given: bytes, *, paid: bool) -> tuple[str, float] | None:
    """Id and time of the ledger's row for a request of a worker, whose request id is given; None: as any request.

    A row of work that is answered twice, as its first answer was lost with its worker, gets the same id and time both
    times, and the ledger keeps one: its key is the day and the id. An attempt without an answer is not `paid`.
    """
    found = _ROW.fullmatch(given)
    return (found[1].decode(), int(found[2]) / 1000) if found is not None and paid else None
