"""What a client's headers and the settings say about the cache, without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.gateway.errors import Problem, Refused

if TYPE_CHECKING:
    from app.gateway.cache.settings import CacheConfig, Sampled

OWN_VALUES = ("no-store", "refresh", "only", "allow")
MOST_AGE_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Wish:
    """`only`: no engine is to be asked. `allow`: an answer that was drawn at random may be used again."""

    read: bool = True
    store: bool = True
    only: bool = False
    allow: bool = False
    max_age: float | None = None
    """Oldest answer that will do, in seconds."""


NOTHING_ASKED = Wish()


def read_wish(headers: Iterable[tuple[bytes, bytes]]) -> Wish:
    """From `x-penstock-cache` and `Cache-Control` (RFC 9111; directives that mean nothing here are left out).

    Raises Refused (400) for a value of the former that is not known.
    """
    read = store = True
    only = allow = False
    max_age: float | None = None
    for name, value in headers:
        for part in value.decode("latin-1").lower().split(","):
            word, _, number = part.strip().partition("=")
            if name == b"x-penstock-cache" and word not in OWN_VALUES:
                message = f"Invalid value for the header `x-penstock-cache`: it may be {', '.join(OWN_VALUES)}."
                raise Refused(Problem(400, message, "invalid_cache_header"))
            if word == "no-store":
                read = store = False
            elif word in ("refresh", "no-cache"):
                read = False
            elif word in ("only", "only-if-cached"):
                only = True
            elif word == "allow":
                allow = True
            elif word == "max-age":
                digits = number.strip('"')
                # What cannot be read counts as stale (RFC 9111, 4.2.1).
                fine = digits.isascii() and digits.isdigit() and len(digits) <= MOST_AGE_DIGITS
                max_age = float(digits) if fine else 0.0
    return Wish(read, store, only, allow, max_age)


@dataclass(frozen=True, slots=True)
class Policy:
    exact: bool
    sampled: Sampled
    tools: bool
    semantic: bool
    ttl_seconds: int

    def takes(self, wish: Wish, *, sampled: bool) -> bool:
        """Whether a request may use the exact cache."""
        return self.exact and (not sampled or self.sampled == "always" or (self.sampled == "asked" and wish.allow))


def resolve(config: CacheConfig, model: str, tenant: str, key: str) -> Policy:
    """The policy of one key's requests to a model: what is said last counts, of all, model, tenant and key."""
    said = {name: getattr(config, name) for name in ("exact", "sampled", "tools", "semantic", "ttl_seconds")}
    for part in (config.models.get(model), config.tenants.get(tenant), config.keys.get(key)):
        if part is not None:
            said |= part.model_dump(exclude_none=True)
    return Policy(**said)
