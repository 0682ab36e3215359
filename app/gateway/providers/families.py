"""Embedding models of Amazon Bedrock that the gateway knows how to ask. Pure, and imported by the settings.

Source of ids and bounds: the Bedrock user guide, "Amazon Titan Text Embeddings models" and "Cohere Embed models".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Family:
    """Models that are asked alike."""

    maker: Literal["titan", "cohere"]
    ids: re.Pattern[str]
    sizes: tuple[int, ...]
    """Dimensions that a vector may have."""
    texts: int
    """At most in one call."""
    characters: int
    """At most in one text; 0: no bound but the model's tokens."""


_PROFILE = r"(?:[a-z]+(?:-[a-z]+)?\.)?"
FAMILIES = (
    Family("titan", re.compile(_PROFILE + r"amazon\.titan-embed-text-v2(:\d+)?"), (256, 512, 1024), 1, 50_000),
    Family("cohere", re.compile(_PROFILE + r"cohere\.embed-(english|multilingual)-v3(:\d+)?"), (1024,), 96, 2048),
    Family("cohere", re.compile(_PROFILE + r"cohere\.embed-v4(:\d+)?"), (256, 512, 1024, 1536), 96, 0),
)
KNOWN = "amazon.titan-embed-text-v2, cohere.embed-english-v3, cohere.embed-multilingual-v3, cohere.embed-v4"


def family(upstream: str) -> Family | None:
    """Of a model's or inference profile's id; None for what makes no embeddings, or none that are known here."""
    return next((one for one in FAMILIES if one.ids.fullmatch(upstream)), None)


def faults(kind: str, upstream: str, dimensions: int | None) -> Iterator[tuple[str, str]]:
    """What does not fit together in a model at a provider of that kind: the field, and why."""
    if kind == "anthropic" and dimensions is not None:
        yield "embedding_dimensions", "an `anthropic` provider makes no embeddings"
    if kind != "bedrock":
        return
    known = family(upstream)
    if dimensions is None:
        if known is not None:
            yield "embedding_dimensions", f"`{upstream}` makes embeddings; allowed: {_listed(known.sizes)}"
    elif known is None:
        yield "embedding_dimensions", f"`{upstream}` is asked for chats alone; embeddings are known of {KNOWN}"
    elif dimensions not in known.sizes:
        yield "embedding_dimensions", f"{dimensions} is not allowed; allowed: {_listed(known.sizes)}"


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
