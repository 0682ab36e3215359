"""Levels of budgets, and what AWS says: pure."""

from __future__ import annotations

import datetime as dt
import json
import random

import pytest
from pydantic import ValidationError

from app.gateway.budget.levels import LEVELS, NONE, Effects, Override, Signal, effects, evaluate, month_of
from app.gateway.budget.messages import Over, Unreadable, read
from app.gateway.budget.settings import BudgetActions
from tests.gateway.aws_queue import ACCOUNT, alarm_text, anomaly_text, budget_text
from tests.gateway.harness import make_config

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC).timestamp()
RULES = BudgetActions(account_id=ACCOUNT, protected_tenants=("gold",), low_priority_tenants=("trial",))
DAY = 86_400.0


def said(percent: float | None, source: str = "budget:a", kind: str = "actual", **more: object) -> Signal:
    fields = {"source": source, "kind": kind, "percent": percent, "month": "2026-11", "at": NOW}
    return Signal(**fields | more)  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize(
    ("percent", "level"),
    [
        (0, "normal"),
        (49.99, "normal"),
        (50, "warn"),
        (80, "cheaper"),
        (90.5, "no_batch"),
        (100, "capped"),
        (900, "capped"),
    ],
)
def test_a_budgets_share_makes_the_level(percent: float, level: str):
    standing = evaluate(RULES, [said(percent)], None, NOW)
    assert (standing.level, standing.source) == (level, "budget:a" if percent >= 50 else "")


def test_the_worst_source_counts_and_a_forecast_no_more_than_it_may():
    signals = [said(60), said(95, "budget:gpu"), said(400, "budget:a:forecast", "forecast")]
    assert evaluate(RULES, signals, None, NOW).source == "budget:gpu"
    assert evaluate(RULES, signals[2:], None, NOW).level == "warn"
    strict = RULES.model_copy(update={"forecast_level": "no_batch"})
    assert evaluate(strict, signals[2:], None, NOW).level == "no_batch"


def test_a_new_month_and_an_anomalys_end_bring_the_level_back_by_themselves():
    assert evaluate(RULES, [said(100)], None, NOW + 9 * DAY).level == "capped"
    assert evaluate(RULES, [said(100)], None, NOW + 10 * DAY).level == "normal"
    unusual = said(None, "anomaly:1", "anomaly", until=NOW + 60)
    assert [evaluate(RULES, [unusual], None, NOW + after).level for after in (59, 61)] == ["warn", "normal"]


def test_an_override_counts_over_all_until_its_end_and_tells_what_would_be():
    override = Override("normal", NOW + 60, "ops", "the invoice is wrong")
    standing = evaluate(RULES, [said(100)], override, NOW)
    assert (standing.level, standing.automatic) == ("normal", "capped")
    assert "ops: the invoice is wrong" in standing.reason
    assert evaluate(RULES, [said(100)], override, NOW + 61).level == "capped"


def test_a_level_that_has_no_threshold_is_never_reached_by_itself():
    rules = BudgetActions.model_validate({"account_id": ACCOUNT, "thresholds": {"no_batch": None}})
    assert evaluate(rules, [said(95)], None, NOW).level == "cheaper"


def test_levels_only_add_and_protected_tenants_keep_everything():
    for level in LEVELS:
        assert effects(level, "gold", RULES) == NONE
    assert effects("warn", "acme", RULES) == NONE
    assert effects("cheaper", "acme", RULES) == Effects(cheaper=True)
    assert effects("warn", "trial", RULES) == NONE
    assert effects("no_batch", "trial", RULES) == Effects(cheaper=True, no_batch=True), "caps come with the last level"
    assert effects("capped", "acme", RULES) == Effects(cheaper=True, no_batch=True)
    assert effects("capped", "trial", RULES) == Effects(cheaper=True, no_batch=True, capped=True)
    everybody = RULES.model_copy(update={"low_priority_tenants": None})
    assert effects("capped", "acme", everybody).capped


def test_the_order_of_signals_changes_nothing():
    signals = [said(p, f"budget:{n}") for n, p in enumerate((10, 85, 85, 99, 30))]
    expected = evaluate(RULES, signals, None, NOW)
    for seed in range(20):
        random.Random(seed).shuffle(signals)
        assert evaluate(RULES, signals, None, NOW) == expected


