"""The firewall of the load balancer: managed rules of AWS WAF, and a limit for each client address."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

import pulumi
import pulumi_aws as aws

if TYPE_CHECKING:
    from pulumi_aws.wafv2 import WebAclRuleArgsDict, WebAclVisibilityConfigArgsDict

TOO_MANY = '{"error":{"message":"Too many requests from this address.","type":"rate_limit_error","code":429}}'
TOO_MANY_KEY = "too-many-requests"
RATE_WINDOW_SECONDS = 300

PROMPT_RULES: Mapping[str, Sequence[str]] = {
    "AWSManagedRulesCommonRuleSet": (
        "SizeRestrictions_BODY",
        "EC2MetaDataSSRF_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "CrossSiteScripting_BODY",
    ),
    "AWSManagedRulesKnownBadInputsRuleSet": ("JavaDeserializationRCE_BODY", "Log4JRCE_BODY"),
}
"""Rules on the body that only count. A prompt is long (the size rule refuses 8 KB) and may hold any text: code, paths,
addresses, an exploit to explain. It is data for a model and never run. The same attacks in paths, queries and headers
are refused. Names: AWS WAF Developer Guide, AWS Managed Rules rule groups list, baseline rule groups."""

SECRET_HEADERS = ("authorization", "x-api-key", "cookie")
"""Headers that carry credentials: they never reach a log."""


def rules(requests_per_five_minutes_per_ip: int) -> "list[WebAclRuleArgsDict]":
    """The rules, in the order in which they are judged; 927 of the 1500 capacity units that an ACL may use."""
    limit: WebAclRuleArgsDict = {
        "name": "requests-per-address",
        "priority": 0,
        "action": {
            "block": {"custom_response": {"response_code": 429, "custom_response_body_key": TOO_MANY_KEY}},
        },
        "statement": {
            "rate_based_statement": {
                "limit": requests_per_five_minutes_per_ip,
                "aggregate_key_type": "IP",
                "evaluation_window_sec": RATE_WINDOW_SECONDS,
            }
        },
        "visibility_config": _visible("requests-per-address"),
    }
    groups = ("AWSManagedRulesAmazonIpReputationList", *PROMPT_RULES)
    return [limit, *(_managed(group, priority) for priority, group in enumerate(groups, start=1))]


class FirewallArgs(TypedDict):
    load_balancer_arn: pulumi.Input[str]
    """ARN of the application load balancer that it protects (`loadBalancerArn` of `Edge`)."""
    requests_per_five_minutes_per_ip: int
    """AWS counts each address by itself and takes 10 or more."""
    log_name: str
    """The log group is `aws-waf-logs-` and this: AWS WAF writes to groups of that prefix alone."""
    log_retention_days: int
    logs_key_arn: pulumi.Input[str]


class Firewall(pulumi.ComponentResource):
    """A regional web ACL on the load balancer. What it refuses is logged, without credentials."""

    web_acl_arn: pulumi.Output[str]
    """ARN of the web ACL, which is bound to the load balancer."""
    log_group_name: pulumi.Output[str]
    """Name of the log group of refused requests."""

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Firewall", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        acl = aws.wafv2.WebAcl(
            f"{name}-acl",
            scope="REGIONAL",
            description="Load balancer of the gateways",
            default_action={"allow": {}},
            custom_response_bodies=[
                {"key": TOO_MANY_KEY, "content_type": "APPLICATION_JSON", "content": TOO_MANY},
            ],
            rules=rules(args["requests_per_five_minutes_per_ip"]),
            visibility_config=_visible("all"),
            opts=child,
        )
        aws.wafv2.WebAclAssociation(
            f"{name}-balancer", resource_arn=args["load_balancer_arn"], web_acl_arn=acl.arn, opts=child
        )
        group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"aws-waf-logs-{args['log_name']}",
            kms_key_id=args["logs_key_arn"],
            retention_in_days=args["log_retention_days"],
            opts=child,
        )
        aws.wafv2.WebAclLoggingConfiguration(
            f"{name}-logging",
            resource_arn=acl.arn,
            log_destination_configs=[group.arn],
            redacted_fields=[{"single_header": {"name": header}} for header in SECRET_HEADERS],
            # Of what passes the load balancer's access log tells, and a log of each prompt's matches only costs.
            logging_filter={
                "default_behavior": "DROP",
                "filters": [
                    {
                        "behavior": "KEEP",
                        "requirement": "MEETS_ANY",
                        "conditions": [{"action_condition": {"action": "BLOCK"}}],
                    }
                ],
            },
            opts=child,
        )
        self.web_acl_arn = acl.arn
        self.log_group_name = group.name
        self.register_outputs({"webAclArn": self.web_acl_arn, "logGroupName": self.log_group_name})


def _managed(group: str, priority: int) -> "WebAclRuleArgsDict":
    return {
        "name": group,
        "priority": priority,
        "override_action": {"none": {}},
        "statement": {
            "managed_rule_group_statement": {
                "vendor_name": "AWS",
                "name": group,
                "rule_action_overrides": [
                    {"name": rule, "action_to_use": {"count": {}}} for rule in PROMPT_RULES.get(group, ())
                ],
            }
        },
        "visibility_config": _visible(group),
    }


def _visible(metric: str) -> "WebAclVisibilityConfigArgsDict":
    # A sample shows whole headers, and with them the clients' keys.
    return {"cloudwatch_metrics_enabled": True, "metric_name": metric, "sampled_requests_enabled": False}
