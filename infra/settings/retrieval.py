"""Settings of retrieval."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from infra.settings.kinds import Decimal, Strict, Truth, Whole


class Retrieval(Strict):
    enabled: Truth = Field(description="Documents to search, and answers that rest on them, at the gateways.")
    model: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        description="Model, alias or route that makes embeddings of new collections; null only where it is off."
    )
    language: str = Field(
        pattern=r"^[a-z]{2,30}$", description="PostgreSQL's text search configuration, such as `english` or `simple`."
    )
    chunk_tokens: Whole = Field(ge=32, le=4000, description="Largest passage, in tokens of 4 bytes.")
    overlap_tokens: Whole = Field(ge=0, le=1000, description="Repeated between two passages; half a passage at most.")
    max_document_mib: Whole = Field(ge=1, le=64, description="Largest document.")
    max_documents: Whole = Field(ge=1, le=10_000_000, description="Documents of one collection.")
    max_collections: Whole = Field(ge=1, le=100_000, description="Collections of one tenant.")
    extract_seconds: Decimal = Field(ge=0.1, le=300, description="To read one PDF or HTML document.")
    extract_memory_mib: Whole = Field(ge=128, le=8192, description="Address space of the process that reads it.")
