"""One form for all requests that must get the same answer, and the key that it gives. No I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

ROUTES = frozenset({"chat", "completions", "embeddings"})
UNHEARD = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "priority",
        "request_id",
    }
)
"""Fields that do not change an answer. `model` may be an alias: the key has the model's own name instead."""

Json = dict[str, Any]
_decode = msgspec.json.Decoder(Json).decode
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Scope:
    """Who may get the answer, and what it depends on beside the request."""

    tenant: str
    model: str
    revision: str
    """Engine and weights."""
    tools: bool = False
    """Answers with tool calls are kept."""

    def tag(self) -> bytes:
        return b"%b:%b" % (tag(self.tenant), tag(self.model))


@lru_cache(maxsize=4096)
def tag(name: str) -> bytes:
    """A short hash of a name, for names of keys: a tenant's name may hold what is special in a pattern."""
    return hashlib.sha256(name.encode()).hexdigest()[:16].encode()


@lru_cache(maxsize=4096)
def _prefix(route: str, scope: Scope) -> bytes:
    # Each part has its length before it, so that no two lists of parts look the same.
    parts = (route, scope.tenant, scope.model, scope.revision, "tools" if scope.tools else "")
    return b"".join(b"%d:%b," % (len(part.encode()), part.encode()) for part in parts)


def normalise(body: bytes) -> Json | None:
    """The fields that make the answer. None for a body that cannot be brought into the form: it is not cached.

    Null is taken for absent, 1.0 for 1, and one choice (`n`) for none named. The order of fields goes for the request's
    own and for each message's; deeper it stays, as a chat template writes out a tool's schema in the order given.
    """
    try:
        content = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    fields: Json = {}
    for name in sorted(content):
        value = content[name]
        if value is None or name in UNHEARD:
            continue
        if type(value) is float and value.is_integer():
            value = int(value)
        fields[name] = value
    if fields.get("n") == 1:
        del fields["n"]
    messages = fields.get("messages")
    if type(messages) is list:
        fields["messages"] = [
            dict(sorted(message.items())) if type(message) is dict else message for message in messages
        ]
    return fields


def digest(route: str, scope: Scope, fields: Json) -> bytes | None:
    """SHA-256 of scope and normalised request; None where they cannot be written (a lone surrogate)."""
    try:
        return hashlib.sha256(_prefix(route, scope) + _encode(fields)).digest()
    except (msgspec.EncodeError, UnicodeEncodeError, RecursionError):
        return None


def is_sampled(route: str, fields: Json) -> bool:
    """True unless the request says `temperature: 0`: vLLM's and OpenAI's default is 1. Embeddings are not drawn."""
    temperature = fields.get("temperature")
    zero = type(temperature) in (int, float) and temperature == 0
    return route != "embeddings" and not zero


class _Options(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None


_decode_options = msgspec.json.Decoder(_Options | None).decode


def usage_asked(stream_options: bytes | None) -> bool | None:
    """Whether a stream is to end with its usage; None where its options ask for more than that."""
    if stream_options is None:
        return False
    try:
        options = _decode_options(stream_options)
    except (msgspec.DecodeError, RecursionError):
        return None
    return options is not None and bool(options.include_usage)
