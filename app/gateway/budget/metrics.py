"""Metrics of budgets. Labels come from fixed lists."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.gateway.budget.levels import LEVELS, Level


class BudgetMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._level = Gauge(
            "penstock_budget_level", "1 for the level that this gateway acts by.", ["level"], registry=registry
        )
        self.changes = Counter("penstock_budget_changes", "Changes of the level.", ["to"], registry=registry)
        self.messages = Counter(
            "penstock_budget_messages",
            "Messages of the queue that this gateway read: taken, again, other (not about money), unreadable.",
            ["outcome"],
            registry=registry,
        )
        self.delay = Gauge(
            "penstock_budget_message_delay_seconds",
            "From the newest message's arrival to its effect.",
            registry=registry,
        )
        self.refused = Counter("penstock_budget_refusals", "Batch requests refused.", registry=registry)
        self.reader = Gauge("penstock_budget_reader", "1 in the gateway that reads the queue.", registry=registry)
        self.database_up = Gauge(
            "penstock_budget_database_up", "0: the level known stays, and no change is seen.", registry=registry
        )
        self.percent = Gauge(
            "penstock_budget_spent_percent", "Of the budget that is spent most; -1: not known.", registry=registry
        )
        self.percent.set(-1)
        for outcome in ("taken", "again", "other", "unreadable"):
            self.messages.labels(outcome)
        self.show("normal")

    def show(self, level: Level) -> None:
        for name in LEVELS:
            self._level.labels(name).set(int(name == level))
