"""The topic on which alarms, budgets and anomaly monitors speak, and the queue from which the gateways read it."""

import json
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components import policies

PUBLISHERS = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com"]
"""Alarms, budgets, cost anomaly detection."""

KEY_USERS = [*PUBLISHERS, "sns.amazonaws.com", "events.amazonaws.com"]
"""Who writes what the messages' key encrypts: SNS and EventBridge put it into queues."""

DAY_SECONDS = 86_400
KEPT_SECONDS = 4 * DAY_SECONDS
"""A budget's word is stale after some days; AWS repeats it with the next threshold."""
DEAD_KEPT_SECONDS = 14 * DAY_SECONDS
"""The longest that SQS keeps a message: time for a person to look."""
LONG_POLL_SECONDS = 20
"""The longest that SQS lets a reader wait: fewest calls."""
VISIBILITY_SECONDS = 60
TRIES = 5


class EventsArgs(TypedDict):
    account_id: str
    key_arn: pulumi.Input[str]
    """KMS key of topic and queues; those who publish must be allowed to use it (`messages` of `DataKeys`)."""


class Events(pulumi.ComponentResource):
    """A topic for alarms and cost, and a queue that holds its messages until a gateway has read them."""

    topic_arn: pulumi.Output[str]
    """ARN of the topic, known once alarms, budgets and anomaly monitors may publish to it."""
    queue_url: pulumi.Output[str]
    """Raw messages of the topic."""
    queue_arn: pulumi.Output[str]
    """ARN of the queue, for the role of whoever reads it."""
    queue_name: pulumi.Output[str]
    """The queue's name in CloudWatch metrics."""
    dead_queue_name: pulumi.Output[str]
    """Messages that no gateway could read."""

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
        dead = aws.sqs.Queue(
            f"{name}-dead",
            kms_master_key_id=args["key_arn"],
            message_retention_seconds=DEAD_KEPT_SECONDS,
            opts=child,
        )
        queue = aws.sqs.Queue(
            name,
            kms_master_key_id=args["key_arn"],
            message_retention_seconds=KEPT_SECONDS,
            receive_wait_time_seconds=LONG_POLL_SECONDS,
            visibility_timeout_seconds=VISIBILITY_SECONDS,
            redrive_policy=dead.arn.apply(redrive_to),
            opts=child,
        )
        aws.sqs.RedriveAllowPolicy(
            f"{name}-dead",
            queue_url=dead.url,
            redrive_allow_policy=queue.arn.apply(redrive_from),
            opts=child,
        )
        aws.sqs.QueuePolicy(
            f"{name}-dead",
            queue_url=dead.url,
            policy=dead.arn.apply(lambda arn: policies.dumps(policies.queue_over_tls_only(arn))),
            opts=child,
        )
        open_to_topic = aws.sqs.QueuePolicy(
            name,
            queue_url=queue.url,
            policy=pulumi.Output.all(queue.arn, topic.arn).apply(
                lambda arns: policies.dumps(policies.queue_fed_by_topic(arns[0], arns[1]))
            ),
            opts=child,
        )
        aws.sns.TopicSubscription(
            name,
            topic=topic.arn,
            protocol="sqs",
            endpoint=queue.arn,
            # The message alone, without SNS's envelope.
            raw_message_delivery=True,
            # SNS drops what it may not deliver.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[open_to_topic]),
        )
        # Whoever waits for the topic may publish to it.
        self.topic_arn = pulumi.Output.all(topic.arn, allowed.id).apply(lambda parts: parts[0])
        self.queue_url = queue.url
        self.queue_arn = queue.arn
        self.queue_name = queue.name
        self.dead_queue_name = dead.name
        self.register_outputs(
            {
                "topicArn": self.topic_arn,
                "queueUrl": self.queue_url,
                "queueArn": self.queue_arn,
                "queueName": self.queue_name,
                "deadQueueName": self.dead_queue_name,
            }
        )


def redrive_to(dead_arn: str) -> str:
    """An SQS redrive policy: after some tries a message goes aside, so that it does not hold up the others."""
    return json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": TRIES}, separators=(",", ":"))


def redrive_from(queue_arn: str) -> str:
    """An SQS redrive-allow policy: this queue alone may put messages aside here."""
    return json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [queue_arn]}, separators=(",", ":"))
