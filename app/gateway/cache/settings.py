"""The caches' settings, part of the gateway's."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from app.gateway.strict import Name, Strict

Sampled = Literal["never", "asked", "always"]
Guard = Literal["strict", "words", "facts"]
LONGEST_TTL_SECONDS = 30 * 86400


class CachePolicy(Strict):
    """What a model, tenant or key may have from the cache. What is not set follows the wider policy."""

    exact: bool | None = Field(default=None, description="Answers are kept and used again.")
    sampled: Sampled | None = Field(default=None, description="Answers of a temperature above 0.")
    tools: bool | None = Field(default=None, description="Answers that end in tool calls.")
    semantic: bool | None = Field(default=None, description="Answers of requests that mean the same.")
    ttl_seconds: int | None = Field(default=None, ge=1, le=LONGEST_TTL_SECONDS, description="How long one is kept.")


class SemanticCache(Strict):
    """Answers by meaning, in PostgreSQL with pgvector."""

    model: Name = Field(description="The model of this gateway that makes embeddings.")
    threshold: float = Field(default=0.95, ge=0.5, le=1, description="Least cosine similarity of two questions.")
    guard: Guard = Field(
        default="strict",
        description="`facts`: numbers, dates, names and negations must be the same; `words`: one question has all "
        "words of the other, in order; `strict`: they differ by fillers alone.",
    )
    lookup_seconds: float = Field(
        default=0.15, gt=0, le=5, description="For embedding and look-up; beyond it the request goes to an engine."
    )
    ttl_seconds: int = Field(default=86400, ge=1, le=LONGEST_TTL_SECONDS, description="How long an answer is kept.")
    max_answers: int = Field(
        default=2000, ge=1, le=100_000, description="Answers kept of one tenant, model and conversation before it."
    )


class CacheConfig(Strict):
    """Answers that are used again. All of it belongs to one tenant: nobody gets another tenant's answer."""

    enabled: bool = Field(default=False, description="False: every request goes to an engine.")
    exact: bool = Field(default=True, description="Answers are kept in Redis and used again.")
    sampled: Sampled = Field(
        default="asked",
        description="Answers of a temperature above 0: never kept, only where the client asks for it, or always.",
    )
    tools: bool = Field(default=False, description="Answers that end in tool calls are kept too.")
    semantic: bool = Field(default=False, description="Requests may get the answer of one that means the same.")
    ttl_seconds: int = Field(default=3600, ge=1, le=LONGEST_TTL_SECONDS, description="How long an answer is kept.")
    stale_seconds: int = Field(
        default=0,
        ge=0,
        le=LONGEST_TTL_SECONDS,
        description="Kept so much longer for routes that fall back to a kept answer when all models fail.",
    )
    models: dict[Name, CachePolicy] = Field(default={}, description="By model; counts over the above.")
    tenants: dict[Name, CachePolicy] = Field(default={}, description="By tenant; counts over the model's.")
    keys: dict[Name, CachePolicy] = Field(default={}, description="By a key's id; counts over the tenant's.")
    revisions: dict[Name, str] = Field(
        default={},
        description="By model: engine and weights. Answers of another revision are not used; without it: the colour.",
    )
    lookup_seconds: float = Field(
        default=0.03, gt=0, le=1, description="For Redis to answer; beyond it the request goes to an engine."
    )
    max_request_bytes: int = Field(
        default=128 * 1024, ge=1024, le=8 * 1024 * 1024, description="A longer request is not looked up."
    )
    max_answer_bytes: int = Field(
        default=256 * 1024, ge=1024, le=8 * 1024 * 1024, description="A longer answer is not kept."
    )
    max_memory_share: float = Field(
        default=0.5, gt=0, le=1, description="Nothing is kept while Redis uses more of its memory than this."
    )
    max_followers: int = Field(
        default=100, ge=0, le=10_000, description="Identical requests that share one under way; 0: each goes alone."
    )
    semantic_cache: SemanticCache | None = Field(default=None, description="Settings of `semantic`; needs them.")

    @model_validator(mode="after")
    def semantic_has_settings(self) -> Self:
        policies = (*self.models.values(), *self.tenants.values(), *self.keys.values())
        if self.semantic_cache is None and (self.semantic or any(policy.semantic for policy in policies)):
            raise ValueError("cache: `semantic` is true somewhere, but there is no `semantic_cache`")
        return self
