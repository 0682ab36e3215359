"""The keys under budget.actions: what follows when money runs out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.gateway.budget.levels import Level
from app.gateway.config import Name
from infra.settings.kinds import Decimal, Strict, Truth, Whole

Threshold = Annotated[Decimal, Field(gt=0, le=1000)]


class Thresholds(Strict):
    """Per cent of any budget from which on a level holds; each level does what those before it do. null: never."""

    warn: Threshold | None = Field(description="Logs, metrics and headers say so.")
    cheaper: Threshold | None = Field(description="Names of cheaperModels are answered by others.")
    no_batch: Threshold | None = Field(description="Requests of batch keys are refused.")
    capped: Threshold | None = Field(description="Tenants of low priority get cappedLimits.")


class CappedLimits(Strict):
    """The most that each capped tenant may use; its own lower limits stay."""

    requests_per_minute: Annotated[Decimal, Field(gt=0, le=60_000_000)] | None
    tokens_per_minute: Annotated[Whole, Field(ge=1, le=10_000_000_000)] | None
    concurrent_requests: Annotated[Whole, Field(ge=1, le=1_000_000)] | None


class BudgetActions(Strict):
    enabled: Truth = Field(description="false: budgets are announced, and gateways do nothing.")
    thresholds: Thresholds
    forecast_level: Level = Field(description="The most that a forecast brings about.")
    anomaly_level: Level = Field(description="What unusual cost, or a billing alarm, brings about.")
    anomaly_hours: Decimal = Field(gt=0, le=744, description="How long unusual cost is acted on.")
    ledger_usd: Annotated[Decimal, Field(gt=0, le=100_000_000)] | None = Field(
        description="Monthly budget of the requests' cost at the models' prices, which is known within seconds; null: "
        "AWS's word alone counts, which is hours old."
    )
    cheaper_models: dict[Name, Name] = Field(description="Model, alias or route -> the model that answers for it.")
    protected_tenants: tuple[Name, ...] = Field(max_length=1000, description="No level takes anything from these.")
    low_priority_tenants: tuple[Name, ...] | None = Field(
        description="Who is capped; null: all that are not protected."
    )
    capped_limits: CappedLimits
