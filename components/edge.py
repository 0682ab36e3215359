"""The load balancer, one target group for each colour, and the one rule that divides the traffic between them."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.audit import EDGE_PREFIX
from components.manifests import GATEWAY_PORT
from components.options import child_of
from components.shares import COLOURS, checked

IN_USE_PATH = "/.penstock/in-use"
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
COLOUR_HEADER, PROBE_HEADER = "x-penstock-colour", "x-penstock-probe"
FIRST_PROBE_PRIORITY = 10
"""Before the weighted rule's 100."""
NOT_FOUND = '{"error":{"message":"Not found.","type":"not_found","param":null,"code":404}}'


ADMIN_PATHS = ("/admin/*", "/console", "/console/*")
"""The admin API and the operator's page. What is not here or under /v1/ gets 404 from the load balancer itself."""
ADMIN_PRIORITY = 300
"""Behind the traffic's: no request of a client waits for it."""


class EdgeArgs(TypedDict):
    admin_cidrs: NotRequired[Sequence[str]]
    """Who reaches the gateways' admin API through the load balancer, beside its key; without any, nobody."""
    admin_weights: NotRequired[Mapping[str, int]]
    """Per cent for `blue` and `green`, 100 together: either may answer, if it has gateways."""
    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """One public subnet for each zone."""
    security_group_id: pulumi.Input[str]
    """Security group of the load balancer: who reaches it, and that it reaches gateways at port 8080."""
    port: int
    """TCP port of the listener: commonly 443 with a certificate, 80 without."""
    certificate_arn: NotRequired[pulumi.Input[str]]
    """With a certificate the listener speaks HTTPS, without one HTTP."""
    hostname: NotRequired[str]
    """The name that clients use; without one the load balancer's own."""
    hosted_zone_id: NotRequired[str]
    """The Route 53 zone in which `hostname` is to point to the load balancer; without one somebody else does that."""
    access_logs_bucket: NotRequired[pulumi.Input[str]]
    """A bucket in which the load balancer may write under `edge/`; without one no access log is kept."""
    idle_timeout_seconds: int
    """Above the longest silent gap inside a stream."""
    deregistration_delay_seconds: int
    """How long open streams to a leaving gateway are kept."""
    health_period_seconds: int
    """How often each gateway is asked for `/readyz`, 5 to 300; the second answer alike changes its health."""
    protected: bool
    """AWS refuses to delete the load balancer."""


