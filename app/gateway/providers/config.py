"""Settings of outside providers. A key is never in here: a file or a secret of Secrets Manager holds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.gateway.strict import Name, Strict

Kind = Literal["openai", "anthropic", "bedrock", "compatible"]
URLS: dict[str, str] = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
"""From the providers' API references. Bedrock's follows from the region."""


class ProviderShape(Strict):
    """One API outside, wherever its key comes from. The keys of a stack file are made from this class too."""

    name: Name = Field(description="For `outside_models`, metrics and logs.")
    kind: Kind = Field(description="What it speaks; `compatible`: OpenAI's API at `base_url`.")
    base_url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/-]*)?$")] | None = Field(
        default=None,
        description="Without it the provider's own. Ends before `/chat/completions`, `/v1/messages` or `/model`.",
    )
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")] | None = Field(
        default=None, description="Bedrock's AWS region."
    )
    insecure_http: bool = Field(default=False, description="Allows an `http://` base_url to another machine.")
    most_requests: int = Field(default=64, ge=1, le=100_000, description="Under way at once, from one gateway.")
    connect_seconds: float = Field(default=5.0, gt=0, le=60, description="To connect, TLS included.")
    first_byte_seconds: float = Field(default=60.0, gt=0, le=600, description="To a stream's first byte.")
    between_bytes_seconds: float = Field(default=60.0, gt=0, le=600, description="Longest silence inside an answer.")
    answer_seconds: float = Field(default=300.0, gt=0, le=3600, description="To an answer that is not streamed.")
    most_retry_after_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="A longer `Retry-After` of the provider counts as this."
    )

    def faults(self) -> Iterator[tuple[str, str]]:
        """What does not fit together: the field, and why."""
        if self.kind == "compatible" and self.base_url is None:
            yield "base_url", "a `compatible` provider needs one"
        if self.kind == "bedrock" and self.region is None:
            yield "region", "a `bedrock` provider needs one"
        url = self.base_url or ""
        local = url.startswith(("http://127.", "http://localhost", "http://[::1]"))
        if url.startswith("http://") and not local and not self.insecure_http:
            yield "base_url", "keys and prompts would go out in the clear; use https, or allow plain HTTP"

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        own = URLS.get(self.kind) or f"https://bedrock-runtime.{self.region}.amazonaws.com"
        return (self.base_url or own).rstrip("/")


class Provider(ProviderShape):
    key_file: str | None = Field(
        default=None,
        min_length=1,
        description="File with the key. Bedrock: an API key, or JSON of access_key_id, secret_access_key and "
        "session_token; without a file or secret the pod's own role is used.",
    )
    key_secret: bool = Field(
        default=False,
        description="A secret of AWS Secrets Manager holds the key; PENSTOCK_PROVIDER_SECRETS has its ARN.",
    )
    ca_file: str | None = Field(default=None, min_length=1, description="CA certificates instead of the system's.")

    @model_validator(mode="after")
    def is_complete(self) -> Self:
        for field, why in self.faults():
            raise ValueError(f"{field}: {why}")
        if self.key_file is not None and self.key_secret:
            raise ValueError("key_secret: the key is in `key_file` already")
        if self.kind in ("openai", "anthropic") and self.key_file is None and not self.key_secret:
            raise ValueError(f"key_file: an `{self.kind}` provider needs one, or `key_secret`")
        return self
