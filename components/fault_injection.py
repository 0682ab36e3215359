"""Drills on AWS: experiment templates of AWS Fault Injection Service, with a role of least rights and a stop condition.

A template does nothing until somebody starts it (`penstock drill`). Each carries the tags by which it is found.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components import policies
from components.arns import supported
from components.role import ServiceRole

DRILL_TAG, ZONE_TAG, BUDGET_TAG = "penstock-drill", "penstock-zone", "penstock-drill-seconds"
NOTICE = "PT2M"
"""Between a spot notice and the end of the instance, as AWS gives it outside of drills."""
LEAST_SECONDS = 60
"""The service's own least duration."""


class FaultInjectionArgs(TypedDict):
    partition: str
    region: str
    account_id: str
    stack: str
    zones: Sequence[str]
    """Full names, such as eu-central-1a: each has a template of its own."""
    longest_seconds: int
    """How long a zone or a cache's node stays without power, and how long an experiment may take at all."""
    stop_errors: int
    """So many errors of gateways in a minute end every experiment."""
    load_balancer_dimension: pulumi.Input[str]
    volumes_key_arn: pulumi.Input[str]
    """KMS key of the nodes' volumes: a drill needs it to start again the nodes that it stopped."""
    database_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the RDS instance; left out where it has no standby: then there is nothing to fail over to."""
    cache_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the replication group; left out where it has no replica: then no drill takes its power."""


