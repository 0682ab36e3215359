"""How much money is spent, and what follows from it: a pure state machine. Same facts, same time, same level.

Signals are facts, each the newest word of its source. A level is worked out of them and never taken from
store, so a new month, the end of an override and a changed threshold act without anybody's word.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.gateway.budget.settings import BudgetActions

Level = Literal["normal", "warn", "cheaper", "no_batch", "capped"]
LEVELS: tuple[Level, ...] = ("normal", "warn", "cheaper", "no_batch", "capped")
"""In their order: each does what those before it do, and more."""
Kind = Literal["actual", "forecast", "anomaly", "alarm", "spend"]


def rank(level: Level) -> int:
    return LEVELS.index(level)


def month_of(seconds: float) -> str:
    """The calendar month (UTC), which AWS's monthly budgets count by: `2026-11`."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m")


@dataclass(frozen=True, slots=True)
class Signal:
    """What one source said last. `source` is unique, such as `budget:gpu-1a2b`, or `spend` for the ledger's sum."""

    source: str
    kind: Kind
    percent: float | None
    """Of its budget; None where the source knows none."""
    month: str
    at: float
    """Unix time at which it was said."""
    until: float | None = None
    """Then it is over; None: at the end of its month."""
    detail: str = ""

    def holds(self, now: float) -> bool:
        return self.month == month_of(now) and (self.until is None or self.until > now)


@dataclass(frozen=True, slots=True)
class Override:
    """An admin's word, which counts over all signals until its end."""

    level: Level
    until: float
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    level: Level
    automatic: Level
    """What it would be without an override."""
    source: str
    """What it comes from; empty at `normal`."""
    override: Override | None = None

    @property
    def reason(self) -> str:
        if self.override is not None:
            return f"override by {self.override.actor}: {self.override.reason}"
        return self.source or "nothing speaks against it"


NORMAL = Standing("normal", "normal", "")


def level_of(signal: Signal, rules: BudgetActions) -> Level:
    """What a signal by itself asks for."""
    if signal.kind in ("anomaly", "alarm"):
        return rules.anomaly_level
    level: Level = "normal"
    for name in LEVELS[1:]:
        threshold = rules.thresholds.of(name)
        if threshold is not None and signal.percent is not None and signal.percent >= threshold:
            level = name
    if signal.kind == "forecast" and rank(level) > rank(rules.forecast_level):
        return rules.forecast_level
    return level


def evaluate(rules: BudgetActions, signals: Iterable[Signal], override: Override | None, now: float) -> Standing:
    """The worst of the signals that hold, or the override."""
    worst: Level = "normal"
    source = ""
    for signal in sorted(signals, key=lambda one: one.source):
        level = level_of(signal, rules) if signal.holds(now) else "normal"
        if rank(level) > rank(worst):
            worst, source = level, signal.source
    if override is not None and override.until > now:
        return Standing(override.level, worst, "override", override)
    return Standing(worst, worst, source)


@dataclass(frozen=True, slots=True)
class Effects:
    """What a level does to one tenant's requests."""

    cheaper: bool = False
    no_batch: bool = False
    capped: bool = False


NONE = Effects()


def effects(level: Level, tenant: str, rules: BudgetActions) -> Effects:
    """Protected tenants have a floor: no level takes anything from them."""
    if tenant in rules.protected_tenants:
        return NONE
    reached = rank(level)
    low = rules.low_priority_tenants is None or tenant in rules.low_priority_tenants
    return Effects(
        cheaper=reached >= rank("cheaper"),
        no_batch=reached >= rank("no_batch"),
        capped=reached >= rank("capped") and low,
    )
