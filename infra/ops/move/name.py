"""The name that clients call, pointed to another stack's load balancer in one change of Route 53."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.ops.errors import PenstockError
from infra.ops.move.data import Side

RECORD, BALANCER = "route53/record:Record", "lb/loadBalancer:LoadBalancer"
NAME = "edge-name"
"""The record's logical name (components/edge.py)."""


@dataclass(frozen=True)
class Pointing:
    hostname: str | None
    """None: no record of the first stack's leads there; somebody else's does."""
    to: str
    """The second stack's load balancer."""
    zone: str | None
    urn: str | None
    """Of the record in the first stack's state, which has to forget it: its destroy would delete the name."""
    changes: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        return {"hostname": self.hostname, "to": self.to, "zone": self.zone}


def planned(source: Side, target: Side) -> Pointing:
    """Raises PenstockError where the second stack has no load balancer."""
    balancers = target.state.of_type(BALANCER)
    if not balancers:
        raise PenstockError(f"The stack {target.access.name} has no load balancer.", "Deploy it first.")
    there = balancers[0].outputs
    found = [each for each in source.state.of_type(RECORD) if each.name == NAME]
    if not found:
        return Pointing(None, str(there["dnsName"]), None, None, None)
    record = found[0].outputs
    alias = {"HostedZoneId": there["zoneId"], "DNSName": there["dnsName"], "EvaluateTargetHealth": True}
    change = {"Name": record["name"], "Type": "A", "AliasTarget": alias}
    changes = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": change}]}
    return Pointing(str(record["name"]), str(there["dnsName"]), str(record["zoneId"]), found[0].urn, changes)


def point(pointing: Pointing, source: Side) -> None:
    """Safe to repeat. Raises botocore's errors, PenstockError."""
    if pointing.changes is None:
        return
    client = source.access.aws("route53")
    client.change_resource_record_sets(HostedZoneId=pointing.zone, ChangeBatch=pointing.changes)
    source.access.forget(str(pointing.urn))
