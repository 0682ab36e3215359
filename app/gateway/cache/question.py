"""From a normalised chat request to what the semantic cache compares. No I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from app.gateway.cache.facts import LONGEST_TEXT, Facts, read_facts
from app.gateway.cache.normal import Json, Scope, digest

NOT_WITH = ("tools", "functions", "logprobs", "n", "stop", "logit_bias", "guided_json", "structured_outputs")
"""Requests with these ask for more than an answer in words."""


@dataclass(slots=True)
class Question:
    text: str
    context: bytes
    """SHA-256 of all else that makes the answer: tenant, model, revision, earlier messages, parameters."""
    facts: Facts
    embedding: list[float] | None = None
    refused: bool = False
    """True where the embedder failed, or rests after failures: it is left alone."""


def read_question(route: str, scope: Scope, fields: Json, vectors: str) -> Question | None:
    """None for a request whose last message is not plain text of a user. `vectors`: who makes what is compared."""
    messages = fields.get("messages")
    if route != "chat" or type(messages) is not list or not messages or any(name in fields for name in NOT_WITH):
        return None
    last = messages[-1]
    if type(last) is not dict or last.get("role") != "user" or not last.keys() <= {"role", "content", "name"}:
        return None
    text = _text(last.get("content"))
    if text is None or not 0 < len(text.strip()) <= LONGEST_TEXT:
        return None
    others = {**fields, "messages": [*messages[:-1], {**last, "content": None}]}
    context = digest(f"semantic:{vectors}", scope, others)
    if context is None:
        return None
    secret = hashlib.sha256(scope.tenant.encode()).digest()
    return Question(text, context, read_facts(text, secret))


def _text(content: object) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            return None
        parts.append(part["text"])
    return "\n".join(parts)


class _One(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_One]


_decode = msgspec.json.Decoder(_Embeddings).decode
MOST_DIMENSIONS = 16_000
"""pgvector's own bound."""


def read_embedding(reply: bytes) -> list[float] | None:
    """The one vector of an embeddings reply; None where there is none, or only zeros, which are like nothing."""
    try:
        data = _decode(reply).data
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        return None
    if len(data) != 1 or not 0 < len(data[0].embedding) <= MOST_DIMENSIONS or not any(data[0].embedding):
        return None
    return data[0].embedding
