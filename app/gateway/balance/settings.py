"""How one model's requests are spread over its engines, and where they wait."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

BalancePolicy = Literal["least", "round-robin", "weighted", "prefix"]
HeaderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Balance(_Strict):
    policy: BalancePolicy = Field(
        default="least",
        description="least: fewest requests in flight; round-robin: in turn; weighted: in turn, by the engines' weights"
        "; prefix: equal beginnings of prompts go to one engine, whose cache then has them.",
    )
    load_factor: float = Field(
        default=1.25,
        gt=1,
        le=10,
        description="An engine that a prefix or session belongs to takes at most so many times the mean load.",
    )
    prefix_bytes: int = Field(
        default=256, ge=16, le=65_536, description="Bytes of the prompt, as sent, by which a new one gets its engine."
    )


class Sticky(_Strict):
    """Requests of one session go to one engine."""

    source: Literal["header", "cookie"] = Field(description="Where the session's name is read.")
    name: HeaderName = Field(description="The header or cookie. A client without the cookie is given an opaque one.")


class QueueRules(_Strict):
    """Requests wait here while no engine has room."""

    max_waiting: int = Field(ge=1, le=100_000, description="More are refused with 503.")
    max_wait_seconds: float = Field(gt=0, le=3600, description="Who waited so long gets 503.")
    position_seconds: float = Field(
        default=2.0, gt=0, le=60, description="A stream is told its position so often, from its first such time on."
    )
    from_zero: bool = Field(
        default=False, description="The gateway counts as ready while no engine is there: engines scale from zero."
    )


class HedgeRules(_Strict):
    """A short, unstreamed request that takes unusually long is sent to a second engine; the first answer counts."""

    max_output_tokens: int = Field(ge=1, description="Requests that may make more than this are never sent twice.")
    delay_seconds: float | None = Field(
        default=None, gt=0, le=600, description="Wait before the second engine; none: the p95 of the last requests."
    )
    budget_ratio: float = Field(default=0.05, gt=0, le=1, description="Second requests as a share of such requests.")


class Health(_Strict):
    """An engine that has requests and is silent is asked whether it lives (GET /health)."""

    enabled: bool = True
    silence_seconds: float = Field(default=1.0, gt=0, le=60, description="Silence that calls for a probe.")
    timeout_seconds: float = Field(default=1.0, gt=0, le=60, description="For the answer to one probe.")
    attempts: int = Field(default=2, ge=1, le=10, description="Failed probes in a row that mean: it hangs.")