def test_what_aws_budgets_writes_is_read():
    text = (
        "AWS Budget Notification November 05, 2026\nAWS Account 123456789012\n\nDear AWS Customer,\n\n"
        "You requested that we alert you when ...\n\nBudget Name: budget-gpu-77\nBudget Type: Cost\n"
        "Budgeted Amount: $16,000.00\nAlert Type: FORECASTED\nAlert Threshold: > $16,000.00\n"
        "FORECASTED Amount: $17,600.00\n\n[1] https://console.aws.amazon.com/billing/home#/budgets\n"
    )
    heard = read(text, ACCOUNT, NOW, 24)
    expected = Signal(
        "budget:budget-gpu-77:forecast", "forecast", 110.0, "2026-11", NOW, None, "17600.00 of 16000.00 USD"
    )
    assert heard == expected


def test_anomalies_and_alarms_on_charges_are_read_and_other_alarms_are_not_about_money():
    unusual = read(anomaly_text(), ACCOUNT, NOW, 24)
    assert isinstance(unusual, Signal)
    assert (unusual.kind, unusual.until) == ("anomaly", NOW + DAY)
    loud = read(alarm_text("ALARM"), ACCOUNT, NOW, 24)
    assert isinstance(loud, Signal)
    assert loud.source == "alarm:charges"
    assert read(alarm_text("OK"), ACCOUNT, NOW, 24) == Over("alarm:charges")
    assert read(alarm_text("ALARM", "AWS/ApplicationELB"), ACCOUNT, NOW, 24) is None
    envelope = json.dumps({"Type": "Notification", "Message": anomaly_text()})
    assert read(envelope, ACCOUNT, NOW, 24) == unusual


GOOD = budget_text(90)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin"),
        ("set the level to normal", "does not begin"),
        ("{", "not JSON"),
        ('{"a": ' * 50_000, "longer"),
        ("[" * 60_000, "does not begin"),
        ('{"a":' * 10_000, "not JSON"),
        ("{}", "neither an anomaly nor an alarm"),
        (budget_text(90, account="999999999999"), "another account"),
        (anomaly_text(account="999999999999"), "another account"),
        (anomaly_text(float("nan")), "no number"),
        (anomaly_text(float("inf")), "no number"),
        (GOOD.replace("$1,250.00\nAlert", "$0.00\nAlert"), "nothing"),
        (GOOD.replace("ACTUAL Amount: $", "ACTUAL Amount: $-"), "no sum"),
        (GOOD.replace("ACTUAL Amount: $", "ACTUAL Amount: EUR "), "no sum"),
        (GOOD.replace("Alert Type: ACTUAL", "Alert Type: NONE"), "Alert Type"),
        (GOOD + "Budget Name: other\n", "twice"),
        (GOOD.replace("Budget Name: budget-1a2b3c", "Budget Name: " + "x" * 500), "a name"),
        (GOOD.replace("2026", "2126"), "to come"),
    ],
)  # fmt: skip
def test_what_is_hostile_or_broken_is_refused_and_not_repeated(text: str, why: str):
    with pytest.raises(Unreadable, match=why) as refused:
        read(text, ACCOUNT, NOW, 24)
    assert len(str(refused.value)) < 100


def test_no_mangled_message_ends_in_anything_but_a_refusal():
    chance = random.Random(7)
    for text in (GOOD, anomaly_text(), alarm_text("ALARM")):
        for _ in range(400):
            at, span = chance.randrange(len(text)), chance.randrange(1, 9)
            mangled = text[:at] + "".join(chr(chance.randrange(1, 300)) for _ in range(span)) + text[at + span :]
            try:
                heard = read(mangled, ACCOUNT, NOW, 24)
            except Unreadable:
                continue
            if isinstance(heard, Signal):
                assert heard.percent is None or heard.percent >= 0


def test_a_month_is_the_calendars_in_utc():
    assert [month_of(NOW), month_of(NOW + 10 * DAY)] == ["2026-11", "2026-12"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"thresholds": {"warn": 90, "cheaper": 80}}, "must rise"),
        ({"protected_tenants": ["a"], "low_priority_tenants": ["a"]}, "protected as well"),
        ({"cheaper_models": {"tiny": "tiny"}}, "moved to itself"),
        ({"cheaper_models": {"huge": "tiny"}}, "no model, alias or route `huge`"),
        ({"cheaper_models": {"small": "none-such"}}, "no model `none-such`"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_sentence(change: dict[str, object], why: str):
    with pytest.raises(ValidationError, match=why):
        make_config(budget={"account_id": ACCOUNT} | change)
