"""What is known of resource types: what they hold, what stops with them, which properties matter. Data alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Risk(IntEnum):
    """Worst first. The order in which reports show them."""

    DATA_LOSS = 0
    DOWNTIME = 1
    REPLACEMENT = 2
    TRAFFIC = 3
    COST = 4
    PERMISSION = 5
    COSMETIC = 6

    @property
    def title(self) -> str:
        return TITLES[self]


TITLES = {
    Risk.DATA_LOSS: "Data loss",
    Risk.DOWNTIME: "Downtime",
    Risk.REPLACEMENT: "Replacement",
    Risk.TRAFFIC: "Traffic",
    Risk.COST: "Cost",
    Risk.PERMISSION: "Permission widening",
    Risk.COSMETIC: "Cosmetic",
}

HOLDS: dict[str, str] = {
    "aws:rds/instance:Instance": "the database: keys, ledger, vectors",
    "aws:elasticache/replicationGroup:ReplicationGroup": "the cache: limits' counters and kept answers",
    "aws:s3/bucket:Bucket": "the bucket's objects, all versions",
    "aws:kms/key:Key": "what the key has encrypted: nobody can read it again",
    "aws:secretsmanager/secret:Secret": "the secret's value",
    "aws:secretsmanager/secretVersion:SecretVersion": "this version of the secret's value",
    "aws:ecr/repository:Repository": "the images, those that run included",
    "aws:cloudwatch/logGroup:LogGroup": "the logs",
    "aws:amp/workspace:Workspace": "the metrics",
    "aws:sqs/queue:Queue": "messages that nobody has read",
    "aws:rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication": "the copies of the backups",
    "aws:dynamodb/table:Table": "the table's items",
    "aws:efs/fileSystem:FileSystem": "the files",
    "aws:ebs/volume:Volume": "the volume",
    "kubernetes:core/v1:Namespace": "all objects in the namespace",
    "kubernetes:core/v1:PersistentVolumeClaim": "the volume behind the claim",
    "kubernetes:apps/v1:StatefulSet": "the pods' identities, and the volumes that go with them",
    "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition": "all objects of this kind, in the whole cluster",
}
"""Type -> what is gone when one is deleted or replaced."""

REPLACED_WITHOUT_LOSS = frozenset({"aws:secretsmanager/secretVersion:SecretVersion"})
"""A new version stands beside the old one."""

SERVES: dict[str, str] = {
    "aws:eks/cluster:Cluster": "the cluster and all that runs on it",
    "aws:eks/nodeGroup:NodeGroup": "its nodes, and the pods on them",
    "aws:eks/addon:Addon": "a part of the cluster that pods need",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "the pods' access to AWS",
    "aws:lb/loadBalancer:LoadBalancer": "the address that clients call",
    "aws:lb/listener:Listener": "the port that clients call",
    "aws:lb/targetGroup:TargetGroup": "a colour's way to its pods",
    "aws:lb/listenerRule:ListenerRule": "a rule that requests follow",
    "aws:acm/certificate:Certificate": "TLS at the edge",
    "aws:route53/record:Record": "the name that clients call",
    "aws:ec2/vpc:Vpc": "the network",
    "aws:ec2/subnet:Subnet": "a subnet, and what lives in it",
    "aws:ec2/natGateway:NatGateway": "a zone's way out",
    "aws:ec2/internetGateway:InternetGateway": "the network's way in and out",
    "aws:ec2/route:Route": "a way that packets take",
    "aws:ec2/routeTable:RouteTable": "the ways that packets take",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "a subnet's routes",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "a private way to an AWS service",
    "aws:ec2/securityGroup:SecurityGroup": "who may reach what",
    "aws:rds/instance:Instance": "the database",
    "aws:elasticache/replicationGroup:ReplicationGroup": "the cache",
    "aws:iam/role:Role": "what acts under the role",
    "aws:cloudtrail/trail:Trail": "the record of calls to AWS",
    "aws:ec2/flowLog:FlowLog": "the record of the network's traffic",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "what this alarm tells",
    "kubernetes:apps/v1:Deployment": "its pods",
    "kubernetes:apps/v1:DaemonSet": "its pods",
    "kubernetes:apps/v1:StatefulSet": "its pods",
    "kubernetes:core/v1:Service": "the name under which its pods are found",
    "kubernetes:core/v1:ServiceAccount": "its pods' identity",
    "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding": "a colour's pods as targets of the load balancer",
    "kubernetes:karpenter.sh/v1:NodePool": "its nodes, and the pods on them",
}
"""Type -> what stops while one is missing."""

WORKLOADS = frozenset(
    {"kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:DaemonSet", "kubernetes:apps/v1:StatefulSet"}
)
PRICED = frozenset(
    {
        "aws:eks/cluster:Cluster", "aws:eks/nodeGroup:NodeGroup", "aws:ec2/natGateway:NatGateway", "aws:ec2/eip:Eip",
        "aws:lb/loadBalancer:LoadBalancer", "aws:rds/instance:Instance", "aws:kms/key:Key",
        "aws:elasticache/replicationGroup:ReplicationGroup", "aws:wafv2/webAcl:WebAcl",
        "aws:secretsmanager/secret:Secret", "aws:amp/workspace:Workspace",
    }
)  # fmt: skip
"""Paid for by the hour or the month as long as they exist; interface endpoints are, too."""

Judge = Callable[[Any, Any], bool]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def less(old: Any, new: Any) -> bool:
    before, after = _number(old), _number(new)
    return before is not None and after is not None and after < before


def more(old: Any, new: Any) -> bool:
    before, after = _number(old), _number(new)
    return after is not None and (before is None or after > before)


def becomes(value: Any) -> Judge:
    return lambda _, new: new == value


def gone(old: Any, new: Any) -> bool:
    return new in (None, False, "", "Suspended", "Disabled")


def any_change(old: Any, new: Any) -> bool:
    return True


def to_zero(old: Any, new: Any) -> bool:
    return _number(new) == 0 and _number(old) != 0


@dataclass(frozen=True)
class Sensitive:
    """A property whose change means something. `type` may end in `*`; `path` is a pattern for its beginning."""

    type: str
    path: str
    when: Judge
    risk: Risk
    says: str


_RDS, _CACHE = "aws:rds/instance:Instance", "aws:elasticache/replicationGroup:ReplicationGroup"
_GROUP, _CLUSTER = "aws:eks/nodeGroup:NodeGroup", "aws:eks/cluster:Cluster"

_ROWS: dict[Risk, tuple[tuple[str, str, Judge, str], ...]] = {
    Risk.DATA_LOSS: (
        # What is kept for less long, and what makes a later loss possible
        (_RDS, "backupRetentionPeriod", less, "fewer days of backups: the older ones go"),
        (_RDS, "skipFinalSnapshot", becomes(True), "a deletion would leave no snapshot"),
        ("*", "deletionProtection", gone, "its deletion would not be refused any more"),
        ("*", "deletionProtectionEnabled", gone, "its deletion would not be refused any more"),
        ("aws:s3/bucket:Bucket", "forceDestroy", becomes(True), "a deletion would take the objects"),
        ("aws:ecr/repository:Repository", "forceDelete", becomes(True), "a deletion would take images"),
        ("aws:s3/bucketVersioning:*", r"versioningConfiguration\.status", gone, "no versions are kept"),
        ("aws:s3/bucketLifecycle*", "rules", any_change, "objects expire by other rules"),
        ("aws:ecr/lifecyclePolicy:*", "policy", any_change, "images expire by other rules"),
        ("aws:cloudwatch/logGroup:*", "retentionInDays", less, "older logs go at once"),
        ("aws:kms/key:Key", "deletionWindowInDays", less, "less time to take back a deletion"),
        ("aws:secretsmanager/secret:*", "recoveryWindowInDays", less, "less time to take back a deletion"),
        ("aws:sqs/queue:Queue", "messageRetentionSeconds", less, "unread messages go earlier"),
        (_CACHE, "snapshotRetentionLimit", less, "fewer snapshots are kept"),
    ),
    Risk.DOWNTIME: (
        # What stops something for a while, in place
        ("*", "enableDeletionProtection", gone, "its deletion would not be refused any more"),
        (_RDS, "instanceClass", any_change, "the instance restarts, or fails over: a minute or two"),
        (_RDS, "engineVersion", any_change, "an engine upgrade: the database is away for minutes"),
        (_RDS, "parameterGroupName", any_change, "static parameters come with a restart"),
        (_RDS, "multiAz", gone, "no standby: a lost zone stops the database"),
        (_CACHE, "nodeType", any_change, "nodes are exchanged: the primary fails over"),
        (_CACHE, "engineVersion", any_change, "an engine upgrade: the primary fails over"),
        (_CACHE, "(automaticFailover|multiAz)Enabled", gone, "a lost node stops the cache"),
        (_CACHE, "transitEncryption", any_change, "clients with the other setting are cut off"),
        ("*", "applyImmediately", becomes(True), "changes do not wait for the maintenance window"),
        ("kubernetes:apps/*", r"spec\.replicas", to_zero, "no pod is left"),
        ("kubernetes:apps/*", r"spec\.strategy\.type", becomes("Recreate"), "all pods go before new ones come"),
        ("kubernetes:policy/v1:*", "spec", any_change, "another number of pods may be evicted at a time"),
        (_GROUP, r"scalingConfig\.(desired|max)Size", less, "nodes go, and the pods on them move or wait"),
    ),
    Risk.REPLACEMENT: (
        # What is exchanged in turn behind a resource that stays
        (_CLUSTER, "version", any_change, "upgraded, and never back; nodes follow"),
        (_GROUP, "(version|releaseVersion|launchTemplate|amiType)", any_change, "nodes are exchanged in turn"),
        ("aws:ec2/launchTemplate:*", "", any_change, "node groups that use it exchange their nodes"),
        ("aws:eks/addon:Addon", "addonVersion", any_change, "the add-on's pods are exchanged in turn"),
        ("kubernetes:apps/*", r"spec\.template", any_change, "a rollout: all its pods are exchanged in turn"),
        ("kubernetes:karpenter*", "spec", any_change, "nodes that differ from it are exchanged"),
    ),
    Risk.TRAFFIC: (
        # Where requests and packets go
        ("aws:lb/listenerRule:*", "", any_change, "requests are shared out otherwise"),
        ("aws:alb/listenerRule:*", "", any_change, "requests are shared out otherwise"),
        ("aws:lb/listener:*", "", any_change, "the port that clients call behaves otherwise"),
        ("aws:lb/targetGroup:*", "(?!tags)", any_change, "targets are checked or drained otherwise"),
        ("aws:lb/loadBalancer:*", "(?!tags|enableDeletion)", any_change, "the edge behaves otherwise"),
        ("aws:route53/record:*", "", any_change, "a name leads elsewhere"),
        ("aws:ec2/route:*", "", any_change, "packets take another way"),
        ("aws:wafv2/webAcl:*", "(rules|defaultAction)", any_change, "the firewall refuses other requests"),
        ("kubernetes:core/v1:Service", "spec", any_change, "other pods, or other ports, are found under its name"),
        ("kubernetes:elbv2.k8s.aws*", "spec", any_change, "other pods are targets of the load balancer"),
        ("kubernetes:core/v1:ConfigMap", "data", any_change, "what reads it behaves otherwise"),
        ("kubernetes:apps/*", r"spec\.replicas", less, "fewer pods share the load"),
    ),
    Risk.COST: (
        # What costs
        (_GROUP, r"scalingConfig\.", more, "more nodes may run"),
        (_GROUP, "(instanceTypes|capacityType|diskSize)", any_change, "other nodes"),
        (_RDS, "(instanceClass|.*[sS]torage|multiAz|iops)", any_change, "another price"),
        (_CACHE, "(nodeType|numCacheClusters|replicasPerNodeGroup|numNodeGroups)", any_change, "another price"),
        ("kubernetes:apps/*", r"spec\.replicas", more, "more pods, which may need more nodes"),
        ("aws:cloudwatch/logGroup:*", "retentionInDays", more, "more logs are kept"),
        ("aws:budgets/*", "limitAmount", more, "the budget speaks up later"),
        (_CLUSTER, r"upgradePolicy", becomes("EXTENDED"), "extended support has a price of its own"),
    ),
}  # fmt: skip

SENSITIVE = tuple(
    Sensitive(type_, path, when, risk, says) for risk, rows in _ROWS.items() for type_, path, when, says in rows
)
