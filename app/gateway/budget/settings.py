"""Settings of budgets that act. Names of models are checked where all of them are known: `unknown_names`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Self

from pydantic import Field, model_validator

from app.gateway.budget.levels import LEVELS, Level
from app.gateway.strict import Name, Strict

Share = Annotated[float, Field(gt=0, le=1000)]


class Thresholds(Strict):
    """Per cent of a budget from which on a level holds. None: no budget brings that level about."""

    warn: Share | None = Field(default=50.0, description="Logs, metrics and headers say so; nothing else changes.")
    cheaper: Share | None = Field(default=80.0, description="Names in `cheaper_models` are answered by others.")
    no_batch: Share | None = Field(default=90.0, description="Requests of batch keys are refused.")
    capped: Share | None = Field(default=100.0, description="Tenants of low priority get `capped_limits`.")

    def of(self, level: Level) -> float | None:
        return None if level == "normal" else getattr(self, level)

    @model_validator(mode="after")
    def rise(self) -> Self:
        given = [value for value in (self.of(level) for level in LEVELS) if value is not None]
        if given != sorted(set(given)):
            raise ValueError("must rise from warn to capped, each once")
        return self


class CappedLimits(Strict):
    """What each tenant of low priority may use at most; its own lower limits stay."""

    requests_per_minute: float | None = Field(default=60.0, gt=0, le=60_000_000, description="Requests a minute.")
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10_000_000_000, description="Tokens a minute.")
    concurrent_requests: int | None = Field(default=2, ge=1, le=1_000_000, description="Requests under way.")


class BudgetActions(Strict):
    account_id: str = Field(pattern=r"^[0-9]{12}$", description="Messages of other accounts are not believed.")
    thresholds: Thresholds = Thresholds()
    forecast_level: Level = Field(default="warn", description="The most that a forecast brings about.")
    anomaly_level: Level = Field(default="warn", description="What unusual cost or an alarm on charges brings about.")
    anomaly_hours: float = Field(default=24.0, gt=0, le=744, description="How long unusual cost is acted on.")
    monthly_usd: float | None = Field(
        default=None, gt=0, description="Budget of the ledger's sum, at the models' prices; None: it is not looked at."
    )
    spend_seconds: float = Field(default=4.0, ge=0.05, le=3600, description="Between two looks at the ledger's sum.")
    cheaper_models: dict[Name, Name] = Field(
        default={}, description="Model, alias or route -> the model that answers for it from `cheaper` on."
    )
    protected_tenants: tuple[Name, ...] = Field(default=(), description="No level takes anything from these.")
    low_priority_tenants: tuple[Name, ...] | None = Field(
        default=None, description="Who is capped; None: all that are not protected."
    )
    capped_limits: CappedLimits = CappedLimits()

    @model_validator(mode="after")
    def nobody_is_both(self) -> Self:
        both = sorted(set(self.protected_tenants) & set(self.low_priority_tenants or ()))
        if both:
            raise ValueError(f"low_priority_tenants: {', '.join(both)}: protected as well")
        same = sorted(name for name, to in self.cheaper_models.items() if name == to)
        if same:
            raise ValueError(f"cheaper_models: {', '.join(same)}: moved to itself")
        return self

    def unknown_names(self, names: Collection[str], models: Collection[str]) -> str:
        """The first name that nothing here has, as a sentence; empty where there is none."""
        for name, to in self.cheaper_models.items():
            if name not in names:
                return f"budget.cheaper_models: there is no model, alias or route `{name}`"
            if to not in models:
                return f"budget.cheaper_models.{name}: there is no model `{to}`; there are {', '.join(sorted(models))}"
        return ""
