"""`penstock preflight`: zones, instance types, versions and reservations, where the stack wants them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.ops.preflight import places
from infra.ops.preflight.findings import Status
from tests.unit.preflight.cases import NOW, ZONES, Stubbed, account


def test_a_group_with_a_zone_that_offers_none_of_its_types_is_lacking(aws: Stubbed):
    def offers(*rows: tuple[str, str]) -> None:
        there = [{"InstanceType": kind, "Location": f"eu-central-1{zone}"} for kind, zone in rows]
        aws.reply("ec2", "describe_instance_type_offerings", {"InstanceTypeOfferings": there})

    offers(*(("m7i.xlarge", zone) for zone in "abc"))
    offers(*(("g6e.2xlarge", zone) for zone in "bcd"), ("g6e.48xlarge", "a"))
    offers(("g6e.2xlarge", "a"), ("g6e.4xlarge", "b"), ("g6e.2xlarge", "c"))
    offers(*(("g6e.2xlarge", zone) for zone in "ab"))
    system, gpu, spot, karpenter = places.check_offerings(account(aws))
    assert system.status is Status.FITS
    assert (gpu.status, gpu.there) == (Status.LACKS, "none in eu-central-1a")
    assert spot.status is Status.NOTE
    assert "g6e.8xlarge not in eu-central-1b" in spot.there
    assert (karpenter.status, karpenter.there) == (Status.LACKS, "none in eu-central-1c")


@pytest.mark.parametrize(
    ("zones", "status"),
    [
        (ZONES, Status.FITS),
        (ZONES[:2], Status.LACKS),
        ([*ZONES[:2], {**ZONES[2], "State": "impaired"}], Status.LACKS),
        ([*ZONES[:2], {**ZONES[2], "ZoneId": "use1-az3"}], Status.LACKS),
    ],
)
def test_zones_must_be_there_and_fit_for_a_control_plane(aws: Stubbed, zones: list[Any], status: Status):
    aws.reply("ec2", "describe_availability_zones", {"AvailabilityZones": zones})
    (found,) = places.check_zones(account(aws))
    assert found.status is status


@pytest.mark.parametrize(
    ("scores", "status"),
    [((9, 7, 5), Status.FITS), ((9, 7, 4), Status.NOTE), ((9, 7), Status.NOTE), ((9, 7, 11), Status.UNKNOWN)],
)
def test_a_low_spot_score_is_a_note_and_a_false_one_no_answer(aws: Stubbed, scores: tuple[int, ...], status: Status):
    aws.reply("ec2", "describe_availability_zones", {"AvailabilityZones": ZONES})
    there = [{"AvailabilityZoneId": f"euc1-az{n}", "Score": score} for n, score in enumerate(scores, 1)]
    wanted = {
        "InstanceTypes": ["g6e.2xlarge", "g6e.4xlarge", "g6e.8xlarge"],
        "TargetCapacity": 4,
        "TargetCapacityUnitType": "units",
        "SingleAvailabilityZone": True,
        "RegionNames": ["eu-central-1"],
    }
    aws.reply("ec2", "get_spot_placement_scores", {"SpotPlacementScores": there}, wanted)
    (found,) = places.check_spot(account(aws))
    assert found.status is status


@pytest.mark.parametrize(
    ("version", "status"),
    [
        (
            {"versionStatus": "STANDARD_SUPPORT", "endOfStandardSupportDate": datetime(2099, 1, 1, tzinfo=UTC)},
            Status.FITS,
        ),
        (
            {"versionStatus": "STANDARD_SUPPORT", "endOfStandardSupportDate": datetime(2020, 1, 1, tzinfo=UTC)},
            Status.NOTE,
        ),
        ({"versionStatus": "EXTENDED_SUPPORT"}, Status.NOTE),
        ({"versionStatus": "UNSUPPORTED"}, Status.LACKS),
        ({"clusterVersion": "1.20"}, Status.LACKS),
    ],
)
def test_the_eks_version_must_be_offered(aws: Stubbed, version: dict[str, Any], status: Status):
    shape = account(aws)
    there = {"clusterVersion": shape.settings.cluster.version, **version}
    aws.reply("eks", "describe_cluster_versions", {"clusterVersions": [there]})
    (found,) = places.check_version(shape)
    assert found.status is status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.FITS),
        ({"EndDate": NOW + timedelta(days=30)}, Status.FITS),
        ({"EndDate": NOW + timedelta(days=2)}, Status.NOTE),
        ({"EndDate": NOW - timedelta(hours=1)}, Status.LACKS),
        ({"State": "expired"}, Status.LACKS),
        ({"AvailabilityZone": "eu-central-1f"}, Status.LACKS),
        ({"CapacityReservationId": "cr-other"}, Status.LACKS),
    ],
)
def test_a_reservation_must_be_active_in_a_zone_of_the_stack_and_last(
    aws: Stubbed, changes: dict[str, Any], status: Status
):
    mine = {"CapacityReservationId": "cr-1", "State": "active", "AvailabilityZone": "eu-central-1a", **changes}
    aws.reply("ec2", "describe_capacity_reservations", {"CapacityReservations": [mine]})
    (found,) = places.check_reservations(account(aws), ["cr-1"], NOW)
    assert found.status is status


NAMED: dict[str, Any] = {
    "name": "october", "kind": "capacityBlock", "id": "cr-0123456789abcdef0", "zone": "b",
    "instanceType": "p5.48xlarge", "nodes": 2, "usedBy": "nodeGroup",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status", "request_"),
    [
        ({}, Status.FITS, ""),
        ({"EndDate": NOW + timedelta(days=2)}, Status.NOTE, "extend it: EC2 ends its nodes 30 minutes before"),
        ({"State": "scheduled"}, Status.NOTE, "extend it: EC2 ends its nodes 30 minutes before"),
        ({"EndDate": NOW - timedelta(hours=1)}, Status.LACKS, "a new reservation"),
        (
            {"AvailabilityZone": "eu-central-1a"},
            Status.LACKS,
            "zone a in nodeGroups.reservations, or another reservation",
        ),
        (
            {"InstanceType": "p5en.48xlarge", "ReservationType": "default"},
            Status.LACKS,
            "instanceType p5en.48xlarge, kind onDemand in nodeGroups.reservations, or another reservation",
        ),
        (
            {"TotalInstanceCount": 1},
            Status.LACKS,
            "nodes 1 or fewer in nodeGroups.reservations, or another reservation",
        ),
    ],
)
def test_a_reservation_of_the_stack_file_is_as_the_file_says(
    aws: Stubbed, changes: dict[str, Any], status: Status, request_: str
):
    mine = {
        "CapacityReservationId": NAMED["id"], "State": "active", "AvailabilityZone": "eu-central-1b",
        "InstanceType": "p5.48xlarge", "ReservationType": "capacity-block", "TotalInstanceCount": 2, **changes,
    }  # fmt: skip
    aws.reply("ec2", "describe_capacity_reservations", {"CapacityReservations": [mine]})
    (found,) = places.check_reservations(account(aws, nodeGroups__reservations=[NAMED]), [NAMED["id"]], NOW)
    assert (found.status, found.request) == (status, request_)
    assert found.asked.startswith("2 p5.48xlarge in eu-central-1b, active")
