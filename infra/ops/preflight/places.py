"""Where capacity is: region, zones, instance offerings, spot placement scores, reservations, the EKS version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from infra.ops.preflight.asking import Account, Unanswered, guarded, items
from infra.ops.preflight.findings import Finding, Status
from infra.settings import capacity
from infra.settings.network_rules import UNFIT_ZONE_IDS
from infra.settings.reservations import Reservation

GOOD_SCORE = 5
"""Of 10. A spot placement score is a likelihood at the moment of the question, not a promise (EC2 user guide)."""

RESERVATION_NOTICE = timedelta(days=7)
SUPPORT_NOTICE = timedelta(days=90)


def check_zones(account: Account) -> Iterator[Finding]:
    asked = ", ".join(account.zones)
    yield guarded("Availability zones", asked, lambda: _zones(account, asked))


def check_offerings(account: Account) -> Iterator[Finding]:
    """Each group needs a type of its list in each zone: a group over all zones would end up in fewer."""
    groups, karpenter = account.settings.node_groups, account.settings.controllers.karpenter
    for name, types in (
        ("system", groups.system.instance_types),
        *([("gpu", groups.gpu.instance_types)] if groups.gpu.max_nodes else []),
        *([("gpuSpot", groups.gpu_spot.instance_types)] if groups.gpu_spot.max_nodes_per_zone else []),
        *([("karpenter", karpenter.instance_types)] if karpenter.enabled and account.settings.runs_engines else []),
    ):
        asked = f"{', '.join(types)} in each of {len(account.zones)} zones"
        check = f"Offerings of {name}"
        yield guarded(check, asked, partial(_offerings, account, check, asked, types))


def check_spot(account: Account) -> Iterator[Finding]:
    group = account.settings.node_groups.gpu_spot
    if not group.max_nodes_per_zone:
        return
    asked = f"{group.max_nodes_per_zone} nodes per zone of {', '.join(group.instance_types)}"
    yield guarded("Spot placement score", asked, lambda: _score(account, asked))


def check_version(account: Account) -> Iterator[Finding]:
    asked = account.settings.cluster.version
    yield guarded("EKS version", asked, lambda: _version(account, asked))


def check_reservations(account: Account, ids: Sequence[str], now: datetime) -> Iterator[Finding]:
    """Those of the stack file, each against what the file says of it; then others that were asked for."""
    lasting = f"active, for more than {RESERVATION_NOTICE.days} days"
    named = {each.id: each for each in account.settings.node_groups.reservations}
    for reservation in dict.fromkeys((*named, *ids)):
        written, asked = named.get(reservation), lasting
        if written:
            asked = f"{written.nodes} {written.instance_type} in {account.region}{written.zone}, {lasting}"
        yield guarded(
            f"Reservation {reservation}", asked, partial(_reservation, account, reservation, asked, now, written)
        )


def _zones(account: Account, asked: str) -> Finding:
    reply = account.ask("ec2", "describe_availability_zones")
    found = items(reply, "AvailabilityZones", "ec2:DescribeAvailabilityZones")
    states = {zone.get("ZoneName"): zone for zone in found}
    wrong = [zone for zone in account.zones if states.get(zone, {}).get("State") != "available"]
    unfit = [zone for zone in account.zones if states.get(zone, {}).get("ZoneId") in UNFIT_ZONE_IDS]
    there = ", ".join(sorted(str(name) for name, zone in states.items() if zone.get("State") == "available"))
    if wrong or unfit:
        reasons = [f"{zone} is not available" for zone in wrong] + [f"{zone} takes no control plane" for zone in unfit]
        return Finding("Availability zones", asked, "; ".join(reasons), Status.LACKS, f"network.zones among: {there}")
    return Finding("Availability zones", asked, there, Status.FITS)


def _offerings(account: Account, check: str, asked: str, types: Sequence[str]) -> Finding:
    offered: dict[str, set[str]] = {zone: set() for zone in account.zones}
    filters = [{"Name": "instance-type", "Values": list(types)}]
    for item in account.every(
        "ec2", "describe_instance_type_offerings", "InstanceTypeOfferings",
        LocationType="availability-zone", Filters=filters,
    ):  # fmt: skip
        if item.get("Location") in offered and item.get("InstanceType") in types:
            offered[item["Location"]].add(item["InstanceType"])
    empty = [zone for zone, there in offered.items() if not there]
    if empty:
        return Finding(
            check,
            asked,
            f"none in {', '.join(empty)}",
            Status.LACKS,
            "add a type that these zones offer, or leave them",
        )
    missing = [f"{name} not in {zone}" for zone, there in offered.items() for name in types if name not in there]
    if missing:
        return Finding(check, asked, "; ".join(missing), Status.NOTE)
    return Finding(check, asked, "all types in all zones", Status.FITS)


def _score(account: Account, asked: str) -> Finding:
    group = account.settings.node_groups.gpu_spot
    zones = account.ask("ec2", "describe_availability_zones")
    names = {
        zone.get("ZoneId"): zone.get("ZoneName")
        for zone in items(zones, "AvailabilityZones", "ec2:DescribeAvailabilityZones")
    }
    scores: dict[str, int] = {}
    for item in account.every(
        "ec2", "get_spot_placement_scores", "SpotPlacementScores",
        InstanceTypes=list(group.instance_types), TargetCapacity=group.max_nodes_per_zone,
        TargetCapacityUnitType="units", SingleAvailabilityZone=True, RegionNames=[account.region],
    ):  # fmt: skip
        zone, score = names.get(item.get("AvailabilityZoneId")), item.get("Score")
        if not isinstance(score, int) or not 1 <= score <= 10:
            raise Unanswered(f"ec2:GetSpotPlacementScores: {score!r} is no score; allowed: 1 to 10")
        if zone in account.zones:
            scores[zone] = score
    there = ", ".join(f"{zone} {scores.get(zone, 'not named')}" for zone in account.zones) + " of 10"
    if all(scores.get(zone, 0) >= GOOD_SCORE for zone in account.zones):
        return Finding("Spot placement score", asked, there, Status.FITS)
    room = capacity.gpu_pools(account.settings)[0].most
    return Finding(
        "Spot placement score", asked, there, Status.NOTE,
        f"more instance types in nodeGroups.gpuSpot; on demand there is room for {room} nodes",
    )  # fmt: skip


def _version(account: Account, asked: str) -> Finding:
    reply = account.ask("eks", "describe_cluster_versions", clusterVersions=[asked])
    found = {
        item.get("clusterVersion"): item for item in items(reply, "clusterVersions", "eks:DescribeClusterVersions")
    }
    if asked not in found:
        return Finding("EKS version", asked, "not offered", Status.LACKS, "another cluster.version")
    status = str(found[asked].get("versionStatus") or found[asked].get("status") or "").upper().replace("-", "_")
    there = status.lower().replace("_", " ") or "offered"
    if status == "UNSUPPORTED":
        return Finding("EKS version", asked, there, Status.LACKS, "a newer cluster.version")
    if status == "EXTENDED_SUPPORT":
        return Finding("EKS version", asked, f"{there}, at an extra price", Status.NOTE, "a newer cluster.version")
    ends = found[asked].get("endOfStandardSupportDate")
    if isinstance(ends, datetime):
        there += f" until {ends:%Y-%m-%d}"
        if ends - datetime.now(UTC) < SUPPORT_NOTICE:
            return Finding("EKS version", asked, there, Status.NOTE, "plan a newer cluster.version")
    return Finding("EKS version", asked, there, Status.FITS)


def _reservation(
    account: Account, reservation: str, asked: str, now: datetime, written: Reservation | None = None
) -> Finding:
    check = f"Reservation {reservation}"
    reply = account.ask("ec2", "describe_capacity_reservations", CapacityReservationIds=[reservation])
    found = items(reply, "CapacityReservations", "ec2:DescribeCapacityReservations")
    mine = next((item for item in found if item.get("CapacityReservationId") == reservation), None)
    if mine is None:
        return Finding(check, asked, "not there", Status.LACKS, "the id of a reservation in this account and region")
    ends = mine.get("EndDate")
    there = (
        f"{mine.get('State')}, {mine.get('AvailableInstanceCount')} of {mine.get('TotalInstanceCount')} "
        f"{mine.get('InstanceType')} free in {mine.get('AvailabilityZone')}, "
        + (f"ends {ends:%Y-%m-%d %H:%M} UTC" if isinstance(ends, datetime) else "without an end")
    )
    if mine.get("State") not in ("active", "scheduled", "assessing", "delayed") or (
        isinstance(ends, datetime) and ends <= now
    ):
        return Finding(check, asked, there, Status.LACKS, "a new reservation")
    if mine.get("AvailabilityZone") not in account.zones:
        return Finding(check, asked, there, Status.LACKS, f"a reservation in one of {', '.join(account.zones)}")
    if written and (other := _otherwise(mine, written, account.region)):
        return Finding(check, asked, there, Status.LACKS, f"{other} in nodeGroups.reservations, or another reservation")
    if mine.get("State") != "active" or (isinstance(ends, datetime) and ends - now < RESERVATION_NOTICE):
        return Finding(check, asked, there, Status.NOTE, "extend it: EC2 ends its nodes 30 minutes before")
    return Finding(check, asked, there, Status.FITS)


def _otherwise(mine: Mapping[str, Any], written: Reservation, region: str) -> str:
    """What the stack file would have to say; empty where it is right. What a reply leaves out proves nothing."""
    kind = "capacityBlock" if mine.get("ReservationType") == "capacity-block" else "onDemand"
    wrong = [
        f"{key} {there}"
        for key, there, asked in (
            ("zone", str(mine.get("AvailabilityZone", "")).removeprefix(region), written.zone),
            ("instanceType", mine.get("InstanceType"), written.instance_type),
            ("kind", kind if "ReservationType" in mine else None, written.kind),
        )
        if there and there != asked
    ]
    total = mine.get("TotalInstanceCount")
    if isinstance(total, int) and total < written.nodes:
        wrong.append(f"nodes {total} or fewer")
    return ", ".join(wrong)
