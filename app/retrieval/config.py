"""What clients may ask of retrieval, and how documents are cut and searched."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from app.gateway.strict import Name, Strict


class RetrievalConfig(Strict):
    model: Name = Field(description="The model or alias that makes embeddings; a collection keeps it until re-indexed.")
    language: str = Field(
        default="english",
        pattern=r"^[a-z]{2,30}$",
        description="PostgreSQL's text search configuration of new collections; `simple` for mixed languages.",
    )
    chunk_tokens: int = Field(default=300, ge=32, le=4000, description="Largest passage, in tokens of 4 bytes.")
    overlap_tokens: int = Field(default=40, ge=0, le=1000, description="Repeated between two passages of a section.")
    max_document_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, description="Largest document, in bytes.")
    max_text_characters: int = Field(default=2_000_000, ge=1000, description="Most text of one document.")
    max_documents: int = Field(default=10_000, ge=1, le=10_000_000, description="Documents of one collection.")
    max_collections: int = Field(default=100, ge=1, le=100_000, description="Collections of one tenant.")
    extract_seconds: float = Field(default=20.0, gt=0, le=300, description="To read one PDF or HTML document.")
    extract_memory_mib: int = Field(default=512, ge=128, le=8192, description="Memory for that, in a process apart.")
    max_extractions: int = Field(default=2, ge=1, le=64, description="Documents read at once by one gateway.")
    embed_batch: int = Field(default=32, ge=1, le=1024, description="Passages in one request for embeddings.")
    embed_seconds: float = Field(default=30.0, gt=0, le=600, description="For one such request.")
    search_seconds: float = Field(default=5.0, gt=0, le=60, description="For one search in the database.")
    candidates: int = Field(default=60, ge=10, le=1000, description="Passages that each way of search hands on.")

    @model_validator(mode="after")
    def overlap_fits(self) -> Self:
        if self.overlap_tokens * 2 > self.chunk_tokens:
            raise ValueError(
                f"retrieval.overlap_tokens: {self.overlap_tokens} is too large; allowed: half of chunk_tokens, "
                f"{self.chunk_tokens // 2}, or less"
            )
        return self
