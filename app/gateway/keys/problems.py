"""What a client is told about its key. Each says what is wrong, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable

from app.gateway.errors import NO_RETRY, Problem, retry_after

PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
    "tokenize": "/v1/tokenize",
    "detokenize": "/v1/detokenize",
    "files": "/v1/files",
    "batches": "/v1/batches",
    "jobs": "/v1/jobs",
    "retrieval": "/v1/retrieval",
}
MOST_NAMED = 20
"""Names in one message."""
_INVALID = ((b"www-authenticate", b'Bearer error="invalid_token"'),)

REVOKED = Problem(
    401, "This API key was revoked. Ask the operator of this gateway for a new one.", "key_revoked", headers=_INVALID
)
EXPIRED = Problem(
    401, "This API key has expired. Ask the operator of this gateway for a new one.", "key_expired", headers=_INVALID
)
ROTATED = Problem(401, "This API key was replaced by a newer one. Use that one.", "key_rotated", headers=_INVALID)
DISABLED = Problem(
    401, "This API key is disabled. The operator of this gateway can enable it.", "key_disabled", headers=_INVALID
)
UNREADABLE = Problem(
    503,
    "The settings of this API key cannot be read; its operator must correct them.",
    "key_unreadable",
    headers=(NO_RETRY,),
)
NOT_LOADED = Problem(
    503,
    "The keys have not been read from the database yet, and this one is not in the key file. Try again in 2 s.",
    "keys_unavailable",
    headers=retry_after(),
)
NO_ISSUER = Problem(
    503,
    "The issuer of this token does not answer, so it cannot be checked. Try again in 2 s.",
    "issuer_unavailable",
    headers=retry_after(),
)


class UnknownSignerError(Exception):
    """A token is signed with a key that the issuer was not seen to have: it is to be asked, once."""


def tenant_disabled(name: str) -> Problem:
    return Problem(403, f"The tenant `{name}` is disabled. Ask the operator of this gateway.", "tenant_disabled")


def model_not_allowed(name: str, allowed: Iterable[str]) -> Problem:
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    return Problem(
        403, f"This API key may not use the model `{shown}`; {_allowed(allowed)}.", "model_not_allowed", "model"
    )


def route_not_allowed(route: str, allowed: Iterable[str]) -> Problem:
    named = _allowed(PATHS[one] for one in allowed)
    return Problem(403, f"This API key may not use {PATHS[route]}; {named}.", "route_not_allowed")


def bad_token(reason: str, code: str = "invalid_token") -> Problem:
    """`reason` is ours, and never holds the token."""
    return Problem(401, f"The token is not valid: {reason}.", code, headers=_INVALID)


def _allowed(names: Iterable[str]) -> str:
    found = sorted(names)
    if not found:
        return "it may use none of those served here"
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"it may use {', '.join(f'`{one}`' for one in found[:MOST_NAMED])}{more}"
