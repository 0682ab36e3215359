"""aws:budgets budget."""

from __future__ import annotations

from datetime import UTC, datetime

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, tags_of
from infra.local.aws.provider.schema import block, block_set, flag, number, out, text, text_set
from infra.local.aws.provider.values import Values

BUDGET_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="ResourceARN",
    tags="ResourceTags",
    keys="ResourceTagKeys",
    listing="list_tags_for_resource",
    listed="ResourceTags",
)
COST_TYPES = {
    "includeCredit": True, "includeDiscount": True, "includeOtherSubscription": True, "includeRecurring": True,
    "includeRefund": True, "includeSubscription": True, "includeSupport": True, "includeTax": True,
    "includeUpfront": True, "useAmortized": False, "useBlended": False,
}  # fmt: skip
"""Defaults of the API (AWS Budgets API reference, CostTypes)."""

FOREVER = "2087-06-15_00:00"
"""The end that AWS gives a budget without one."""


def _moment(written: str) -> datetime:
    return datetime.strptime(written, "%Y-%m-%d_%H:%M").replace(tzinfo=UTC)


def _budget(scope: Scope, values: Values) -> Values:
    budget: Values = {"BudgetName": values["name"], "BudgetType": values["budgetType"], "TimeUnit": values["timeUnit"]}
    if values.get("limitAmount"):
        budget["BudgetLimit"] = {"Amount": values["limitAmount"], "Unit": values.get("limitUnit") or "USD"}
    if values.get("plannedLimits"):
        budget["PlannedBudgetLimits"] = {
            str(int(_moment(it["startTime"]).timestamp())): {"Amount": it["amount"], "Unit": it["unit"]}
            for it in values["plannedLimits"]
        }
    if values.get("costFilters"):
        budget["CostFilters"] = {it["name"]: it["values"] for it in values["costFilters"]}
    if values.get("costTypes"):
        budget["CostTypes"] = {name[0].upper() + name[1:]: it for name, it in values["costTypes"].items()}
    period = {}
    if values.get("timePeriodStart"):
        period["Start"] = _moment(values["timePeriodStart"])
    if period or values.get("timePeriodEnd"):
        period["End"] = _moment(values.get("timePeriodEnd") or FOREVER)
    if period:
        budget["TimePeriod"] = period
    return budget


def _notification(it: Values) -> Values:
    """A notification with its subscribers, as CreateBudget wants them."""
    return {
        "Notification": {
            "NotificationType": it["notificationType"],
            "ComparisonOperator": it["comparisonOperator"],
            "Threshold": it["threshold"],
            "ThresholdType": it["thresholdType"],
        },
        "Subscribers": [
            *({"SubscriptionType": "EMAIL", "Address": to} for to in it.get("subscriberEmailAddresses") or []),
            *({"SubscriptionType": "SNS", "Address": to} for to in it.get("subscriberSnsTopicArns") or []),
        ],
    }


def _key(budget: str) -> Values:
    account, _, name = budget.partition(":")
    return {"AccountId": account, "BudgetName": name}


def _create(scope: Scope, values: Values) -> str:
    account = values.get("accountId") or scope.account
    notifications = [_notification(it) for it in values.get("notifications") or []]
    scope.api.create_budget(
        AccountId=account,
        Budget=_budget(scope, values),
        **({"NotificationsWithSubscribers": notifications} if notifications else {}),
        **tags_of(scope, values, "ResourceTags"),
    )
    return f"{account}:{values['name']}"


def _live_notifications(scope: Scope, budget: str) -> list[Values]:
    found = []
    for it in scope.api.describe_notifications_for_budget(**_key(budget)).get("Notifications", []):
        plain = {
            name: it[name]
            for name in ("NotificationType", "ComparisonOperator", "Threshold", "ThresholdType")
            if name in it
        }
        listed = scope.api.describe_subscribers_for_notification(**_key(budget), Notification=plain)["Subscribers"]
        found.append({"Notification": plain, "Subscribers": listed})
    return found


