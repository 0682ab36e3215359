"""The keys of a model that say how its requests are spread over its engines, and where they wait."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.gateway.balance.settings import BalancePolicy
from infra.settings.kinds import Decimal, Strict, Truth, Whole


class Balance(Strict):
    policy: BalancePolicy = Field(
        description="`least` work, `round-robin`, `weighted` by the pods' annotation, or `prefix`: prompts that begin "
        "alike meet one engine's cache."
    )
    load_factor: Decimal = Field(
        ge=1.01, le=10, description="The engine of a prefix or session takes so many times the mean load at most."
    )
    prefix_bytes: Whole = Field(ge=16, le=65_536, description="Bytes of a new prompt that choose its engine.")


class Sticky(Strict):
    source: Literal["header", "cookie"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(
        description="A client without the cookie is given one; a header is the client's own, such as x-session-id."
    )


class Queue(Strict):
    max_waiting: Whole = Field(ge=1, le=100_000, description="In one gateway; more get 503 and Retry-After.")
    max_wait_seconds: Decimal = Field(ge=0.1, le=3600, description="Who waited so long gets 503.")
    position_seconds: Decimal = Field(ge=0.1, le=60, description="A stream is told its place so often.")
    from_zero: Truth = Field(description="Gateways are ready without engines, for a model that scales to zero.")


class Hedge(Strict):
    max_output_tokens: Whole = Field(ge=1, le=100_000, description="Longer requests are never sent twice.")
    delay_seconds: Annotated[Decimal, Field(ge=0.001, le=600)] | None = Field(
        description="Before the second engine; null: the p95 of the last requests."
    )
    budget_ratio: Decimal = Field(ge=0.001, le=1, description="Second requests as a share of such requests.")