class Edge(pulumi.ComponentResource):
    """An application load balancer whose listener refuses what no rule takes."""

    url: pulumi.Output[str]
    """Where clients connect, without a path."""
    listener_arn: pulumi.Output[str]
    blue_target_group_arn: pulumi.Output[str]
    green_target_group_arn: pulumi.Output[str]
    load_balancer_dimension: pulumi.Output[str]
    load_balancer_arn: pulumi.Output[str]
    """ARN of the load balancer, for a `Firewall`."""

    def __init__(self, name: str, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Edge", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        weights = checked("adminWeights", args.get("admin_weights", {"blue": 50, "green": 50}))
        certificate = args.get("certificate_arn")
        balancer = aws.lb.LoadBalancer(
            name,
            load_balancer_type="application",
            internal=False,
            subnets=args["subnet_ids"],
            security_groups=[args["security_group_id"]],
            idle_timeout=args["idle_timeout_seconds"],
            drop_invalid_header_fields=True,
            desync_mitigation_mode="strictest",
            enable_deletion_protection=args["protected"],
            access_logs=(
                {"bucket": args["access_logs_bucket"], "prefix": EDGE_PREFIX, "enabled": True}
                if "access_logs_bucket" in args
                else None
            ),
            opts=child,
        )
        groups = {colour: self._target_group(colour, args) for colour in COLOURS}
        listener = aws.lb.Listener(
            name,
            load_balancer_arn=balancer.arn,
            port=args["port"],
            protocol="HTTPS" if certificate else "HTTP",
            certificate_arn=certificate,
            ssl_policy=TLS_POLICY if certificate else None,
            default_actions=[
                {
                    "type": "fixed-response",
                    "fixed_response": {
                        "content_type": "application/json",
                        "status_code": "404",
                        "message_body": NOT_FOUND,
                    },
                }
            ],
            opts=child,
        )
        # A target group that no rule names has no health: pods that wait for theirs would wait for ever, and the rule
        # of the traffic waits for them. Gateways answer 404 here.
        aws.lb.ListenerRule(
            f"{name}-in-use",
            listener_arn=listener.arn,
            priority=200,
            conditions=[{"path_pattern": {"values": [IN_USE_PATH]}}],
            actions=[
                {
                    "type": "forward",
                    "forward": {"target_groups": [{"arn": groups[colour].arn, "weight": 50} for colour in COLOURS]},
                }
            ],
            opts=child,
        )
        if admins := args.get("admin_cidrs"):
            aws.lb.ListenerRule(
                f"{name}-admin",
                listener_arn=listener.arn,
                priority=ADMIN_PRIORITY,
                conditions=[
                    {"path_pattern": {"values": list(ADMIN_PATHS)}},
                    {"source_ip": {"values": list(admins)}},
                ],
                actions=[
                    {
                        "type": "forward",
                        "forward": {
                            "target_groups": [
                                {"arn": groups[colour].arn, "weight": weights[colour]} for colour in COLOURS
                            ]
                        },
                    }
                ],
                opts=child,
            )
        if "hosted_zone_id" in args and "hostname" in args:
            aws.route53.Record(
                f"{name}-name",
                zone_id=args["hosted_zone_id"],
                name=args["hostname"],
                type="A",
                aliases=[
                    {"name": balancer.dns_name, "zone_id": balancer.zone_id, "evaluate_target_health": True},
                ],
                opts=child,
            )
        scheme, usual = ("https", 443) if certificate else ("http", 80)
        port = "" if args["port"] == usual else f":{args['port']}"
        self.url = pulumi.Output.concat(scheme, "://", args.get("hostname") or balancer.dns_name, port)
        self.listener_arn = listener.arn
        self.blue_target_group_arn = groups["blue"].arn
        self.green_target_group_arn = groups["green"].arn
        self.load_balancer_dimension = balancer.arn_suffix
        self.load_balancer_arn = balancer.arn
        self.register_outputs(
            {
                "url": self.url,
                "listenerArn": self.listener_arn,
                "blueTargetGroupArn": self.blue_target_group_arn,
                "greenTargetGroupArn": self.green_target_group_arn,
                "loadBalancerDimension": self.load_balancer_dimension,
                "loadBalancerArn": self.load_balancer_arn,
            }
        )

    def _target_group(self, colour: str, args: EdgeArgs) -> aws.lb.TargetGroup:
        # Pods are bound to this group; a new name would leave them behind.
        return aws.lb.TargetGroup(
            f"{self.pulumi_resource_name}-{colour}",
            vpc_id=args["vpc_id"],
            target_type="ip",
            port=GATEWAY_PORT,
            protocol="HTTP",
            deregistration_delay=args["deregistration_delay_seconds"],
            # A gateway that is gone refuses at once: where the least busy target is chosen it would draw most requests
            # until its health check fails. So targets are drawn by lot, and one that fails often is left out.
            load_balancing_algorithm_type="weighted_random",
            load_balancing_anomaly_mitigation="on",
            health_check={
                "path": "/readyz",
                "protocol": "HTTP",
                "matcher": "200",
                "interval": args["health_period_seconds"],
                "timeout": max(2, args["health_period_seconds"] - 1),
                "healthy_threshold": 2,
                "unhealthy_threshold": 2,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )


class TrafficArgs(TypedDict):
    listener_arn: pulumi.Input[str]
    blue_target_group_arn: pulumi.Input[str]
    green_target_group_arn: pulumi.Input[str]
    weights: Mapping[str, int]
    """Per cent of new requests for `blue` and `green`: both of them, 100 together."""
    protected: bool
    """The rule, and with it the pods that it leads to, resist a destroy. Its weights may change all the same."""
    probe_token: NotRequired[pulumi.Input[str]]
    """Who sends it in the header `x-penstock-probe` names the colour in `x-penstock-colour`. Secret, of letters,
    digits, `-` and `_`. Without it nobody can choose a colour."""


class Traffic(pulumi.ComponentResource):
    """The weighted rule: the only place where traffic is divided, and one integer in a preview."""

    rule_arn: pulumi.Output[str]
    """ARN of the weighted rule, for requests under `/v1/`."""

    def __init__(self, name: str, args: TrafficArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Traffic", name, None, opts)
        weights = checked("weights", args["weights"])
        groups = {"blue": args["blue_target_group_arn"], "green": args["green_target_group_arn"]}
        if "probe_token" in args:
            for place, colour in enumerate(COLOURS):
                self._probe(f"{name}-probe-{colour}", args, groups, colour, FIRST_PROBE_PRIORITY + place, opts)
        rule = aws.lb.ListenerRule(
            name,
            listener_arn=args["listener_arn"],
            priority=100,
            conditions=[{"path_pattern": {"values": ["/v1/*"]}}],
            actions=[
                {
                    "type": "forward",
                    "forward": {
                        # Both always stand here, and never under ignore_changes: what is not written is not known.
                        "target_groups": [
                            {"arn": groups["blue"], "weight": weights["blue"]},
                            {"arn": groups["green"], "weight": weights["green"]},
                        ],
                    },
                }
            ],
            opts=pulumi.ResourceOptions.merge(child_of(self, opts), pulumi.ResourceOptions(protect=args["protected"])),
        )
        self.rule_arn = rule.arn
        self.register_outputs({"ruleArn": self.rule_arn})

    def _probe(
        self,
        name: str,
        args: TrafficArgs,
        groups: Mapping[str, pulumi.Input[str]],
        colour: str,
        priority: int,
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        """All of a request to one colour, whatever the weights: for the checks before a colour gets any traffic."""
        token = args.get("probe_token")
        assert token is not None  # noqa: S101 - asked for before
        aws.lb.ListenerRule(
            name,
            listener_arn=args["listener_arn"],
            priority=priority,
            conditions=[
                {"path_pattern": {"values": ["/v1/*"]}},
                {"http_header": {"http_header_name": COLOUR_HEADER, "values": [colour]}},
                {"http_header": {"http_header_name": PROBE_HEADER, "values": [token]}},
            ],
            actions=[{"type": "forward", "target_group_arn": groups[colour]}],
            opts=child_of(self, opts),
        )
