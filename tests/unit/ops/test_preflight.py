"""`penstock preflight`: each check against replies that AWS could give, also late, denied and false ones."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from botocore.stub import ANY, Stubber

from infra.ops.cli import run
from infra.ops.preflight import places, quotas, rights
from infra.ops.preflight.asking import Account, Unanswered
from infra.ops.preflight.findings import Finding, Status, Verdict, verdict
from infra.ops.preflight.run import preflight, render
from infra.ops.stacks import StackAccess
from infra.settings import Settings
from tests.unit.settings_cases import VALUES, put

ZONES = [
    {"ZoneName": f"eu-central-1{letter}", "ZoneId": f"euc1-az{n}", "State": "available"}
    for n, letter in enumerate("abc", 1)
]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Stubbed:
    """Clients whose replies are written down beforehand, in their order."""

    def __init__(self) -> None:
        self.stubbers: dict[str, Stubber] = {}

    def __call__(self, service: str) -> Any:
        return self.at(service).client

    def at(self, service: str) -> Stubber:
        if service not in self.stubbers:
            client = boto3.client(service, "eu-central-1", aws_access_key_id="test", aws_secret_access_key="test")
            self.stubbers[service] = Stubber(client)
            self.stubbers[service].activate()
        return self.stubbers[service]

    def reply(self, service: str, operation: str, body: dict[str, Any], wanted: dict[str, Any] | None = None) -> None:
        self.at(service).add_response(operation, body, wanted)

    def fail(self, service: str, operation: str, code: str, message: str = "no") -> None:
        self.at(service).add_client_error(operation, code, message)


def refusing(service: str) -> Any:
    raise NoCredentialsError


@pytest.fixture
def aws() -> Iterator[Stubbed]:
    stubbed = Stubbed()
    yield stubbed
    for stubber in stubbed.stubbers.values():
        stubber.assert_no_pending_responses()
        stubber.client.close()


def account(clients: Callable[[str], Any], stack: str = "prod", **changes: Any) -> Account:
    values = copy.deepcopy(VALUES[stack])
    values["protected"] = False
    for path, value in changes.items():
        put(path.replace("__", "."), value)(values)
    return Account(Settings.parse(values), stack, clients)


def quota(value: float, of: quotas.Quota, **changes: Any) -> dict[str, Any]:
    return {"Quota": {"QuotaCode": of.code, "QuotaName": of.name, "Value": value, **changes}}


G_ON_DEMAND = quotas.VCPUS["G and VT", "on demand"][0][1]
G_SPOT = quotas.VCPUS["G and VT", "spot"][0][1]
STANDARD = quotas.VCPUS["standard", "on demand"][0][1]


def instance(kind: str, **more: Any) -> dict[str, Any]:
    return {"InstanceType": kind, **more}


def vcpu_findings(aws: Stubbed, values: tuple[float, float, float], instances: list[dict[str, Any]]) -> list[Finding]:
    aws.reply("ec2", "describe_instances", {"Reservations": [{"Instances": instances}]}, {"Filters": ANY})
    for of, value in zip((G_ON_DEMAND, G_SPOT, STANDARD), values, strict=True):
        wanted = {"ServiceCode": "ec2", "QuotaCode": of.code}
        aws.reply("service-quotas", "get_service_quota", quota(value, of), wanted)
    return list(quotas.check_vcpus(account(aws, controllers__karpenter__enabled=False)))


def test_a_quota_that_bears_both_colours_and_the_maxima_fits(aws: Stubbed):
    mine = [{"Key": "eks:cluster-name", "Value": "penstock-prod"}]
    found = vcpu_findings(aws, (96, 384, 36), [instance("g6e.2xlarge", Tags=mine)])
    assert [finding.status for finding in found] == [Status.FITS] * 3
    assert found[0].asked == "96 vCPUs for a release or a lost zone, 96 at most"
    assert found[0].there == "96 vCPUs, 0 in use by others"


def test_what_others_run_is_taken_off_and_asked_for(aws: Stubbed):
    found = vcpu_findings(
        aws, (100, 250, 36), [instance("g5.xlarge"), instance("g6.2xlarge"), instance("trn2.48xlarge"), {}]
    )
    assert [finding.status for finding in found] == [Status.LACKS, Status.NOTE, Status.FITS]
    assert found[0].there == "100 vCPUs, 12 in use by others"
    assert found[0].request.endswith(
        "--region eu-central-1 --service-code ec2 --quota-code L-DB2E81BA --desired-value 108"
    )
    # The release fits into the spot quota, the maxima of the groups do not.
    assert found[1].request.endswith("--quota-code L-3819A6DF --desired-value 384")


def test_use_that_may_not_be_read_is_not_taken_as_none(aws: Stubbed):
    aws.fail("ec2", "describe_instances", "UnauthorizedOperation")
    for of, value in ((G_ON_DEMAND, 8), (G_SPOT, 9999), (STANDARD, 9999)):
        aws.reply("service-quotas", "get_service_quota", quota(value, of))
    found = list(quotas.check_vcpus(account(aws, controllers__karpenter__enabled=False)))
    assert [finding.status for finding in found] == [Status.LACKS, Status.UNKNOWN, Status.UNKNOWN]
    assert found[1].request == "allow ec2:DescribeInstances"


def test_a_quota_that_was_never_changed_has_its_default(aws: Stubbed):
    aws.fail("service-quotas", "get_service_quota", "NoSuchResourceException")
    aws.reply("service-quotas", "get_aws_default_service_quota", quota(0, G_ON_DEMAND))
    assert quotas.value_of(account(aws), G_ON_DEMAND) == 0


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({}, "of no use"),
        ({"Quota": {}}, "of no use"),
        (quota(64, G_SPOT), "of no use"),
        (
            quota(64, G_ON_DEMAND, QuotaName="Running On-Demand F instances"),
            "not 'Running On-Demand G and VT instances'",
        ),
    ],
)
def test_a_quota_reply_about_something_else_is_not_believed(aws: Stubbed, lie: dict[str, Any], words: str):
    aws.reply("service-quotas", "get_service_quota", lie)
    with pytest.raises(Unanswered, match=words):
        quotas.value_of(account(aws), G_ON_DEMAND)


def test_p5_and_older_p_nodes_on_spot_have_quotas_of_their_own():
    p5, older = (quota.code for _, quota in quotas.VCPUS["P", "spot"])
    assert quotas.counts_any(p5, ["p5en", "g6"])
    assert not quotas.counts_any(older, ["p5en", "g6"])
    assert quotas.counts_any(older, ["p4d"])
    assert not quotas.counts_any(p5, ["p4d"])


def test_counts_leave_out_what_this_stack_has_already(aws: Stubbed):
    mine = [{"Key": "project", "Value": "penstock"}, {"Key": "stack", "Value": "prod"}]
    arns = ["arn:one", "arn:two"]
    aws.reply("service-quotas", "get_service_quota", quota(5, quotas.ELASTIC_IPS))
    aws.reply("ec2", "describe_addresses", {"Addresses": [{"Tags": mine}] * 3 + [{}] * 3})
    aws.reply("service-quotas", "get_service_quota", quota(5, quotas.VPCS))
    aws.reply("ec2", "describe_vpcs", {"Vpcs": [{}, {"Tags": mine}]})
    aws.reply("service-quotas", "get_service_quota", quota(5, quotas.NATS_PER_ZONE))
    aws.reply("ec2", "describe_nat_gateways", {"NatGateways": [{}] * 6})
    aws.reply("service-quotas", "get_service_quota", quota(50, quotas.ENDPOINTS_PER_VPC))
    aws.reply("service-quotas", "get_service_quota", quota(2, quotas.BALANCERS))
    kinds = [{"LoadBalancerArn": arn, "Type": "application"} for arn in arns]
    aws.reply("elbv2", "describe_load_balancers", {"LoadBalancers": [*kinds, {"Type": "network"}]})
    described = [{"ResourceArn": arns[0], "Tags": mine}, {"ResourceArn": arns[1]}]
    aws.reply("elbv2", "describe_tags", {"TagDescriptions": described}, {"ResourceArns": arns})
    aws.reply("service-quotas", "get_service_quota", quota(1, quotas.CLUSTERS))
    aws.reply("eks", "list_clusters", {"clusters": ["a"], "nextToken": "x"}, {})
    aws.reply("eks", "list_clusters", {"clusters": ["penstock-prod"]}, {"nextToken": "x"})
    found = {item.check: item for item in quotas.check_counts(account(aws, network__interfaceEndpoints="needed"))}
    assert {name: item.status for name, item in found.items()} == {
        "EC2-VPC Elastic IPs": Status.LACKS,  # three are needed, two are left
        "VPCs per Region": Status.FITS,
        "NAT gateways per Availability Zone": Status.UNKNOWN,  # six in the region may be five in one zone
        "Application Load Balancers per Region": Status.FITS,
        "Clusters": Status.LACKS,
        "Interface VPC endpoints per VPC": Status.FITS,
    }
    assert found["EC2-VPC Elastic IPs"].request.endswith("--quota-code L-0263D0A3 --desired-value 6")


def test_a_network_without_nat_asks_for_no_address(aws: Stubbed):
    shape = account(aws, network__natGateways="none", network__interfaceEndpoints="needed")
    checks = {item.check for item in quotas.check_counts(Account(shape.settings, "prod", refusing))}
    assert "EC2-VPC Elastic IPs" not in checks
    assert "NAT gateways per Availability Zone" not in checks
    assert "Interface VPC endpoints per VPC" in checks


def test_pages_that_never_end_are_given_up(aws: Stubbed):
    for _ in range(2):
        aws.reply("eks", "list_clusters", {"clusters": ["a"], "nextToken": "again"})
    with pytest.raises(Unanswered, match="names the same page again"):
        list(account(aws).every("eks", "list_clusters", "clusters"))


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


def decisions(**changed: str) -> dict[str, Any]:
    rows = {action: changed.get(action.replace(":", "_"), "allowed") for action in rights.ACTIONS}
    return {"EvaluationResults": [{"EvalActionName": name, "EvalDecision": row} for name, row in rows.items()]}


def caller(aws: Stubbed, arn: str, found: str = "444455556666") -> None:
    aws.reply("sts", "get_caller_identity", {"Account": found, "Arn": arn})


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (decisions(), Status.FITS),
        (decisions(ec2_CreateVpc="implicitDeny"), Status.UNKNOWN),
        (decisions(ec2_CreateVpc="explicitDeny", s3_CreateBucket="implicitDeny"), Status.LACKS),
    ],
)
def test_the_simulator_is_asked_about_the_role_behind_a_session(aws: Stubbed, reply: dict[str, Any], status: Status):
    caller(aws, "arn:aws:sts::444455556666:assumed-role/deployer/me")
    role = "arn:aws:iam::444455556666:role/teams/deployer"
    known = {"Path": "/teams/", "RoleName": "deployer", "RoleId": "A" * 16, "Arn": role, "CreateDate": NOW}
    aws.reply("iam", "get_role", {"Role": known}, {"RoleName": "deployer"})
    wanted = {"PolicySourceArn": role, "ActionNames": list(rights.ACTIONS)}
    aws.reply("iam", "simulate_principal_policy", reply, wanted)
    (found,) = rights.check_permissions(account(aws))
    assert found.status is status


def test_a_simulator_that_leaves_an_action_out_has_not_answered(aws: Stubbed):
    caller(aws, "arn:aws:iam::444455556666:user/me")
    aws.reply("iam", "simulate_principal_policy", {"EvaluationResults": decisions()["EvaluationResults"][1:]})
    aws.fail("ec2", "create_internet_gateway", "DryRunOperation")
    aws.fail("ec2", "allocate_address", "UnauthorizedOperation")
    simulated, gateway, address = rights.check_permissions(account(aws))
    assert simulated.there == "iam:SimulatePrincipalPolicy: no decision about ec2:CreateVpc"
    assert (gateway.status, address.status) == (Status.FITS, Status.LACKS)


def test_a_dry_run_that_was_carried_out_is_said(aws: Stubbed):
    caller(aws, "arn:aws:iam::444455556666:root")
    aws.reply("ec2", "create_internet_gateway", {"InternetGateway": {}}, {"DryRun": True})
    aws.fail("ec2", "allocate_address", "RequestLimitExceeded")
    simulated, gateway, address = rights.check_permissions(account(aws))
    assert "no policies of its own" in simulated.there
    assert (gateway.status, gateway.there) == (Status.UNKNOWN, "the service did not heed DryRun: look for what it made")
    assert address.there == "ec2:AllocateAddress: AWS asks to slow down; try again later"


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"eu-central-1": "opt-in-not-required"}, Status.FITS),
        ({"eu-central-1": "not-opted-in"}, Status.LACKS),
        ({}, Status.LACKS),
    ],
)
def test_the_region_must_be_enabled(aws: Stubbed, states: dict[str, str], status: Status):
    rows = [{"RegionName": name, "OptInStatus": state} for name, state in states.items()]
    aws.reply("ec2", "describe_regions", {"Regions": rows})
    (found,) = rights.check_region(account(aws))
    assert found.status is status


def test_a_foreign_account_ends_it_before_anything_else_is_asked(aws: Stubbed):
    caller(aws, "arn:aws:iam::999999999999:user/me", "999999999999")
    (found,) = preflight(account(aws))
    assert found.status is Status.LACKS
    assert found.request == "credentials of 444455556666, or aws.accountId: 999999999999 in the stack file"


def test_an_account_that_is_none_is_not_believed(aws: Stubbed):
    caller(aws, "arn:aws:iam::moto:user/me", "moto")
    (found,) = preflight(account(aws))
    assert (found.status, verdict([found])) == (Status.UNKNOWN, Verdict.CANNOT_TELL)


def test_an_endpoint_that_never_answers_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = Config(connect_timeout=0.2, read_timeout=0.2, retries={"total_max_attempts": 1})
        client = boto3.client(
            "sts", "eu-central-1", endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", config=config,
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip
        (found,) = preflight(account(lambda _: client))
        client.close()
    assert found.status is Status.UNKNOWN
    assert found.there.startswith("sts:GetCallerIdentity: Read timeout")


def test_the_verdict_and_the_table_name_what_lacks():
    fits, lacks = Finding("A", "1", "2", Status.FITS), Finding("B", "3", "0", Status.LACKS, "three more")
    silent = Finding("C", "x", "denied", Status.UNKNOWN)
    assert verdict([fits]) == Verdict.FITS == 0
    assert verdict([fits, silent, lacks]) == Verdict.LACKS == 1
    assert verdict([fits, silent]) == verdict([]) == Verdict.CANNOT_TELL == 2
    text = render([fits, lacks])
    assert "    B: three more" in text
    assert text.endswith("The account lacks something that the stack needs.")


def test_the_command_ends_with_the_verdict(
    aws: Stubbed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Session:
        def client(self, service: str, region_name: str) -> Any:
            assert region_name == "eu-central-1"
            return aws(service)

    monkeypatch.setattr(StackAccess, "session", lambda _: Session())
    caller(aws, "arn:aws:iam::999999999999:user/me", "999999999999")
    assert run(["preflight", "--stack", "prod", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["checks"][0]["status"]) == ("lacks", "lacks")
    assert found["capacity"]["survives_a_zone"] is True
    aws.fail("sts", "get_caller_identity", "AccessDenied")
    assert run(["preflight", "--stack", "prod"]) == 2
    assert "sts:GetCallerIdentity is denied; it is needed for this check" in capsys.readouterr().out
