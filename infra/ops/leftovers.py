"""What a destroyed stack left in the embedded AWS and in the cluster: each kind listed through its own API."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.local.layout import Layout

REQUEST_SECONDS = 10.0
KUBERNETES_OWN = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})

Listing = Callable[[Any], Iterable[str]]


def _live_keys(client: Any) -> Iterable[str]:
    """Those that are not waiting for their deletion, and not AWS's own."""
    for key in client.list_keys()["Keys"]:
        found = client.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        if found["KeyState"] != "PendingDeletion" and found["KeyManager"] == "CUSTOMER":
            yield key["KeyId"]


LISTINGS: dict[str, tuple[str, Listing]] = {
    "VPC": ("ec2", lambda c: [v["VpcId"] for v in c.describe_vpcs()["Vpcs"] if not v["IsDefault"]]),
    "NAT gateway": (
        "ec2",
        lambda c: [n["NatGatewayId"] for n in c.describe_nat_gateways()["NatGateways"] if n["State"] != "deleted"],
    ),
    "address": ("ec2", lambda c: [a["AllocationId"] for a in c.describe_addresses()["Addresses"]]),
    "launch template": (
        "ec2",
        lambda c: [t["LaunchTemplateName"] for t in c.describe_launch_templates()["LaunchTemplates"]],
    ),
    "cluster": ("eks", lambda c: c.list_clusters()["clusters"]),
    "bucket": ("s3", lambda c: [b["Name"] for b in c.list_buckets()["Buckets"]]),
    "database": ("rds", lambda c: [d["DBInstanceIdentifier"] for d in c.describe_db_instances()["DBInstances"]]),
    "snapshot": ("rds", lambda c: [s["DBSnapshotIdentifier"] for s in c.describe_db_snapshots()["DBSnapshots"]]),
    "cache": (
        "elasticache",
        lambda c: [g["ReplicationGroupId"] for g in c.describe_replication_groups()["ReplicationGroups"]],
    ),
    "load balancer": ("elbv2", lambda c: [b["LoadBalancerName"] for b in c.describe_load_balancers()["LoadBalancers"]]),
    "target group": ("elbv2", lambda c: [g["TargetGroupName"] for g in c.describe_target_groups()["TargetGroups"]]),
    "image repository": ("ecr", lambda c: [r["repositoryName"] for r in c.describe_repositories()["repositories"]]),
    "log group": ("logs", lambda c: [g["logGroupName"] for g in c.describe_log_groups()["logGroups"]]),
    "alarm": ("cloudwatch", lambda c: [a["AlarmName"] for a in c.describe_alarms()["MetricAlarms"]]),
    "topic": ("sns", lambda c: [t["TopicArn"] for t in c.list_topics()["Topics"]]),
    "secret": ("secretsmanager", lambda c: [s["Name"] for s in c.list_secrets()["SecretList"]]),
    "role": ("iam", lambda c: [r["RoleName"] for r in c.list_roles()["Roles"]]),
    "key": ("kms", _live_keys),
}


def in_aws(client: Callable[[str], Any]) -> set[str]:
    """`kind name` of what there is. `client` makes a boto3 client for a service's name."""
    return {f"{kind} {name}" for kind, (service, listing) in LISTINGS.items() for name in listing(client(service))}


def in_cluster(layout: Layout) -> set[str]:
    """Namespaces that are not Kubernetes' own, and nodes. The platform's API server outlives the EKS cluster object."""
    content = json.loads(layout.admin_kubeconfig.read_text())
    authority = base64.b64decode(content["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    token = content["users"][0]["user"]["token"]
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority)),
    )

    def names(kind: str) -> set[str]:
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{layout.api_server_url}/api/v1/{kind}", headers={"Authorization": f"Bearer {token}"}
        )
        with opener.open(request, timeout=REQUEST_SECONDS) as reply:
            return {item["metadata"]["name"] for item in json.load(reply)["items"]}

    namespaces = {f"namespace {name}" for name in names("namespaces") - KUBERNETES_OWN}
    return namespaces | {f"node {name}" for name in names("nodes")}
