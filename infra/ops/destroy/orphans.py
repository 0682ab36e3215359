"""What still bears a stack's tags after it is gone, and what that costs a month."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.ops.cost.prices import Table

HOURS_A_MONTH = 730
PROJECT = "penstock"
CLUSTER_TAG = "kubernetes.io/cluster/{cluster}"
"""On what Karpenter and the cluster's controllers make for themselves."""


@dataclass(frozen=True)
class Orphan:
    """Something that is left. `usd` is a month's price, None where none is known."""

    arn: str
    kind: str
    usd: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"arn": self.arn, "kind": self.kind, "usd_per_month": self.usd}


def kind_of(arn: str) -> str:
    """`ec2 instance`, `kms key`, `s3 bucket`: the service with the resource's type, where the ARN has one."""
    _, _, service, _, _, rest = arn.split(":", 5)
    if service in ("s3", "sns", "sqs"):
        return f"{service} {({'s3': 'bucket', 'sns': 'topic', 'sqs': 'queue'})[service]}"
    return f"{service} {re.split('[:/]', rest, maxsplit=1)[0]}"


def tagged(client: Callable[[str], Any], stack: str, cluster: str | None) -> list[str]:
    """ARNs that bear the stack's tags, or those of its cluster. Raises botocore's errors."""
    api = client("resourcegroupstaggingapi")
    filters = [[{"Key": "project", "Values": [PROJECT]}, {"Key": "stack", "Values": [stack]}]]
    if cluster:
        filters.append([{"Key": CLUSTER_TAG.format(cluster=cluster), "Values": ["owned"]}])
    found: set[str] = set()
    for wanted in filters:
        pages = api.get_paginator("get_resources").paginate(TagFilters=wanted)
        found |= {each["ResourceARN"] for page in pages for each in page["ResourceTagMappingList"]}
    return sorted(found)


def left(client: Callable[[str], Any], arns: Iterable[str], table: Table) -> list[Orphan]:
    """Those that are really there, dearest first: AWS lists what was deleted for a while (Resource Groups Tagging API
    reference, GetResources). Raises botocore's errors."""
    found = []
    for arn in arns:
        kind = kind_of(arn)
        look = LOOKS.get(kind)
        state = look(client, re.split("[:/]", arn)[-1]) if look else {}
        if state is not None:
            found.append(Orphan(arn, kind, _usd(kind, state, table)))
    return sorted(found, key=lambda each: (-(each.usd or 0), each.arn))


STATES = ("State", "KeyState", "DBInstanceStatus", "Status")
"""Where a description has its state, in the words of different services."""
Look = Callable[[Callable[[str], Any], str], "Mapping[str, Any] | None"]
"""What is known of a resource, or None where it is gone."""


def _one(service: str, operation: str, parameter: str, path: tuple[str, ...], gone: tuple[str, ...] = ()) -> Look:
    def look(client: Callable[[str], Any], name: str) -> Mapping[str, Any] | None:
        api = client(service)
        try:
            found = getattr(api, operation)(**{parameter: [name] if parameter.endswith("s") else name})
        except api.exceptions.ClientError as error:
            if re.search("NotFound|NoSuch", error.response["Error"]["Code"]):
                return None
            raise
        for step in path:
            found = found[step] if not isinstance(found, list) else (found[0][step] if found else None)
            if found is None:
                return None
        found = (found[0] if found else None) if isinstance(found, list) else found
        if found is None:
            return None
        state = next((found[key] for key in STATES if found.get(key)), "")
        return None if (state.get("Name") if isinstance(state, dict) else state) in gone else found

    return look


LOOKS: dict[str, Look] = {
    "ec2 instance": _one(
        "ec2", "describe_instances", "InstanceIds", ("Reservations", "Instances"), ("terminated", "shutting-down")
    ),
    "ec2 volume": _one("ec2", "describe_volumes", "VolumeIds", ("Volumes",), ("deleting", "deleted")),
    "ec2 natgateway": _one("ec2", "describe_nat_gateways", "NatGatewayIds", ("NatGateways",), ("deleted", "deleting")),
    "kms key": _one("kms", "describe_key", "KeyId", ("KeyMetadata",), ("PendingDeletion",)),
    "rds db": _one("rds", "describe_db_instances", "DBInstanceIdentifier", ("DBInstances",), ("deleting",)),
    "rds snapshot": _one("rds", "describe_db_snapshots", "DBSnapshotIdentifier", ("DBSnapshots",), ("deleting",)),
    "elasticache replicationgroup": _one(
        "elasticache", "describe_replication_groups", "ReplicationGroupId", ("ReplicationGroups",), ("deleting",)
    ),
}
"""How a kind's state is read, where its being listed says little or its price depends on it."""


def _usd(kind: str, state: Mapping[str, Any], table: Table) -> float | None:
    """US dollars a month; None where the table has no such price."""

    def priced(key: str, amount: float = 1.0) -> float | None:
        price = table.get(key)
        return None if price is None else round(price.usd * amount, 2)

    match kind:
        case "ec2 instance":
            return priced(f"ec2:{state.get('InstanceType')}", HOURS_A_MONTH)
        case "ec2 volume":
            return priced("ebs:gp3-gib-month", state.get("Size") or 0)
        case "ec2 natgateway":
            return priced("vpc:nat-hour", HOURS_A_MONTH)
        case "rds db":
            return _sum(
                priced(f"rds:{state.get('DBInstanceClass')}", HOURS_A_MONTH * (1 + bool(state.get("MultiAZ")))),
                priced("rds:gp3-gib-month", (state.get("AllocatedStorage") or 0) * (1 + bool(state.get("MultiAZ")))),
            )
        case "rds snapshot":
            return priced("rds:backup-gib-month", state.get("AllocatedStorage") or 0)
        case "elasticache replicationgroup":
            return priced(
                f"cache:{state.get('CacheNodeType')}", HOURS_A_MONTH * max(1, len(state.get("MemberClusters") or ()))
            )
        case "ec2 elastic-ip":
            return priced("vpc:address-hour", HOURS_A_MONTH)
        case "elasticloadbalancing loadbalancer":
            return priced("elb:balancer-hour", HOURS_A_MONTH)
        case "eks cluster":
            return priced("eks:cluster-hour", HOURS_A_MONTH)
        case "kms key":
            return priced("kms:key-month")
        case "secretsmanager secret":
            return priced("secret:month")
        case "ec2 vpc" | "ec2 subnet" | "ec2 security-group" | "ec2 network-interface" | "ec2 route-table":
            return 0.0
        case _:
            return None


def _sum(*parts: float | None) -> float | None:
    """None where one is not known: half a price would be taken for the whole."""
    known = [each for each in parts if each is not None]
    return round(sum(known), 2) if len(known) == len(parts) else None
