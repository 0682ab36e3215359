"""Cases of what tells of cost and failure, and of a bucket's rules."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.aws_provider.cases import Case, policy


def board(title: str) -> str:
    return json.dumps({"widgets": [{"type": "text", "width": 6, "height": 2, "properties": {"markdown": title}}]})


def impact(usd: int) -> dict[str, Any]:
    return {
        "dimension": {
            "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
            "matchOptions": ["GREATER_THAN_OR_EQUAL"],
            "values": [str(usd)],
        }
    }


def redrive(queue: Any, times: int) -> str:
    return json.dumps({"deadLetterTargetArn": queue["arn"], "maxReceiveCount": times})


def expiry(days: int) -> list[dict[str, Any]]:
    return [
        {
            "id": "old-versions",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "noncurrentVersionExpiration": {"noncurrentDays": days},
            "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
        }
    ]


def experiment(world: Any, minutes: int) -> dict[str, Any]:
    return {
        "description": "spot nodes",
        "roleArn": world.role["arn"],
        "actions": [
            {
                "name": "reclaim",
                "actionId": "aws:ec2:send-spot-instance-interruptions",
                "parameters": [{"key": "durationBeforeInterruption", "value": f"PT{minutes}M"}],
                "target": {"key": "SpotInstances", "value": "nodes"},
            }
        ],
        "targets": [
            {
                "name": "nodes",
                "resourceType": "aws:ec2:spot-instance",
                "selectionMode": "COUNT(1)",
                "resourceTags": [{"key": "stack", "value": "prod"}],
                "filters": [{"path": "State.Name", "values": ["running"]}],
            }
        ],
        "stopConditions": [{"source": "none"}],
    }


EVENT_CASES = (
    Case(
        "aws:fis/experimentTemplate:ExperimentTemplate",
        lambda w: {**experiment(w, 2), "tags": {"a": "b"}},
        lambda w: {**experiment(w, 5), "tags": {"a": "c"}},
    ),
    Case(
        "aws:amp/workspace:Workspace",
        lambda w: {"alias": "platform", "kmsKeyArn": w.key["arn"], "tags": {"a": "b"}},
        lambda w: {"alias": "penstock", "tags": {"a": "c"}},
    ),
    Case(
        "aws:sqs/queue:Queue",
        lambda w: {
            "kmsMasterKeyId": w.key["arn"],
            "messageRetentionSeconds": 86_400,
            "receiveWaitTimeSeconds": 20,
            "redrivePolicy": redrive(w.queue, 5),
            "tags": {"a": "b"},
        },
        lambda w: {"visibilityTimeoutSeconds": 60, "redrivePolicy": redrive(w.queue, 8), "tags": {"a": "c"}},
    ),
    Case(
        "aws:sqs/queuePolicy:QueuePolicy",
        lambda w: {
            "queueUrl": w.queue.id,
            "policy": policy("sqs:SendMessage", resource=w.queue["arn"], principal="*"),
        },
        lambda w: {"policy": policy("sqs:SendMessage", "sqs:ReceiveMessage", resource=w.queue["arn"], principal="*")},
    ),
    Case(
        "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy",
        lambda w: {
            "queueUrl": w.queue.id,
            "redriveAllowPolicy": json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [w.queue["arn"]]}),
        },
        lambda w: {"redriveAllowPolicy": json.dumps({"redrivePermission": "denyAll"})},
    ),
    Case(
        "aws:sns/topicSubscription:TopicSubscription",
        lambda w: {
            "topic": w.topic.id,
            "protocol": "sqs",
            "endpoint": w.queue["arn"],
            "rawMessageDelivery": True,
            "redrivePolicy": json.dumps({"deadLetterTargetArn": w.queue["arn"]}),
        },
        lambda w: {"rawMessageDelivery": False, "filterPolicy": json.dumps({"kind": ["budget"]})},
    ),
    Case(
        "aws:costexplorer/anomalyMonitor:AnomalyMonitor",
        lambda w: {
            "monitorType": "CUSTOM",
            "monitorSpecification": json.dumps({"Tags": {"Key": "stack", "Values": ["prod"]}}),
            "tags": {"a": "b"},
        },
        lambda w: {"name": "all-of-prod", "tags": {"a": "c"}},
    ),
    Case(
        "aws:costexplorer/anomalySubscription:AnomalySubscription",
        lambda w: {
            "frequency": "IMMEDIATE",
            "monitorArnLists": [w.monitor["arn"]],
            "subscribers": [{"type": "SNS", "address": w.topic.id}],
            "thresholdExpression": impact(100),
        },
        lambda w: {"thresholdExpression": impact(500), "tags": {"a": "b"}},
    ),
    Case(
        "aws:cloudwatch/dashboard:Dashboard",
        lambda w: {"dashboardName": "penstock", "dashboardBody": board("before")},
        lambda w: {"dashboardBody": board("after")},
    ),
    Case(
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        lambda w: {"bucket": w.bucket.id, "rules": expiry(30)},
        lambda w: {"rules": expiry(90)},
    ),
    Case(
        "aws:s3/bucketLogging:BucketLogging",
        lambda w: {"bucket": w.bucket.id, "targetBucket": w.log_bucket, "targetPrefix": "weights/"},
        lambda w: {"targetPrefix": "model-weights/"},
    ),
)
