"""Metrics of gateways and engines: scraped in the cluster, sent to CloudWatch and to a Prometheus endpoint."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import collector_manifests as manifests
from components import controller_policies, policies
from components.collector_manifests import MARKS, NAME
from components.controller import Installation, Rights, install
from components.options import child_of
from components.role import ServiceRole


class CollectorArgs(TypedDict):
    region: str
    cluster_name: pulumi.Input[str]
    namespace: str
    """Of gateways and engines; the collector runs there too."""
    image: pulumi.Input[str]
    """Image of the AWS Distro for OpenTelemetry's collector, with tag or digest."""
    log_group: str
    """Where CloudWatch reads the metrics from."""
    log_retention_days: int
    logs_key_arn: pulumi.Input[str]
    """KMS key of its log group, and of the workspace where one is made."""
    managed_prometheus: bool
    """Makes a workspace of Amazon Managed Service for Prometheus, and writes there."""
    remote_write_url: NotRequired[str]
    """Or: a Prometheus endpoint of somebody else's, which takes this network's writes without credentials."""


class Collector(pulumi.ComponentResource):
    """One pod that scrapes, its log group, its rights, and a workspace where one is asked for."""

    prometheus_url: pulumi.Output[str]
    """Of the workspace, to query it; empty where there is none."""

    def __init__(self, name: str, args: CollectorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Collector", name, None, opts)
        if args["managed_prometheus"] and args.get("remote_write_url"):
            raise ValueError("remoteWriteUrl: is given beside managedPrometheus; allowed: one of the two")
        child = child_of(self, opts)
        group = aws.cloudwatch.LogGroup(
            name,
            name=args["log_group"],
            kms_key_id=args["logs_key_arn"],
            retention_in_days=args["log_retention_days"],
            opts=child,
        )
        workspace = None
        if args["managed_prometheus"]:
            workspace = aws.amp.Workspace(name, alias=name, kms_key_arn=args["logs_key_arn"], opts=child)
        self.prometheus_url = workspace.prometheus_endpoint if workspace else pulumi.Output.from_input("")
        role = ServiceRole(
            name,
            {
                "services": ["pods.eks.amazonaws.com"],
                "description": "Metrics collector: writes metrics of gateways and engines",
                "managed_policies": [],
                "policy": pulumi.Output.all(group.arn, *([workspace.arn] if workspace else [])).apply(
                    lambda arns: policies.dumps(controller_policies.write_metrics(arns[0], arns[1:]))
                ),
            },
            child,
        )
        identity = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args["cluster_name"],
            namespace=args["namespace"],
            service_account=NAME,
            role_arn=role.arn,
            opts=child,
        )
        address = (
            self.prometheus_url.apply(lambda url: f"{url}api/v1/remote_write")
            if workspace
            else pulumi.Output.from_input(args.get("remote_write_url") or "")
        )
        # No name of its own: new content is a new object, and a new pod.
        config = k8s.core.v1.ConfigMap(
            name,
            metadata={"namespace": args["namespace"], "labels": MARKS},
            data={
                manifests.CONFIG_FILE: pulumi.Output.all(address, group.name).apply(
                    lambda known: manifests.configuration(
                        namespace=args["namespace"],
                        region=args["region"],
                        log_group=known[1],
                        remote_write=known[0] or None,
                        signed=args["managed_prometheus"],
                    )
                )
            },
            opts=child,
        )
        install(
            name,
            Installation(
                app=NAME,
                namespace=args["namespace"],
                marks=MARKS,
                deployment=manifests.deployment(
                    namespace=args["namespace"], image=args["image"], config_map=config.metadata["name"]
                ),
                policy=manifests.policy(),
                rights=[Rights("platform", args["namespace"], manifests.rules())],
            ),
            child,
            [identity],
        )
        self.register_outputs({"prometheusUrl": self.prometheus_url})
