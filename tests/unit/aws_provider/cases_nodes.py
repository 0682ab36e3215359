"""What Karpenter stands on: EventBridge rules with their targets, and the nodes' instance profile."""

from __future__ import annotations

from tests.unit.aws_provider import world as worlds
from tests.unit.aws_provider.cases import Case

NODE_CASES = (
    Case(
        "aws:cloudwatch/eventRule:EventRule",
        lambda w: {"eventPattern": '{"source": ["aws.ec2"]}', "description": "instances", "tags": {"a": "b"}},
        lambda w: {"eventPattern": '{"source": ["aws.health"]}', "state": "DISABLED", "tags": {"a": "c"}},
    ),
    Case(
        "aws:cloudwatch/eventTarget:EventTarget",
        lambda w: {
            "rule": w.make("aws:cloudwatch/eventRule:EventRule", "shared", eventPattern='{"source": ["aws.ec2"]}').id,
            "targetId": "queue",
            "arn": w.make("aws:sqs/queue:Queue", "told")["arn"],
        },
        lambda w: {"arn": w.make("aws:sqs/queue:Queue", "told-next")["arn"]},
    ),
    Case(
        "aws:iam/instanceProfile:InstanceProfile",
        lambda w: {"role": w.role["name"], "tags": {"a": "b"}},
        lambda w: {"role": w.make("aws:iam/role:Role", "second", assumeRolePolicy=worlds.TRUST)["name"]},
    ),
)
