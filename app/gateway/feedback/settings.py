"""Settings of feedback. Without them there is no `POST /v1/feedback`."""

from __future__ import annotations

from pydantic import Field

from app.gateway.guards.settings import PII_KINDS, PiiKind
from app.gateway.strict import Name, Strict


class FeedbackPolicy(Strict):
    """What differs for one tenant; None: as for all."""

    keep_days: int | None = Field(default=None, ge=1, le=3650, description="Its feedback is kept so long.")
    evaluation_percent: float | None = Field(default=None, ge=0, le=100, description="Its share in the evaluation set.")


class FeedbackConfig(Strict):
    keep_days: int = Field(default=90, ge=1, le=3650, description="Feedback is kept so long, in days.")
    evaluation_percent: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Share of the requests given with consent that goes to the evaluation set, masked; 0: none.",
    )
    masked: tuple[PiiKind, ...] = Field(
        default=PII_KINDS, description="Kinds of personal data that are masked before anything is stored."
    )
    epsilon_per_month: float = Field(
        default=4.0, ge=0, le=1000, description="Epsilon that private reports may spend on one tenant in a month."
    )
    tenants: dict[Name, FeedbackPolicy] = Field(default={}, description="What differs for single tenants.")

    def keep(self, tenant: str) -> int:
        own = self.tenants.get(tenant)
        return self.keep_days if own is None or own.keep_days is None else own.keep_days

    def sampled(self, tenant: str) -> float:
        own = self.tenants.get(tenant)
        return self.evaluation_percent if own is None or own.evaluation_percent is None else own.evaluation_percent