class FaultInjection(pulumi.ComponentResource):
    """One template for each drill that AWS can do: zone-loss, spot-reclaim, database-failover, cache-primary."""

    template_ids: pulumi.Output[list[str]]
    """Ids of the experiment templates; the tag `penstock-drill` of each tells which drill it is."""

    def __init__(self, name: str, args: FaultInjectionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:FaultInjection", name, None, opts)
        supported(args["partition"])
        child = pulumi.ResourceOptions(parent=self)
        role = ServiceRole(
            name,
            {
                "services": ["fis.amazonaws.com"],
                "description": f"Drills of the stack {args['stack']}",
                "managed_policies": [],
                "policy": pulumi.Output.all(
                    key=args["volumes_key_arn"],
                    database=args.get("database_arn") or "",
                    cache=args.get("cache_arn") or "",
                ).apply(lambda found: policies.dumps(_rights(args, found))),
            },
            child,
        )
        alarm = aws.cloudwatch.MetricAlarm(
            f"{name}-stop",
            alarm_description="Gateways answer with errors during a drill: AWS ends it.",
            namespace="AWS/ApplicationELB",
            metric_name="HTTPCode_Target_5XX_Count",
            dimensions={"LoadBalancer": args["load_balancer_dimension"]},
            statistic="Sum",
            period=60,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=args["stop_errors"],
            treat_missing_data="notBreaching",
            opts=child,
        )
        made = [
            aws.fis.ExperimentTemplate(
                f"{name}-{plan['name']}",
                description=plan["description"],
                role_arn=role.arn,
                actions=plan["actions"],
                targets=plan["targets"],
                stop_conditions=[{"source": "aws:cloudwatch:alarm", "value": alarm.arn}],
                # An experiment that finds nothing to break proves nothing.
                experiment_options={"account_targeting": "single-account", "empty_target_resolution_mode": "fail"},
                tags={**plan["tags"], BUDGET_TAG: str(args["longest_seconds"])},
                opts=child,
            )
            for plan in plans(args)
        ]
        self.template_ids = pulumi.Output.all(*(template.id for template in made)).apply(list)
        self.register_outputs({"templateIds": self.template_ids})


def _rights(args: FaultInjectionArgs, found: Mapping[str, str]) -> dict[str, Any]:
    instances = f"arn:{args['partition']}:ec2:{args['region']}:{args['account_id']}:instance/*"
    return policies.inject_faults(
        args["stack"],
        instances,
        found["key"],
        args["region"],
        database_arn=found["database"],
        cache_arn=found["cache"],
    )


def plans(args: FaultInjectionArgs) -> list[dict[str, Any]]:
    """The templates to be: name, description, actions, targets and tags."""
    duration = f"PT{max(args['longest_seconds'], LEAST_SECONDS)}S"
    found = [_zone_loss(args, zone, duration) for zone in args["zones"]]
    found.append(_spot_reclaim(args))
    if (database := args.get("database_arn")) is not None:
        found.append(_database_failover(database))
    if (cache := args.get("cache_arn")) is not None:
        found += [_cache_primary(cache, zone, duration) for zone in args["zones"]]
    return found


def _nodes(args: FaultInjectionArgs, name: str, kind: str, mode: str, **filters: str) -> dict[str, Any]:
    """Running instances of this stack alone."""
    wanted = {"State.Name": "running", **filters}
    return {
        "name": name,
        "resource_type": kind,
        "selection_mode": mode,
        "resource_tags": [{"key": "stack", "value": args["stack"]}],
        "filters": [{"path": path, "values": [value]} for path, value in wanted.items()],
    }


def _zone_loss(args: FaultInjectionArgs, zone: str, duration: str) -> dict[str, Any]:
    nodes = _nodes(args, "nodes", "aws:ec2:instance", "ALL", **{"Placement.AvailabilityZone": zone})
    actions = [
        {
            "name": "power",
            "action_id": "aws:ec2:stop-instances",
            "parameters": [
                {"key": "startInstancesAfterDuration", "value": duration},
                {"key": "completeIfInstancesTerminated", "value": "true"},
            ],
            "target": {"key": "Instances", "value": "nodes"},
        }
    ]
    targets = [nodes]
    if (cache := args.get("cache_arn")) is not None:
        actions.append(_cache_power(duration))
        targets.append(_cache(cache, zone))
    return {
        "name": f"zone-loss-{zone[-1]}",
        "description": f"The nodes of {zone} lose their power.",
        "actions": actions,
        "targets": targets,
        "tags": {DRILL_TAG: "zone-loss", ZONE_TAG: zone},
    }


def _spot_reclaim(args: FaultInjectionArgs) -> dict[str, Any]:
    return {
        "name": "spot-reclaim",
        "description": "One spot node is reclaimed with its notice.",
        "actions": [
            {
                "name": "reclaim",
                "action_id": "aws:ec2:send-spot-instance-interruptions",
                "parameters": [{"key": "durationBeforeInterruption", "value": NOTICE}],
                "target": {"key": "SpotInstances", "value": "nodes"},
            }
        ],
        "targets": [_nodes(args, "nodes", "aws:ec2:spot-instance", "COUNT(1)")],
        "tags": {DRILL_TAG: "spot-reclaim"},
    }


def _database_failover(arn: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "name": "database-failover",
        "description": "The database fails over to its standby.",
        "actions": [
            {
                "name": "failover",
                "action_id": "aws:rds:reboot-db-instances",
                "parameters": [{"key": "forceFailover", "value": "true"}],
                "target": {"key": "DBInstances", "value": "database"},
            }
        ],
        "targets": [
            {"name": "database", "resource_type": "aws:rds:db", "selection_mode": "ALL", "resource_arns": [arn]}
        ],
        "tags": {DRILL_TAG: "database-failover"},
    }


def _cache_primary(arn: pulumi.Input[str], zone: str, duration: str) -> dict[str, Any]:
    return {
        "name": f"cache-primary-{zone[-1]}",
        "description": f"The cache's node in {zone} loses its power.",
        "actions": [_cache_power(duration)],
        "targets": [_cache(arn, zone)],
        "tags": {DRILL_TAG: "cache-primary", ZONE_TAG: zone},
    }


def _cache_power(duration: str) -> dict[str, Any]:
    return {
        "name": "cache",
        "action_id": "aws:elasticache:replicationgroup-interrupt-az-power",
        "parameters": [{"key": "duration", "value": duration}],
        "target": {"key": "ReplicationGroups", "value": "cache"},
    }


def _cache(arn: pulumi.Input[str], zone: str) -> dict[str, Any]:
    return {
        "name": "cache",
        "resource_type": "aws:elasticache:replicationgroup",
        "selection_mode": "ALL",
        "resource_arns": [arn],
        "parameters": {"availabilityZoneIdentifier": zone},
    }
