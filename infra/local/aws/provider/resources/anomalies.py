"""aws:costexplorer: cost anomaly monitor and subscription. Both are of the account, not of a region."""

from __future__ import annotations

import json

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, deleting, dig, tags_of, updating
from infra.local.aws.provider.schema import Property, block, block_set, blocks, document, out, text, text_set
from infra.local.aws.provider.values import Values

ANOMALY_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="ResourceArn",
    tags="ResourceTags",
    keys="ResourceTagKeys",
    listing="list_tags_for_resource",
    listed="ResourceTags",
)


def _create_monitor(scope: Scope, values: Values) -> str:
    asked = scope.request(values)
    if specification := values.get("monitorSpecification"):
        asked["MonitorSpecification"] = json.loads(specification)
    return scope.api.create_anomaly_monitor(AnomalyMonitor=asked, **tags_of(scope, values, "ResourceTags"))[
        "MonitorArn"
    ]


def _find_monitor(scope: Scope, monitor: str, state: Values) -> Values | None:
    return dig(scope.api.get_anomaly_monitors(MonitorArnList=[monitor]), "AnomalyMonitors.0")


MONITOR = Row(
    kind="aws:costexplorer/anomalyMonitor:AnomalyMonitor",
    service="ce",
    regional=False,
    fields={
        "name": text("MonitorName"),
        "monitorType": text(required=True, replace=True),
        "monitorDimension": text(replace=True),
        "monitorSpecification": document(False, reply="MonitorSpecification", replace=True),
        "arn": out(text("MonitorArn")),
    },
    create=_create_monitor,
    find=_find_monitor,
    update=updating("update_anomaly_monitor", lambda monitor: {"MonitorArn": monitor}),
    delete=deleting("delete_anomaly_monitor", lambda monitor: {"MonitorArn": monitor}),
    tagging=ANOMALY_TAGS,
    naming=Naming(limit=1024),
)

MATCH: dict[str, Property] = {"key": text(), "values": text_set(), "matchOptions": text_set()}
TERM: dict[str, Property] = {
    "dimension": block(MATCH, "Dimensions"),
    "tags": block(MATCH),
    "costCategory": block(MATCH, "CostCategories"),
}
"""An expression of Cost Explorer without the terms that join others."""


def _create_subscription(scope: Scope, values: Values) -> str:
    made = scope.api.create_anomaly_subscription(
        AnomalySubscription=scope.request(values), **tags_of(scope, values, "ResourceTags")
    )
    return made["SubscriptionArn"]


def _find_subscription(scope: Scope, subscription: str, state: Values) -> Values | None:
    return dig(scope.api.get_anomaly_subscriptions(SubscriptionArnList=[subscription]), "AnomalySubscriptions.0")


SUBSCRIPTION = Row(
    kind="aws:costexplorer/anomalySubscription:AnomalySubscription",
    service="ce",
    regional=False,
    fields={
        "name": text("SubscriptionName", replace=True),
        "accountId": text(computed=True, replace=True),
        "frequency": text(required=True),
        "monitorArnLists": text_set("MonitorArnList", required=True),
        "subscribers": block_set({"type": text(required=True), "address": text(required=True)}, required=True),
        "thresholdExpression": block({**TERM, "ands": blocks(TERM, "And"), "ors": blocks(TERM, "Or")}),
        "arn": out(text("SubscriptionArn")),
    },
    create=_create_subscription,
    find=_find_subscription,
    update=updating("update_anomaly_subscription", lambda subscription: {"SubscriptionArn": subscription}),
    delete=deleting("delete_anomaly_subscription", lambda subscription: {"SubscriptionArn": subscription}),
    tagging=ANOMALY_TAGS,
    naming=Naming(limit=1024),
)

ROWS = (MONITOR, SUBSCRIPTION)
