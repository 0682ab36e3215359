"""Tokens of an OpenID Connect issuer: checked once, then known by their digest until they expire.

joserfc checks them: the lock file has it anyway, it takes an explicit list of algorithms, and builds on `cryptography`.
Its import takes 20 MB: this module is loaded only where an issuer is configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from prometheus_client import CollectorRegistry, Counter, Gauge

from app.gateway.config import Priority, Route
from app.gateway.errors import Refused
from app.gateway.keys.grant import Grant
from app.gateway.keys.problems import EXPIRED, NO_ISSUER, UnknownSignerError, bad_token

if TYPE_CHECKING:
    from app.gateway.config import Jwt
    from app.gateway.log import Log

MOST_TOKENS = 10_000
MOST_TOKEN_BYTES = 8 * 1024
MOST_JWKS_BYTES = 256 * 1024
FETCH_SECONDS = 3.0
RETRY_SECONDS = 5.0
"""After a failed read of the keys; they are kept meanwhile."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_SUBJECT = re.compile(r"[\x21-\x7e]{1,128}")


class Tokens:
    """Checks tokens against the issuer's keys, and keeps those keys up to date."""

    def __init__(self, settings: Jwt, registry: CollectorRegistry, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._keys: KeySet | None = None
        self._kids: frozenset[str] = frozenset()
        self._prints: frozenset[str] = frozenset()
        self._known: dict[bytes, tuple[float, Grant]] = {}
        """Digest of a token -> its end (Unix time, with the skew) and what it may."""
        self._grants: dict[tuple[Any, ...], Grant] = {}
        """One grant for all tokens that say the same, so that their limits are one plan."""
        self._waiting: list[Callable[[], None]] = []
        self._wanted = asyncio.Event()
        self._read_at = float("-inf")
        self._failed = ""
        self.checked = Counter("penstock_tokens_checked", "Tokens checked, by outcome.", ["outcome"], registry=registry)
        self.up = Gauge("penstock_jwks_up", "1 when the issuer's keys were read last time.", registry=registry)

    def state(self) -> dict[str, Any]:
        """For /readyz and /debug."""
        return {"signing_keys": len(self._kids), "known_tokens": len(self._known), "reason": self._failed or None}

    # -- on the hot path --

    def grant(self, digest: bytes, token: bytes, *, last: bool) -> Grant:
        """What a token may. Raises Refused (401); UnknownSignerError where the issuer may have a new key."""
        found = self._known.get(digest)
        if found is not None:
            if found[0] > time.time():
                return found[1]
            del self._known[digest]
            raise Refused(EXPIRED)
        try:
            ends, grant = self._check(token, last=last)
        except UnknownSignerError:
            raise
        except Refused as refused:
            self.checked.labels(refused.problem.code or "invalid_token").inc()
            raise
        self.checked.labels("ok").inc()
        if len(self._known) >= MOST_TOKENS:
            del self._known[next(iter(self._known))]
        self._known[digest] = (ends, grant)
        return grant

    def when_refreshed(self, done: Callable[[], None]) -> None:
        """Calls `done` once the issuer's keys were read again, or could not be: within FETCH_SECONDS."""
        self._waiting.append(done)
        self._wanted.set()

    def _may_ask(self) -> bool:
        """Unknown keys cause at most one read in the floor's time, however many tokens name them."""
        floor = self._settings.refresh_floor_seconds
        return self._wanted.is_set() or time.monotonic() - self._read_at >= floor

    def _check(self, token: bytes, *, last: bool) -> tuple[float, Grant]:
        if len(token) > MOST_TOKEN_BYTES:
            raise Refused(bad_token(f"it is longer than {MOST_TOKEN_BYTES} bytes"))
        header = _header(token)
        if header.get("alg") not in self._settings.algorithms:
            allowed = ", ".join(self._settings.algorithms)
            raise Refused(bad_token(f"its algorithm is not one of {allowed}"))
        kid = header.get("kid")
        if self._keys is None or (kid is not None and kid not in self._kids):
            if not last and self._may_ask():
                raise UnknownSignerError
            if self._keys is None:
                raise Refused(NO_ISSUER)
            reason = "its signing key is not one of the issuer's"
            raise Refused(bad_token(reason, "unknown_signing_key"))
        try:
            signed = jws.deserialize_compact(token, self._key, algorithms=list(self._settings.algorithms))
            claims = json.loads(signed.payload)
        except (JoseError, ValueError, TypeError, RecursionError):
            raise Refused(bad_token("its signature does not fit")) from None
        if not isinstance(claims, dict):
            raise Refused(bad_token("its claims are not an object"))
        return self._ends(claims), self._grant_of(claims)

    def _key(self, signed: Any) -> Any:
        """The key that the header names; without a name only where there is one key alone."""
        keys = self._keys
        kid = signed.headers().get("kid")
        if keys is None or (kid is None and len(keys.keys) != 1):
            raise ValueError("no such key")
        return keys.keys[0] if kid is None else keys.get_by_kid(kid)

    def _ends(self, claims: Mapping[str, Any]) -> float:
        """Unix time until which the token is taken. Raises Refused."""
        settings, now = self._settings, time.time()
        skew = settings.clock_skew_seconds
        if claims.get("iss") != settings.issuer:
            raise Refused(bad_token("it is of another issuer"))
        audience = claims.get("aud")
        given = audience if isinstance(audience, list) else [audience]
        if not any(one in settings.audience for one in given if isinstance(one, str)):
            raise Refused(bad_token("it is for another audience"))
        ends = claims.get("exp")
        if ends is None or not _is_time(ends):
            raise Refused(bad_token("it has no `exp`"))
        if ends + skew <= now:
            raise Refused(EXPIRED)
        for name in ("nbf", "iat"):
            value = claims.get(name)
            if value is not None and (not _is_time(value) or value - skew > now):
                raise Refused(bad_token(f"its `{name}` is in the future"))
        return float(ends) + skew

    def _grant_of(self, claims: Mapping[str, Any]) -> Grant:
        settings = self._settings
        subject = claims.get(settings.subject_claim)
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise Refused(bad_token(f"its claim `{settings.subject_claim}` is not a name"))
        tenant = claims.get(settings.tenant_claim, settings.default_tenant)
        if not isinstance(tenant, str) or not _NAME.fullmatch(tenant):
            raise Refused(bad_token(f"its claim `{settings.tenant_claim}` is not a tenant's name"))
        priority: Any = claims.get(settings.priority_claim, "interactive") if settings.priority_claim else "interactive"
        if priority not in get_args(Priority):
            raise Refused(bad_token(f"its claim `{settings.priority_claim}` is not interactive or batch"))
        given = claims.get(settings.scopes_claim)
        scopes = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
        scopes = [one for one in scopes if isinstance(one, str)]
        if settings.required_scope is not None and settings.required_scope not in scopes:
            raise Refused(bad_token(f"it has not the scope `{settings.required_scope}`", "missing_scope"))
        models = frozenset(one.removeprefix("model:") for one in scopes if one.startswith("model:")) or None
        routes = frozenset(one.removeprefix("route:") for one in scopes if one.startswith("route:"))
        content = (subject, tenant, priority, models, routes)
        found = self._grants.get(content)
        if found is None:
            if len(self._grants) >= MOST_TOKENS:
                self._grants.clear()
            # A route that does not exist opens nothing, and is not the same as no route at all.
            known = routes & frozenset(get_args(Route)) if routes else None
            found = self._grants[content] = Grant(
                f"jwt:{subject}", tenant, priority, settings.limits, models=models, routes=known
            )
        return found

    # -- in the background --

    async def run(self) -> None:
        while True:
            await self._read()
            rest = self._settings.refresh_seconds if not self._failed else RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):  # wait_for of 3.11 can lose a cancellation
                    await self._wanted.wait()

    async def _read(self) -> None:
        try:
            found = KeySet.import_key_set(await _fetch(self._settings.jwks_url))
            if not found.keys:
                raise ValueError("there is no key in it")
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - what another server sends must not end this loop
            self._tell(f"{type(error).__name__}: {error}"[:200])
        else:
            prints = frozenset(key.thumbprint() for key in found.keys)
            if self._prints - prints:
                self._known.clear()  # an issuer that withdrew a key withdrew what is signed with it
            self._keys, self._prints = found, prints
            self._kids = frozenset(key.kid for key in found.keys if key.kid)
            self._tell("")
        finally:
            self._read_at = time.monotonic()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done()

    def _tell(self, failed: str) -> None:
        self.up.set(0 if failed else 1)
        if failed != self._failed or self._read_at == float("-inf"):
            self._log.event("jwks", read=not failed, **({"reason": failed} if failed else {"keys": len(self._kids)}))
        self._failed = failed


async def _fetch(url: str) -> Any:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
        session.get(url, allow_redirects=False, headers={"accept": "application/json"}) as reply,
    ):
        if reply.status != 200:
            raise ValueError(f"it answered {reply.status}")
        content = await reply.content.read(MOST_JWKS_BYTES + 1)
        while not reply.content.at_eof() and len(content) <= MOST_JWKS_BYTES:
            content += await reply.content.read(MOST_JWKS_BYTES + 1 - len(content))
        if len(content) > MOST_JWKS_BYTES:
            raise ValueError(f"it is longer than {MOST_JWKS_BYTES} bytes")
        return json.loads(content)


def _header(token: bytes) -> Mapping[str, Any]:
    """The token's header, not checked. Raises Refused."""
    from joserfc.util import urlsafe_b64decode

    try:
        header = json.loads(urlsafe_b64decode(token.partition(b".")[0]))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("alg"), str):
        raise Refused(bad_token("its header cannot be read"))
    if not isinstance(header.get("kid", ""), str):
        raise Refused(bad_token("its header's `kid` is not text"))
    return header


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
