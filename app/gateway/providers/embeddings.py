"""Embedding models of Amazon Bedrock: a request of OpenAI's as bodies of InvokeModel, and replies as one of OpenAI's.

Pure. Source of names: the Bedrock user guide, "Amazon Titan Text Embeddings models" and "Cohere Embed models".
Texts are never cut: one that is too long is refused, by the provider where not here.
"""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.gateway.account import BYTES_A_TOKEN
from app.gateway.errors import Problem, Refused
from app.gateway.providers.chunks import count
from app.gateway.providers.conversation import Untranslatable
from app.gateway.providers.families import Family, family

MOST_TEXTS = 256
"""In one request: more would make a reply that is too long to be judged whole."""
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")
"""Of Cohere's models, which make another vector for each. OpenAI's API knows none; documents are the default here."""
TOKENS_HEADER = b"x-amzn-bedrock-input-token-count"
"""Sent with every reply of InvokeModel; Cohere's have the count nowhere else."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read."""

    family: Family
    texts: tuple[str, ...]
    dimensions: int
    base64: bool
    input_type: str

    @property
    def parts(self) -> range:
        """Numbers of the calls that it takes."""
        return range(-(-len(self.texts) // self.family.texts))

    def texts_of(self, part: int) -> tuple[str, ...]:
        return self.texts[part * self.family.texts : (part + 1) * self.family.texts]

    def body(self, part: int) -> bytes:
        texts = self.texts_of(part)
        if self.family.maker == "titan":
            content = {"inputText": texts[0], "dimensions": self.dimensions, "normalize": True}
            return msgspec.json.encode(content)
        content = {
            "texts": texts,
            "input_type": self.input_type,
            "truncate": "NONE",
            "embedding_types": ["float"],
        }
        if len(self.family.sizes) > 1:
            content["output_dimension"] = self.dimensions
        return msgspec.json.encode(content)


def read(body: bytes, upstream: str, dimensions: int) -> Asked:
    """A request for embeddings. `dimensions`: the model's own, where the request names none.

    Raises Refused (400), Untranslatable, and ValueError for what is no request at all.
    """
    kind = family(upstream)
    if kind is None:
        raise Untranslatable(f"what `{upstream}` is to be asked")
    content = msgspec.json.decode(body)
    texts = _texts(content.get("input"), kind)
    wanted = content.get("dimensions")
    if wanted is not None and wanted not in kind.sizes:
        raise _wrong("dimensions", f"one of {', '.join(map(str, kind.sizes))} with this model")
    form = content.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise _wrong("encoding_format", "`float` or `base64`")
    input_type = content.get("input_type", INPUT_TYPES[0])
    if input_type not in INPUT_TYPES:
        raise _wrong("input_type", f"one of {', '.join(INPUT_TYPES)}")
    return Asked(kind, texts, wanted or dimensions, form == "base64", input_type)


def _texts(given: Any, kind: Family) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise _wrong("input", "a text or a list of texts")
    if all(isinstance(one, int | list) for one in texts):
        raise Untranslatable("token numbers as `input`: send text")
    if not all(isinstance(one, str) for one in texts):
        raise _wrong("input", "a text or a list of texts")
    if len(texts) > MOST_TEXTS:
        raise _wrong("input", f"at most {MOST_TEXTS} texts with this model; it has {len(texts)}")
    for number, text in enumerate(texts):
        if not text.strip():
            raise _wrong("input", f"texts that are not empty; text {number} is")
        if kind.characters and len(text) > kind.characters:
            message = f"Text {number} of `input` has {len(text)} characters; this model takes {kind.characters}."
            raise Refused(Problem(400, message, "context_length_exceeded", "input"))
    return tuple(texts)


def _wrong(name: str, allowed: str) -> Refused:
    return Refused(Problem(400, f"Invalid value for `{name}`: it must be {allowed}.", "invalid_value", name))


# -- replies --


class _Titan(msgspec.Struct):
    embedding: list[float]
    inputTextTokenCount: Any = None  # noqa: N815 - the provider's name


class _ByType(msgspec.Struct):
    floats: list[list[float]] = msgspec.field(name="float")


class _Cohere(msgspec.Struct):
    embeddings: list[list[float]] | _ByType


_titan = msgspec.json.Decoder(_Titan).decode
_cohere = msgspec.json.Decoder(_Cohere).decode


@dataclass(frozen=True, slots=True)
class Made:
    """What one call gave: a vector for each of its texts, and the tokens that it read."""

    vectors: Sequence[Sequence[float]]
    tokens: int


def made(asked: Asked, part: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Made:
    """One reply. Raises ValueError for one that is none, or whose vectors are not those that were asked for."""
    texts = asked.texts_of(part)
    told: Any = None
    if asked.family.maker == "titan":
        reply = _titan(body)
        vectors, told = [reply.embedding], reply.inputTextTokenCount
    else:
        found = _cohere(body).embeddings
        vectors = found.floats if isinstance(found, _ByType) else found
    if len(vectors) != len(texts):
        raise ValueError(f"{len(vectors)} vectors for {len(texts)} texts")
    for vector in vectors:
        check(vector, asked.dimensions)
    tokens = count(told) or _counted(dict(headers))
    # Without a word of the provider's the tokens are guessed, for what is bought shall not look free.
    return Made(vectors, tokens or sum(max(1, len(text.encode()) // BYTES_A_TOKEN) for text in texts))


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float] | str


class _Reply(msgspec.Struct):
    data: list[_Vector]


class _Request(msgspec.Struct):
    input: Any = None
    dimensions: int | None = None


_reply, _request = msgspec.json.Decoder(_Reply).decode, msgspec.json.Decoder(_Request).decode


def check_reply(reply: bytes, request: bytes, dimensions: int) -> None:
    """A reply in OpenAI's shape to a request in it. Raises ValueError where vectors are missing or of another length.

    `dimensions`: the model's own, where the request names none.
    """
    data, asked = _reply(reply).data, _request(request)
    texts = asked.input
    several = isinstance(texts, list) and not all(isinstance(one, int) for one in texts)
    if sorted(one.index for one in data) != list(range(len(texts) if several else 1)):
        raise ValueError("vectors are missing")
    wanted = asked.dimensions or dimensions
    for one in data:
        length = len(base64.b64decode(one.embedding)) // 4 if isinstance(one.embedding, str) else len(one.embedding)
        if length != wanted:
            raise ValueError(f"a vector has {length} dimensions, not {wanted}")


def check(vector: Sequence[float], dimensions: int) -> None:
    """Raises ValueError for a vector of another length, or without a direction."""
    if len(vector) != dimensions:
        raise ValueError(f"a vector has {len(vector)} dimensions, not {dimensions}")
    if not all(map(math.isfinite, vector)) or not any(vector):
        raise ValueError("a vector has no direction")


def _counted(headers: Mapping[bytes, bytes]) -> int:
    told = headers.get(TOKENS_HEADER, b"")
    return int(told) if told.isdigit() and len(told) < 10 else 0


def whole(asked: Asked, parts: Sequence[Made], model: str) -> bytes:
    """OpenAI's reply, from those of all calls in their order."""
    vectors = [vector for part in parts for vector in part.vectors]
    tokens = sum(part.tokens for part in parts)
    data = [
        {"object": "embedding", "index": index, "embedding": packed(vector) if asked.base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def packed(vector: Sequence[float]) -> str:
    """As OpenAI's clients read it: 32-bit floats, little endian, in base64."""
    numbers = array("f", vector)
    return base64.b64encode(numbers.tobytes()).decode("ascii")
