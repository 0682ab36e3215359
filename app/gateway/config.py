"""The gateway's settings: the one definition. The Pulumi program builds this very object and renders it to a ConfigMap.

Secrets are not in here. The keys file (`KeyFile`) comes from a Kubernetes Secret and holds hashes only.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Colour = Literal["blue", "green"]
Priority = Literal["interactive", "batch"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Strict):
    """What one key, tenant or model, or all together, may use. What is not set is not limited."""

    requests_per_second: float | None = Field(default=None, gt=0, le=1_000_000, description="Requests a second.")
    requests_per_minute: float | None = Field(default=None, gt=0, le=60_000_000, description="Requests a minute.")
    burst_requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Requests that may come at once. Without it: those of one second, or of ten under a minute's rate.",
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, le=10_000_000_000, description="Prompt and output tokens a minute, one minute's saved up."
    )
    concurrent_requests: int | None = Field(default=None, ge=1, le=1_000_000, description="Requests under way.")
    usd_per_day: float | None = Field(default=None, gt=0, le=1_000_000, description="Money a day (UTC).")
    usd_per_month: float | None = Field(default=None, gt=0, le=1_000_000, description="Money a calendar month (UTC).")


class ModelRoute(Strict):
    """One model that clients may name, and the engine pods that serve it."""

    name: Name = Field(description="The name that clients send as `model`, and the engines' served model name.")
    aliases: tuple[Name, ...] = Field(default=(), description="Other names for the same model.")
    selector: str = Field(description="Label selector of the engine pods, in the gateway's namespace.")
    port: int = Field(default=8000, ge=1, le=65535, description="The engines' HTTP port.")
    context_tokens: int = Field(
        ge=1, description="The engines' --max-model-len: prompt and output together, in tokens."
    )
    max_output_tokens: int = Field(ge=1, description="Ceiling for max_tokens of one request, in tokens.")
    input_usd_per_million_tokens: float = Field(default=0.0, ge=0, description="What a million prompt tokens cost.")
    output_usd_per_million_tokens: float = Field(default=0.0, ge=0, description="What a million output tokens cost.")
    limits: Limits | None = Field(default=None, description="What all clients together may use of this model.")


class Timeouts(Strict):
    connect_seconds: float = Field(default=1.0, gt=0, description="To open a connection to an engine.")
    first_byte_seconds: float = Field(default=60.0, gt=0, description="From the request to an engine's first byte.")
    between_bytes_seconds: float = Field(default=30.0, gt=0, description="Longest silence inside an answer.")
    total_seconds: float = Field(default=600.0, gt=0, description="For one request, retries included.")
    idle_connection_seconds: float = Field(
        default=4.0, gt=0, description="Pooled connections are dropped after this; vLLM closes idle ones after 5 s."
    )


class Retries(Strict):
    attempts: int = Field(default=3, ge=1, le=10, description="Engines tried for one request, before the first byte.")
    budget_ratio: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Retries allowed as a share of recent requests, so that an outage is not doubled.",
    )


class Resume(Strict):
    """A stream whose engine is lost goes on at another one."""

    enabled: bool = Field(default=True, description="False: such a stream ends with an error event.")
    attempts: int = Field(default=2, ge=1, le=10, description="Engines asked to go on with one stream, in all.")
    max_kept_bytes: int = Field(
        default=256 * 1024,
        ge=256,
        le=16 * 1024 * 1024,
        description="Longest text of one answer that is kept to go on with, in bytes; a longer answer cannot go on.",
    )


class GatewayConfig(Strict):
    colour: Colour = Field(description="The release colour that this gateway belongs to.")
    namespace: Name = Field(description="The Kubernetes namespace in which engine pods are watched.")
    models: tuple[ModelRoute, ...] = Field(min_length=1)
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    resume: Resume = Resume()
    max_concurrent_requests: int = Field(
        default=2000, ge=1, description="Requests under way in one gateway; beyond it clients get 503 and Retry-After."
    )
    batch_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of a concurrency limit that batch keys may fill; the rest is kept for interactive ones.",
    )
    limits: Limits | None = Field(default=None, description="What all clients together may use.")
    tenant_limits: Limits | None = Field(default=None, description="For each tenant that `tenants` does not name.")
    tenants: dict[Name, Limits] = Field(default={}, description="Limits of single tenants.")
    replicas: int = Field(
        default=1, ge=1, description="Gateways that share these limits: each enforces its part while Redis is away."
    )
    cors_origins: tuple[Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")], ...] = Field(
        default=(), description="Origins (scheme://host[:port]) whose pages may call from a browser; none by default."
    )
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, description="Largest request body, in bytes.")
    drain_seconds: float = Field(
        default=30.0, ge=0, description="After SIGTERM: how long requests in flight may take before they are cut."
    )

    @model_validator(mode="after")
    def names_are_unique(self) -> Self:
        names = [name for model in self.models for name in (model.name, *model.aliases)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models: the names {', '.join(twice)} are given more than once")
        return self


class ApiKey(Strict):
    """One client key. The key itself is never stored: `sha256` is the hex digest of its UTF-8 bytes."""

    id: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: Name = "default"
    priority: Priority = "interactive"
    limits: Limits | None = None


class KeyFile(Strict):
    keys: tuple[ApiKey, ...] = Field(min_length=1)