def _outputs(scope: Scope, budget: str, raw: Values, state: Values) -> Values:
    period = raw.get("TimePeriod") or {}
    types = raw.get("CostTypes") or {}
    notifications = [
        {
            "notificationType": it["Notification"]["NotificationType"],
            "comparisonOperator": it["Notification"]["ComparisonOperator"],
            "threshold": it["Notification"]["Threshold"],
            "thresholdType": it["Notification"].get("ThresholdType", "PERCENTAGE"),
            "subscriberEmailAddresses": _addresses(it, "EMAIL"),
            "subscriberSnsTopicArns": _addresses(it, "SNS"),
        }
        for it in _live_notifications(scope, budget)
    ]
    moments = {
        name: period[wire].astimezone(UTC).strftime("%Y-%m-%d_%H:%M")
        for name, wire in (("timePeriodStart", "Start"), ("timePeriodEnd", "End"))
        if wire in period
    }
    limit = raw.get("BudgetLimit") or {}
    return {
        **moments,
        "accountId": budget.partition(":")[0],
        "arn": scope.arn("budgets", f"budget/{raw['BudgetName']}", region=False),
        "costTypes": {
            name: types[name[0].upper() + name[1:]] for name in COST_TYPES if name[0].upper() + name[1:] in types
        },
        "costFilters": [
            {"name": name, "values": values} for name, values in sorted((raw.get("CostFilters") or {}).items())
        ],
        "limitAmount": limit.get("Amount"),
        "limitUnit": limit.get("Unit"),
        "notifications": notifications,
    }


def _addresses(notification: Values, kind: str) -> list[str]:
    return sorted(it["Address"] for it in notification["Subscribers"] if it["SubscriptionType"] == kind)


def _update(scope: Scope, budget: str, values: Values, changed: frozenset[str]) -> None:
    account = _key(budget)["AccountId"]
    if changed - {"notifications"}:
        scope.api.update_budget(AccountId=account, NewBudget=_budget(scope, values))
    if "notifications" in changed:
        for there in _live_notifications(scope, budget):
            scope.api.delete_notification(**_key(budget), Notification=there["Notification"])
        for it in values.get("notifications") or []:
            scope.api.create_notification(**_key(budget), **_notification(it))


def _same_amount(a: object, b: object) -> bool:
    """`100` and `100.0` are one amount."""
    try:
        return float(str(a)) == float(str(b))
    except ValueError:
        return False


BUDGET = Row(
    kind="aws:budgets/budget:Budget",
    service="budgets",
    regional=False,
    fields={
        "name": text("BudgetName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "accountId": text(False, computed=True, replace=True),
        "budgetType": text(required=True),
        "timeUnit": text(required=True),
        "limitAmount": text(False, computed=True, same=_same_amount),
        "limitUnit": text(False, computed=True),
        "timePeriodStart": text(False, computed=True),
        "timePeriodEnd": text(False, default=FOREVER),
        "costTypes": block({name: flag(default=default) for name, default in COST_TYPES.items()}, False, computed=True),
        "costFilters": block_set(
            {"name": text(required=True), "values": text_set(required=True)}, False, computed=True
        ),
        "plannedLimits": block_set({"amount": text(), "startTime": text(), "unit": text()}, False, write_only=True),
        "notifications": block_set(
            {
                "notificationType": text(required=True),
                "comparisonOperator": text(required=True),
                "threshold": number(required=True),
                "thresholdType": text(required=True),
                "subscriberEmailAddresses": text_set(),
                "subscriberSnsTopicArns": text_set(),
            },
            False,
        ),
        "arn": out(text(False)),
    },
    create=_create,
    find=lambda scope, budget, state: scope.api.describe_budget(**_key(budget))["Budget"],
    derive=_outputs,
    update=_update,
    delete=lambda scope, budget, state: scope.api.delete_budget(**_key(budget)),
    tagging=BUDGET_TAGS,
    naming=Naming(limit=100, prefix_field="namePrefix"),
)

ROWS = (BUDGET,)
