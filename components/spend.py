"""What tells of money: budgets for the whole stack and for its parts, and a monitor for unusual cost."""

import json
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

STACK_TAG = "stack"
"""On every resource of a stack, by the provider's default tags; on nodes by their launch template."""
PART_TAG = "penstock-part"
"""On what a part of the stack costs by itself. One tag, for a budget cannot ask for two at once."""

COLOUR_TAG = "penstock-colour"
"""On nodes that one colour has for itself, with a value such as `prod-blue`."""


def part(stack: str, name: str) -> str:
    """The value of PART_TAG: `prod-gpu` for the GPU nodes of the stack prod."""
    return f"{stack}-{name}"


class MonthlyBudgetArgs(TypedDict):
    monthly_usd: int
    """What a month may cost, in US dollars: the percentages are of this."""
    actual_percents: Sequence[int]
    """Announced when so much has been spent."""
    forecast_percents: Sequence[int]
    """Announced when AWS expects so much by the end of the month; it needs about five weeks of history."""
    topic_arn: pulumi.Input[str]
    tag_key: NotRequired[str]
    """Count only what carries this tag with the value below, such as `penstock-part`; it must be active as a cost
    allocation tag."""
    tag_value: NotRequired[str]
    """The tag's value, such as `prod-gpu`; without key and value the whole account counts."""


class MonthlyBudget(pulumi.ComponentResource):
    """A monthly cost budget that speaks on the topic at each percentage, of what is spent and of what is expected."""

    budget_name: pulumi.Output[str]
    """Name of the budget in AWS Budgets."""

    def __init__(self, name: str, args: MonthlyBudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:MonthlyBudget", name, None, opts)
        thresholds = [
            *(("ACTUAL", percent) for percent in args["actual_percents"]),
            *(("FORECASTED", percent) for percent in args["forecast_percents"]),
        ]
        key, value = args.get("tag_key"), args.get("tag_value")
        if bool(key) != bool(value):
            raise ValueError(f"{name}: a tag needs key and value; with one of them the whole account would count")
        budget = aws.budgets.Budget(
            name,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(args["monthly_usd"]),
            limit_unit="USD",
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:{key}${value}"]}] if key and value else None,
            notifications=[
                {
                    "comparison_operator": "GREATER_THAN",
                    "notification_type": kind,
                    "threshold": percent,
                    "threshold_type": "PERCENTAGE",
                    "subscriber_sns_topic_arns": [args["topic_arn"]],
                }
                for kind, percent in thresholds
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.budget_name = budget.name
        self.register_outputs({"budgetName": self.budget_name})


class CostAnomaliesArgs(TypedDict):
    stack: str
    least_usd: int
    """Anomalies with a smaller total impact, in US dollars, are not announced."""
    topic_arn: pulumi.Input[str]


class CostAnomalies(pulumi.ComponentResource):
    """Watches the stack's cost for what is unusual and says so on the topic within a day."""

    monitor_arn: pulumi.Output[str]
    """ARN of the monitor, which looks at cost that carries the stack's tag."""

    def __init__(self, name: str, args: CostAnomaliesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:CostAnomalies", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        monitor = aws.costexplorer.AnomalyMonitor(
            name,
            # By tag: AWS allows one monitor of all services in an account, and many accounts have it already.
            monitor_type="CUSTOM",
            monitor_specification=json.dumps(
                {"Tags": {"Key": STACK_TAG, "Values": [args["stack"]]}}, separators=(",", ":")
            ),
            opts=child,
        )
        aws.costexplorer.AnomalySubscription(
            name,
            # A topic takes nothing but single alerts; summaries go to people's mail.
            frequency="IMMEDIATE",
            monitor_arn_lists=[monitor.arn],
            subscribers=[{"type": "SNS", "address": args["topic_arn"]}],
            threshold_expression={
                "dimension": {
                    "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                    "match_options": ["GREATER_THAN_OR_EQUAL"],
                    "values": [str(args["least_usd"])],
                }
            },
            opts=child,
        )
        self.monitor_arn = monitor.arn
        self.register_outputs({"monitorArn": self.monitor_arn})
