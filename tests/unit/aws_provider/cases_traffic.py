"""Life cycles of the load balancer, and of what watches it: logs, alarms, topics, budgets, secrets."""

from __future__ import annotations

from tests.unit.aws_provider.cases import Case, policy

NOTIFICATION = {"comparisonOperator": "GREATER_THAN", "notificationType": "FORECASTED", "thresholdType": "PERCENTAGE"}

TRAFFIC_CASES = (
    Case(
        "aws:lb/loadBalancer:LoadBalancer",
        lambda w: {
            "subnets": w.subnets,
            "securityGroups": [w.group.id],
            "idleTimeout": 300,
            "dropInvalidHeaderFields": True,
            "accessLogs": {"bucket": w.bucket.id, "prefix": "alb", "enabled": True},
        },
        lambda w: {"idleTimeout": 600, "dropInvalidHeaderFields": False},
    ),
    Case(
        "aws:lb/targetGroup:TargetGroup",
        lambda w: {
            "port": 8080,
            "protocol": "HTTP",
            "vpcId": w.vpc.id,
            "targetType": "ip",
            "deregistrationDelay": 120,
            "loadBalancingAlgorithmType": "least_outstanding_requests",
            "healthCheck": {"path": "/readyz", "interval": 5, "timeout": 2, "healthyThreshold": 2, "matcher": "200"},
        },
        lambda w: {"deregistrationDelay": 60, "healthCheck": {"path": "/healthz", "interval": 10}},
    ),
    Case(
        "aws:lb/listener:Listener",
        lambda w: {
            "loadBalancerArn": w.balancer.id,
            "port": 8081,
            "protocol": "HTTP",
            "defaultActions": [
                {"type": "fixed-response", "fixedResponse": {"contentType": "text/plain", "statusCode": "404"}}
            ],
        },
        lambda w: {"port": 8082, "defaultActions": w.weighted(50, 50)},
    ),
    Case(
        "aws:lb/listenerRule:ListenerRule",
        lambda w: {
            "listenerArn": w.listener.id,
            "priority": 10,
            "actions": w.weighted(100, 0),
            "conditions": [
                {"pathPattern": {"values": ["/v1/*"]}},
                {"httpHeader": {"httpHeaderName": "X-Colour", "values": ["green"]}},
                {"queryStrings": [{"key": "a", "value": "b"}]},
            ],
        },
        lambda w: {"actions": w.weighted(95, 5), "conditions": [{"pathPattern": {"values": ["/v2/*"]}}]},
    ),
    Case(
        "aws:cloudwatch/logGroup:LogGroup",
        lambda w: {"retentionInDays": 7, "kmsKeyId": w.key["arn"], "tags": {"a": "b"}},
        lambda w: {"retentionInDays": 30, "tags": {"a": "c"}},
    ),
    Case(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        lambda w: {
            "comparisonOperator": "GreaterThanThreshold",
            "evaluationPeriods": 3,
            "metricName": "TargetResponseTime",
            "namespace": "AWS/ApplicationELB",
            "extendedStatistic": "p99",
            "period": 60,
            "threshold": 2.5,
            "dimensions": {"LoadBalancer": "app/one"},
            "alarmActions": [w.topic.id],
            "treatMissingData": "notBreaching",
        },
        lambda w: {"threshold": 3, "tags": {"a": "b"}},
    ),
    Case(
        "aws:sns/topic:Topic",
        lambda w: {"displayName": "alarms", "kmsMasterKeyId": w.key.id},
        lambda w: {"displayName": "events", "tags": {"a": "b"}},
    ),
    Case(
        "aws:sns/topicPolicy:TopicPolicy",
        lambda w: {"arn": w.topic.id, "policy": policy("sns:Publish", resource=w.topic.id, principal="*")},
        lambda w: {"policy": policy("sns:Publish", "sns:Subscribe", resource=w.topic.id, principal="*")},
    ),
    Case(
        "aws:budgets/budget:Budget",
        lambda w: {
            "budgetType": "COST",
            "timeUnit": "MONTHLY",
            "limitAmount": "500",
            "limitUnit": "USD",
            "costFilters": [{"name": "TagKeyValue", "values": ["user:project$penstock"]}],
            "notifications": [{**NOTIFICATION, "threshold": 80, "subscriberSnsTopicArns": [w.topic.id]}],
        },
        lambda w: {
            "limitAmount": "600",
            "notifications": [{**NOTIFICATION, "threshold": 90, "subscriberEmailAddresses": ["platform@example.com"]}],
        },
    ),
    Case(
        "aws:secretsmanager/secret:Secret",
        lambda w: {"description": "API key", "kmsKeyId": w.key["arn"], "recoveryWindowInDays": 0},
        lambda w: {"description": "the API key", "tags": {"a": "b"}},
    ),
    Case(
        "aws:secretsmanager/secretVersion:SecretVersion",
        lambda w: {"secretId": w.secret.id, "secretString": "first"},
        gone=False,
    ),
)
