"""Life cycles of what stands at the edge: firewall, certificate, DNS records; and of the logs there."""

from __future__ import annotations

from typing import Any

from tests.unit.aws_provider.cases import Case

SEEN = {"cloudwatchMetricsEnabled": True, "metricName": "all", "sampledRequestsEnabled": False}
TOO_MANY = {"key": "too-many", "contentType": "APPLICATION_JSON", "content": "{}"}
MANAGED = {"vendorName": "AWS", "name": "AWSManagedRulesCommonRuleSet"}


def limit(requests: int) -> dict[str, Any]:
    return {
        "name": "limit",
        "priority": 0,
        "action": {"block": {"customResponse": {"responseCode": 429, "customResponseBodyKey": "too-many"}}},
        "statement": {
            "rateBasedStatement": {"limit": requests, "aggregateKeyType": "IP", "evaluationWindowSec": 300},
        },
        "visibilityConfig": SEEN,
    }


def managed(*counted: str) -> dict[str, Any]:
    overrides = [{"name": rule, "actionToUse": {"count": {}}} for rule in counted]
    return {
        "name": "common",
        "priority": 1,
        "overrideAction": {"none": {}},
        "statement": {"managedRuleGroupStatement": {**MANAGED, "ruleActionOverrides": overrides}},
        "visibilityConfig": SEEN,
    }


EDGE_CASES = (
    Case(
        "aws:wafv2/webAcl:WebAcl",
        lambda w: {
            "scope": "REGIONAL",
            "description": "edge",
            "defaultAction": {"allow": {}},
            "customResponseBodies": [TOO_MANY],
            "rules": [limit(1000), managed("SizeRestrictions_BODY")],
            "visibilityConfig": SEEN,
            "tags": {"a": "b"},
        },
        lambda w: {"rules": [limit(2000), managed("SizeRestrictions_BODY", "GenericLFI_BODY")], "tags": {"a": "c"}},
    ),
    Case(
        "aws:wafv2/webAclAssociation:WebAclAssociation",
        lambda w: {"resourceArn": w.balancer.id, "webAclArn": w.web_acl["arn"]},
    ),
    Case(
        "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration",
        lambda w: {
            "resourceArn": w.web_acl["arn"],
            "logDestinationConfigs": [w.firewall_logs],
            "redactedFields": [{"singleHeader": {"name": "authorization"}}],
            "loggingFilter": {
                "defaultBehavior": "DROP",
                "filters": [
                    {
                        "behavior": "KEEP",
                        "requirement": "MEETS_ANY",
                        "conditions": [{"actionCondition": {"action": "BLOCK"}}],
                    }
                ],
            },
        },
        lambda w: {"redactedFields": [{"singleHeader": {"name": name}} for name in ("authorization", "cookie")]},
    ),
    Case(
        "aws:acm/certificate:Certificate",
        lambda w: {"domainName": "other.example.com", "validationMethod": "DNS"},
        lambda w: {"tags": {"a": "b"}},
    ),
    Case(
        "aws:acm/certificateValidation:CertificateValidation",
        lambda w: {"certificateArn": w.proven_certificate["arn"]},
        gone=False,
    ),
    Case(
        "aws:route53/record:Record",
        lambda w: {
            "zoneId": w.zone,
            "name": "chat.example.com",
            "type": "A",
            "aliases": [{"name": "one.elb.amazonaws.com", "zoneId": "Z215JYRZR1TBD5", "evaluateTargetHealth": True}],
        },
        lambda w: {
            "aliases": [{"name": "two.elb.amazonaws.com", "zoneId": "Z215JYRZR1TBD5", "evaluateTargetHealth": True}]
        },
    ),
    Case(
        "aws:ec2/flowLog:FlowLog",
        lambda w: {
            "vpcId": w.vpc.id,
            "trafficType": "ALL",
            "iamRoleArn": w.role["arn"],
            "logDestination": w.firewall_logs,
            "maxAggregationInterval": 60,
        },
        lambda w: {"tags": {"Name": "all"}},
    ),
    Case(
        "aws:cloudtrail/trail:Trail",
        lambda w: {
            "s3BucketName": w.log_bucket,
            "kmsKeyId": w.key["arn"],
            "isMultiRegionTrail": True,
            "enableLogFileValidation": True,
            "tags": {"a": "b"},
        },
        lambda w: {"includeGlobalServiceEvents": False, "enableLogging": False, "tags": {"a": "c"}},
    ),
)
