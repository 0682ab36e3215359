"""All that a gateway knows of who may ask: an API key, or a token, to its grant. Without I/O."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.gateway.config import AdminKey, ApiKey, Limits
from app.gateway.errors import MISSING_KEY, WRONG_KEY, Refused
from app.gateway.keys.grant import NEVER, Grant
from app.gateway.keys.problems import EXPIRED, NOT_LOADED, REVOKED, ROTATED, tenant_disabled

if TYPE_CHECKING:
    from app.gateway.keys.errands import Errands
    from app.gateway.keys.tokens import Tokens
    from app.jobs.ticket import Tickets
    from app.pipelines.authority import Authority

MOST_REVOKED = 10_000
"""Revoked keys that are still known as such; an older one is answered like any wrong key."""
DAY_SECONDS = 86_400
TICKET = b"pj-"
"""How the tickets of workers begin."""
STEP = b"ps-"
"""How the tokens of pipelines' steps begin."""
ERRAND = b"pe-"
"""How those of work begin that goes on after its request."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the database has it."""

    grant: Grant
    digest: bytes
    previous_digest: bytes | None = None
    """The key before the last rotation, which is taken until `previous_until` (Unix time)."""
    previous_until: float = 0.0
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class StoredTenant:
    name: str
    limits: Limits | None
    enabled: bool


class KeyRing:
    """API keys by the SHA-256 of the key.

    The look-up is a hash table's and not constant in time. That is sound: an attacker chooses keys, not their digests,
    so what the timing tells about a digest does not lead to a key.
    """

    def __init__(self, keys: Iterable[ApiKey] = (), admins: Iterable[AdminKey] = ()) -> None:
        self._file: dict[bytes, Grant] = {}
        self._admins: dict[bytes, str] = {}
        self._stored: dict[bytes, Grant] = {}
        self._digests: dict[str, tuple[bytes, ...]] = {}
        """By key id: what it has in `_stored`."""
        self._retiring: dict[bytes, float] = {}
        """Replaced keys, and the Unix time until which they are taken."""
        self._revoked: dict[bytes, Grant] = {}
        self._disabled: frozenset[str] = frozenset()
        self.tenants: dict[str, StoredTenant] = {}
        self.loaded = True
        """False until the database was read for the first time, where there is one."""
        self.tokens: Tokens | None = None
        """None where no issuer is configured."""
        self.tickets: Tickets | None = None
        """None where there are no jobs."""
        self.steps: Authority | None = None
        """None where there are no pipelines."""
        self.errands: Errands | None = None
        """None where there is no retrieval."""
        self.used: set[str] = set()
        """Stored keys that were used for the first time on a day, since this was emptied."""
        self.take_file(keys, admins)

    def __len__(self) -> int:
        return len(self._file) + len(self._digests)

    @property
    def stored(self) -> int:
        return len(self._digests)

    @property
    def has_admins(self) -> bool:
        return bool(self._admins)

    def take_file(self, keys: Iterable[ApiKey], admins: Iterable[AdminKey]) -> None:
        self._file = {bytes.fromhex(key.sha256): Grant.of(key.id, key) for key in keys}
        self._admins = {bytes.fromhex(admin.sha256): admin.id for admin in admins}

    def authenticate(self, authorization: bytes | None, *, last: bool = False) -> Grant:
        """Whose an `Authorization` header is. Raises Refused (401, 403, 503), and UnknownSignerError unless `last`."""
        token = _bearer(authorization)
        digest = hashlib.sha256(token).digest()
        grant = self._file.get(digest) or self._stored.get(digest)
        if grant is None:
            if self.tickets is not None and token.startswith(TICKET):
                grant = self.tickets.grant(token)
            elif self.steps is not None and token.startswith(STEP):
                grant = self.steps.grant(token)
            elif self.errands is not None and token.startswith(ERRAND):
                grant = self.errands.grant(token)
            elif self.tokens is not None and token.count(b".") == 2:
                grant = self.tokens.grant(digest, token, last=last)
            elif digest in self._revoked:
                raise Refused(REVOKED)
            else:
                raise Refused(WRONG_KEY if self.loaded else NOT_LOADED)
        now = time.time()
        if grant.barred is not None:
            raise Refused(grant.barred)
        if grant.expires_at <= now:
            raise Refused(EXPIRED)
        if self._retiring and self._retiring.get(digest, NEVER) <= now:
            raise Refused(ROTATED)
        if self._disabled and grant.tenant in self._disabled:
            raise Refused(tenant_disabled(grant.tenant))
        if grant.stored and grant.used_day != (day := int(now // DAY_SECONDS)):
            grant.used_day = day
            self.used.add(grant.id)
        return grant

    def by_id(self, identity: str) -> Grant | None:
        """What the key of this id may do; None where there is none, or no more. Raises Refused (503)."""
        if (digests := self._digests.get(identity)) is not None:
            return self._stored.get(digests[0])
        found = next((grant for grant in self._file.values() if grant.id == identity), None)
        if found is None and not self.loaded:
            raise Refused(NOT_LOADED)
        return found

    def admin(self, authorization: bytes | None) -> str | None:
        """The actor whose admin key this is; None for any other key. Raises Refused (401) where there is no key."""
        return self._admins.get(hashlib.sha256(_bearer(authorization)).digest())

    def admin_of(self, digest: bytes) -> str | None:
        """The actor whose admin key has this SHA-256."""
        return self._admins.get(digest)

    # -- from the database --

    def take_stored(self, keys: Iterable[StoredKey]) -> None:
        """Takes over keys that are new or changed."""
        for key in keys:
            identity = key.grant.id
            for digest in self._digests.pop(identity, ()):
                old = self._stored.pop(digest, None)
                self._retiring.pop(digest, None)
                if old is not None:
                    key.grant.used_day = old.used_day
            if key.revoked:
                self._revoked[key.digest] = key.grant
                if len(self._revoked) > MOST_REVOKED:
                    del self._revoked[next(iter(self._revoked))]
                continue
            digests = [key.digest]
            if key.previous_digest is not None:
                digests.append(key.previous_digest)
                self._retiring[key.previous_digest] = key.previous_until
            for digest in digests:
                self._stored[digest] = key.grant
            self._digests[identity] = tuple(digests)

    def keep_only(self, ids: set[str]) -> None:
        """Forgets stored keys that are not in the database any more."""
        for identity in self._digests.keys() - ids:
            for digest in self._digests.pop(identity):
                self._stored.pop(digest, None)
                self._retiring.pop(digest, None)

    def take_tenants(self, tenants: Mapping[str, StoredTenant]) -> None:
        """Takes over the whole set."""
        self.tenants = dict(tenants)
        self._disabled = frozenset(name for name, tenant in tenants.items() if not tenant.enabled)


def _bearer(authorization: bytes | None) -> bytes:
    if not authorization:
        raise Refused(MISSING_KEY)
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Refused(MISSING_KEY)
    return token
