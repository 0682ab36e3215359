"""What the gateways do about budgets, from the settings of a stack. Pure."""

from __future__ import annotations

from app.gateway.budget.settings import BudgetActions, CappedLimits, Thresholds
from infra.settings import Settings


def budget_actions(settings: Settings) -> BudgetActions | None:
    """None where gateways do nothing about budgets. Pure."""
    shape = settings.budget.actions
    if not shape.enabled:
        return None
    plain = shape.model_dump(exclude={"enabled", "thresholds", "capped_limits", "ledger_usd"})
    return BudgetActions(
        account_id=settings.aws.account_id,
        thresholds=Thresholds(**shape.thresholds.model_dump()),
        capped_limits=CappedLimits(**shape.capped_limits.model_dump()),
        monthly_usd=shape.ledger_usd,
        **plain,
    )
