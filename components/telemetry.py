"""Logs and metrics of the cluster itself: Container Insights by EKS's own add-on, with log groups that are ours."""

import json
from collections.abc import Mapping
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components import controller_policies, policies
from components.options import child_of
from components.role import ServiceRole

ADDON = "amazon-cloudwatch-observability"
FOLDER = "/var/log/containers"
ACCOUNT = "cloudwatch-agent"
"""The service account of its agent and of its log shipper."""
CLASSES = ("application", "dataplane", "host", "performance")
"""What the add-on writes under /aws/containerinsights/<cluster>. Groups that it made itself would have neither key nor
retention."""


class TelemetryArgs(TypedDict):
    region: str
    cluster: str
    """The cluster's physical name, which stands in the names of log groups."""
    cluster_name: pulumi.Input[str]
    addon_version: str
    """Version of the EKS add-on amazon-cloudwatch-observability, such as v4.7.0-eksbuild.1."""
    namespace: str
    """Of gateways and engines."""
    log_groups: Mapping[str, pulumi.Input[str]]
    """Log group of each kind of pod of that namespace, `gateway` and `engine`."""
    log_group_arns: Mapping[str, pulumi.Input[str]]
    """ARNs of the same groups, by the same kinds: the add-on may write to them."""
    log_retention_days: int
    """Of all other logs of the cluster."""
    logs_key_arn: pulumi.Input[str]


class Telemetry(pulumi.ComponentResource):
    """The add-on on every node, its rights, and the log groups that it may write to."""

    role_arn: pulumi.Output[str]
    """ARN of the role of the CloudWatch agent and of the log shipper."""

    def __init__(self, name: str, args: TelemetryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Telemetry", name, None, opts)
        if missing := sorted(set(args["log_groups"]) - set(args["log_group_arns"])):
            raise ValueError(f"logGroupArns: lacks {', '.join(missing)}; allowed: an ARN for each kind of logGroups")
        child = child_of(self, opts)
        groups = [
            aws.cloudwatch.LogGroup(
                f"{name}-{kind}",
                name=f"/aws/containerinsights/{args['cluster']}/{kind}",
                kms_key_id=args["logs_key_arn"],
                retention_in_days=args["log_retention_days"],
                opts=child,
            )
            for kind in CLASSES
        ]
        role = ServiceRole(
            name,
            {
                "services": ["pods.eks.amazonaws.com"],
                "description": "CloudWatch agent and log shipper: write to their log groups",
                "managed_policies": [],
                "policy": pulumi.Output.all(
                    *[group.arn for group in groups], *[args["log_group_arns"][kind] for kind in args["log_groups"]]
                ).apply(lambda arns: policies.dumps(controller_policies.write_telemetry(arns, args["region"]))),
            },
            child,
        )
        aws.eks.Addon(
            name,
            addon_name=ADDON,
            addon_version=args["addon_version"],
            cluster_name=args["cluster_name"],
            configuration_values=pulumi.Output.all(**args["log_groups"]).apply(
                lambda names: configuration(args["namespace"], names)
            ),
            pod_identity_associations=[{"role_arn": role.arn, "service_account": ACCOUNT}],
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=groups)),
        )
        self.role_arn = role.arn
        self.register_outputs({"roleArn": self.role_arn})


def configuration(namespace: str, log_groups: Mapping[str, str]) -> str:
    """The add-on's settings, as JSON (values of its chart, version 6.4).

    No tracing by injected agents; logs of gateways and engines go to groups of their own, with their own retention.
    """
    return json.dumps(
        {
            "applicationSignals": {"enabled": False},
            "containerInsights": {"enabled": True},
            "containerLogs": {
                "enabled": True,
                "fluentBit": {"config": {"extraFiles": {"application-log.conf": _shipping(namespace, log_groups)}}},
            },
        },
        separators=(",", ":"),
        sort_keys=True,
    )


def _shipping(namespace: str, log_groups: Mapping[str, str]) -> str:
    """Fluent Bit's settings for the logs of containers. A file's name is `<pod>_<namespace>_<container>-<id>.log`."""
    own = {kind: f"{FOLDER}/{kind}-*_{namespace}_*.log" for kind in sorted(log_groups)}
    parts = [
        _pipe(
            "application",
            f"{FOLDER}/*.log",
            "/aws/containerinsights/${CLUSTER_NAME}/application",
            ", ".join(own.values()),
        ),
        *(_pipe(kind, files, log_groups[kind]) for kind, files in own.items()),
    ]
    return "\n".join(parts)


def _pipe(tag: str, files: str, group: str, leaving_out: str = "") -> str:
    lines = {
        "INPUT": {
            "Name": "tail",
            "Tag": f"{tag}.*",
            "Path": files,
            **({"Exclude_Path": leaving_out} if leaving_out else {}),
            "multiline.parser": "docker, cri",
            "DB": f"/var/fluent-bit/state/flb_{tag}.db",
            "Mem_Buf_Limit": "50MB",
            "Skip_Long_Lines": "On",
            "Refresh_Interval": "10",
            "storage.type": "filesystem",
            "Read_from_Head": "${READ_FROM_HEAD}",
        },
        "FILTER": {
            "Name": "kubernetes",
            "Match": f"{tag}.*",
            "Kube_URL": "https://kubernetes.default.svc:443",
            "Kube_Tag_Prefix": f"{tag}.var.log.containers.",
            "Merge_Log": "On",
            "Merge_Log_Key": "log_processed",
            "Labels": "On",
            "Annotations": "Off",
            "Use_Kubelet": "On",
            "Kubelet_Port": "10250",
            "Buffer_Size": "0",
        },
        "OUTPUT": {
            "Name": "cloudwatch_logs",
            "Match": f"{tag}.*",
            "region": "${AWS_REGION}",
            "log_group_name": group,
            "log_stream_prefix": "${HOST_NAME}-",
            # The program makes the groups, with key and retention.
            "auto_create_group": "false",
        },
    }
    return "".join(
        f"[{section}]\n" + "".join(f"  {key} {value}\n" for key, value in values.items())
        for section, values in lines.items()
    )
