"""What tells people: topic, alarms, log groups, the monthly budget."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components import policies

PUBLISHERS = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]


class EventsArgs(TypedDict):
    account_id: str
    key_arn: pulumi.Input[str]


class Events(pulumi.ComponentResource):
    """The topic on which alarms and budgets speak."""

    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: EventsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Events", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic(name, kms_master_key_id=args["key_arn"], opts=child)
        account = args["account_id"]
        allowed = aws.sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=topic.arn.apply(lambda arn: policies.dumps(policies.publish_from_account(arn, account, PUBLISHERS))),
            opts=child,
        )
        # Whoever waits for the topic may publish to it.
        self.topic_arn = pulumi.Output.all(topic.arn, allowed.id).apply(lambda parts: parts[0])
        self.register_outputs({"topicArn": self.topic_arn})


class WatchArgs(TypedDict):
    log_group_prefix: str
    log_groups: Sequence[str]
    """One for each kind of workload."""
    log_retention_days: int
    logs_key_arn: pulumi.Input[str]
    topic_arn: pulumi.Input[str]
    load_balancer_dimension: pulumi.Input[str]


class Watch(pulumi.ComponentResource):
    """Log groups, and alarms on what users feel."""

    log_group_names: pulumi.Output[Mapping[str, str]]

    def __init__(self, name: str, args: WatchArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Watch", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        groups = {
            group: aws.cloudwatch.LogGroup(
                f"{name}-{group}",
                name=f"{args['log_group_prefix']}/{group}",
                kms_key_id=args["logs_key_arn"],
                retention_in_days=args["log_retention_days"],
                opts=child,
            )
            for group in args["log_groups"]
        }
        for metric, description, threshold in (
            ("HTTPCode_Target_5XX_Count", "Gateways answered with a server error", 5),
            ("HTTPCode_ELB_5XX_Count", "The load balancer found no gateway that answers", 1),
        ):
            aws.cloudwatch.MetricAlarm(
                f"{name}-{metric.lower().replace('_', '-')}",
                alarm_description=description,
                namespace="AWS/ApplicationELB",
                metric_name=metric,
                dimensions={"LoadBalancer": args["load_balancer_dimension"]},
                statistic="Sum",
                period=60,
                evaluation_periods=3,
                datapoints_to_alarm=2,
                comparison_operator="GreaterThanOrEqualToThreshold",
                threshold=threshold,
                # No requests is no failure.
                treat_missing_data="notBreaching",
                alarm_actions=[args["topic_arn"]],
                ok_actions=[args["topic_arn"]],
                opts=child,
            )
        self.log_group_names = pulumi.Output.all(**{name: group.name for name, group in groups.items()})
        self.register_outputs({"logGroupNames": self.log_group_names})


class MonthlyBudgetArgs(TypedDict):
    monthly_usd: int
    alert_percents: Sequence[int]
    topic_arn: pulumi.Input[str]


class MonthlyBudget(pulumi.ComponentResource):
    """A monthly cost budget that speaks on the topic at each percentage."""

    budget_name: pulumi.Output[str]

    def __init__(self, name: str, args: MonthlyBudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:MonthlyBudget", name, None, opts)
        budget = aws.budgets.Budget(
            name,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(args["monthly_usd"]),
            limit_unit="USD",
            notifications=[
                {
                    "comparison_operator": "GREATER_THAN",
                    "notification_type": "ACTUAL",
                    "threshold": percent,
                    "threshold_type": "PERCENTAGE",
                    "subscriber_sns_topic_arns": [args["topic_arn"]],
                }
                for percent in args["alert_percents"]
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.budget_name = budget.name
        self.register_outputs({"budgetName": self.budget_name})
