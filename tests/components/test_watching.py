"""What tells people of trouble and of money: events, alarms, dashboard, budgets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from components import alarms, dashboards
from infra.rehearsal import Rehearsal

Registered = Callable[[Callable[[], object]], Rehearsal]
RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks.md"
URL = "https://example.org/runbooks"


WATCHED: dict[str, Any] = {
    "region": "eu-central-1",
    "log_group_prefix": "/penstock/test",
    "log_retention_days": {"gateway": 14, "engine": 3},
    "logs_key_arn": "arn:key",
    "topic_arn": "arn:topic",
    "runbooks_url": URL,
    "first_byte_seconds": 2.5,
    "load_balancer_dimension": "app/edge/1",
    "target_group_dimensions": {"blue": "targetgroup/blue/1", "green": "targetgroup/green/1"},
    "database_identifier": "ledger",
    "database_storage_gib": 100,
    "cache_members": ["cache-001", "cache-002"],
    "dead_queue_name": "dead",
    "dashboard_name": "penstock-test",
    "engines": {"waiting_requests": 10, "first_token_seconds": 3.0},
    "insights_of": "penstock-test",
}


def watch() -> None:
    from components.watch import Watch

    Watch("watch", cast("Any", WATCHED))


def events() -> None:
    from components.events import Events

    Events("events", {"account_id": "111122223333", "key_arn": "arn:key"})


def rung(rehearsal: Rehearsal) -> dict[str, dict[str, Any]]:
    return {each.name: each.inputs for each in rehearsal.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")}


def test_every_alarm_leads_to_a_section_of_the_runbooks_and_every_section_has_an_alarm(registered: Registered):
    links = {re.search(r"Runbook: (\S+)#(\S+)$", it["alarmDescription"]) for it in rung(registered(watch)).values()}
    assert None not in links
    anchors = {link.group(2) for link in links if link}
    sections = {line.removeprefix("## ").strip() for line in RUNBOOKS.read_text().splitlines() if line[:3] == "## "}
    assert {link.group(1) for link in links if link} == {URL}
    assert anchors == sections


def test_every_alarm_speaks_when_it_rings_and_when_it_is_over(registered: Registered):
    for name, inputs in rung(registered(watch)).items():
        assert inputs["alarmActions"] == inputs["okActions"] == ["arn:topic"], name
        assert inputs["datapointsToAlarm"] <= inputs["evaluationPeriods"], name


def test_both_colours_and_each_node_of_the_cache_are_watched(registered: Registered):
    names = set(rung(registered(watch)))
    assert {"watch-unhealthy-gateways-blue", "watch-unhealthy-gateways-green"} <= names
    assert {"watch-cache-memory-1", "watch-cache-memory-2"} <= names


def test_the_share_of_failed_requests_is_judged_not_their_number(registered: Registered):
    failed = rung(registered(watch))["watch-failed-requests-green"]
    assert "metricName" not in failed
    (result,) = [it for it in failed["metricQueries"] if it.get("returnData")]
    terms = {it["id"]: it["metric"]["dimensions"] for it in failed["metricQueries"] if "metric" in it}
    assert terms["every"] == {"colour": "green"}
    assert terms["e503"] == {"colour": "green", "code": "503"}
    assert all(term in result["expression"] for term in terms)
    assert failed["threshold"] == alarms.FAILED_PER_CENT


def test_what_is_not_collected_rings_nothing_and_fills_no_panel(registered: Registered):
    def without() -> None:
        from components.watch import Watch

        args = dict(WATCHED)
        del args["engines"], args["insights_of"]
        Watch("watch", cast("Any", args))

    rehearsal = registered(without)
    collected = {alarms.COLLECTED, "ContainerInsights"}
    assert not {each.get("namespace") for each in rung(rehearsal).values()} & collected
    (board,) = rehearsal.of_type("aws:cloudwatch/dashboard:Dashboard")
    assert not any(name in board.inputs["dashboardBody"] for name in collected)


def test_slowness_is_judged_by_the_slowest_hundredth(registered: Registered):
    slow = rung(registered(watch))["watch-slow-first-byte"]
    assert (slow["extendedStatistic"], slow["threshold"], slow.get("statistic")) == ("p99", 2.5, None)


def test_free_storage_rings_when_it_falls(registered: Registered):
    low = rung(registered(watch))["watch-database-storage"]
    assert low["comparisonOperator"] == "LessThanOrEqualToThreshold"
    assert low["threshold"] == 10 * alarms.GIB


def test_each_class_of_logs_is_kept_for_its_own_time(registered: Registered):
    groups = registered(watch).of_type("aws:cloudwatch/logGroup:LogGroup")
    assert {each.inputs["name"]: each.inputs["retentionInDays"] for each in groups} == {
        "/penstock/test/engine": 3,
        "/penstock/test/gateway": 14,
    }


def panels() -> list[dashboards.Panel]:
    return dashboards.platform_panels(
        balancer="app/edge/1",
        target_groups={"blue": "targetgroup/blue/1", "green": "targetgroup/green/1"},
        database="ledger",
        cache_members=["cache-001"],
        dead_queue="dead",
    )


def test_no_two_panels_of_the_dashboard_overlap():
    widgets = json.loads(dashboards.body(panels(), "eu-central-1"))["widgets"]
    cells = [
        (x, y)
        for it in widgets
        for x in range(it["x"], it["x"] + it["width"])
        for y in range(it["y"], it["y"] + it["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24, "CloudWatch's grid is 24 units wide"


def test_the_dashboard_shows_every_metric_that_can_ring(registered: Registered):
    dashboard = registered(watch).one("aws:cloudwatch/dashboard:Dashboard", "watch")
    widgets = json.loads(dashboard.inputs["dashboardBody"])["widgets"]
    shown = {(line[0], line[1]) for widget in widgets for line in widget["properties"]["metrics"]}
    rings = {
        (metric["namespace"], metric["metricName"])
        for it in rung(registered(watch)).values()
        for metric in ([query["metric"] for query in it.get("metricQueries", []) if "metric" in query] or [it])
    }
    assert rings - shown == {
        ("AWS/ApplicationELB", "TargetConnectionErrorCount"),
        ("AWS/ApplicationELB", "UnHealthyHostCount"),  # shown the other way round, as healthy ones
    }


def test_messages_that_nobody_can_read_are_set_aside_in_a_queue_for_them_alone(registered: Registered):
    rehearsal = registered(events)
    queue = rehearsal.one("aws:sqs/queue:Queue", "events")
    aside = json.loads(queue.inputs["redrivePolicy"])
    assert aside["maxReceiveCount"] == 5
    assert aside["deadLetterTargetArn"].endswith("/events-dead")
    allowed = rehearsal.one("aws:sqs/redriveAllowPolicy:RedriveAllowPolicy", "events-dead").inputs
    assert json.loads(allowed["redriveAllowPolicy"])["redrivePermission"] == "byQueue"


def test_both_queues_are_encrypted_by_the_key_of_messages(registered: Registered):
    keys = {each.name: each.inputs["kmsMasterKeyId"] for each in registered(events).of_type("aws:sqs/queue:Queue")}
    assert keys == {"events": "arn:key", "events-dead": "arn:key"}


def test_the_subscription_waits_until_the_topic_may_send(registered: Registered):
    rehearsal = registered(events)
    subscription = rehearsal.one("aws:sns/topicSubscription:TopicSubscription", "events")
    assert rehearsal.one("aws:sqs/queuePolicy:QueuePolicy", "events").urn in subscription.dependencies
    assert subscription.inputs["rawMessageDelivery"] is True


def budget(**tag: str) -> Callable[[], object]:
    from components.spend import MonthlyBudget

    return lambda: MonthlyBudget(
        "budget",
        {
            "monthly_usd": 100,
            "actual_percents": [50, 100],
            "forecast_percents": [110],
            "topic_arn": "arn:topic",
            **tag,
        },
    )


def test_a_budget_announces_what_is_spent_and_what_is_expected(registered: Registered):
    (it,) = registered(budget()).of_type("aws:budgets/budget:Budget")
    told = [(each["notificationType"], each["threshold"]) for each in it.inputs["notifications"]]
    assert told == [("ACTUAL", 50), ("ACTUAL", 100), ("FORECASTED", 110)]
    assert "costFilters" not in it.inputs


def test_a_budget_of_a_part_counts_by_its_tag(registered: Registered):
    from components.spend import PART_TAG, part

    (it,) = registered(budget(tag_key=PART_TAG, tag_value=part("prod", "gpu"))).of_type("aws:budgets/budget:Budget")
    assert it.inputs["costFilters"] == [{"name": "TagKeyValue", "values": ["user:penstock-part$prod-gpu"]}]


@pytest.mark.parametrize("half", [{"tag_key": "penstock-part"}, {"tag_value": "prod-gpu"}])
def test_half_a_tag_is_refused_for_the_whole_account_would_count(registered: Registered, half: dict[str, str]):
    with pytest.raises(ValueError, match="needs key and value"):
        registered(budget(**half))


def test_unusual_cost_is_watched_for_this_stack_and_told_from_the_given_impact_on(registered: Registered):
    from components.spend import CostAnomalies

    rehearsal = registered(
        lambda: CostAnomalies("anomalies", {"stack": "prod", "least_usd": 500, "topic_arn": "arn:topic"})
    )
    monitor = rehearsal.one("aws:costexplorer/anomalyMonitor:AnomalyMonitor", "anomalies").inputs
    assert json.loads(monitor["monitorSpecification"]) == {"Tags": {"Key": "stack", "Values": ["prod"]}}
    told = rehearsal.one("aws:costexplorer/anomalySubscription:AnomalySubscription", "anomalies").inputs
    assert (told["frequency"], told["subscribers"]) == ("IMMEDIATE", [{"type": "SNS", "address": "arn:topic"}])
    assert told["thresholdExpression"]["dimension"]["values"] == ["500"]
