"""The program's resources as a Terraform plan, and the judgement over what a scanner finds in it."""

import json
from typing import Any

import pytest

from infra.policy.scan import Finding, Scan, ScanError, judge, read
from infra.policy.scan_exceptions import EXCEPTIONS, Accepted
from infra.policy.terraform_plan import address, plan, terraform_type
from infra.rehearsal import Registration, Rehearsal


def registration(token: str, name: str, inputs: dict[str, Any], *needs: Registration) -> Registration:
    return Registration(
        type=token,
        name=name,
        urn=f"urn:pulumi:prod::penstock::{token}::{name}",
        parent="",
        inputs=inputs,
        protect=False,
        retain_on_delete=False,
        ignore_changes=(),
        provider="",
        dependencies=frozenset(each.urn for each in needs),
        custom=True,
    )


KEY = registration("aws:kms/key:Key", "data", {"enableKeyRotation": True})
BUCKET = registration("aws:s3/bucket:Bucket", "data", {"tags": {"stack": "prod"}})


def planned(*found: Registration) -> dict[str, dict[str, Any]]:
    made = plan(Rehearsal(found, {}, 0.0))
    return {each["address"]: each["values"] for each in made["planned_values"]["root_module"]["resources"]}


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("aws:ec2/flowLog:FlowLog", "aws_flow_log"),
        ("aws:ec2/vpc:Vpc", "aws_vpc"),
        ("aws:rds/instance:Instance", "aws_db_instance"),
        ("aws:rds/subnetGroup:SubnetGroup", "aws_db_subnet_group"),
        ("aws:lb/loadBalancer:LoadBalancer", "aws_lb"),
        ("aws:lb/targetGroup:TargetGroup", "aws_lb_target_group"),
        ("aws:cloudtrail/trail:Trail", "aws_cloudtrail"),
        ("aws:costexplorer/anomalyMonitor:AnomalyMonitor", "aws_ce_anomaly_monitor"),
        ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws_vpc_security_group_ingress_rule"),
        ("aws:wafv2/webAcl:WebAcl", "aws_wafv2_web_acl"),
        ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "aws_s3_bucket_public_access_block"),
    ],
)
def test_a_type_has_its_terraform_name(token: str, kind: str):
    assert terraform_type(token) == kind


def test_one_block_is_a_list_of_one_and_a_map_stays_a_map():
    cluster = registration(
        "aws:eks/cluster:Cluster", "cluster", {"vpcConfig": {"endpointPublicAccess": False}, "tags": {"stack": "prod"}}
    )

    assert planned(cluster)[address(cluster)] == {
        "vpc_config": [{"endpoint_public_access": False}],
        "tags": {"stack": "prod"},
    }


def test_a_list_of_blocks_has_the_singular_name():
    encryption = registration(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "data",
        {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}]},
    )

    assert planned(encryption)[address(encryption)] == {
        "rule": [{"apply_server_side_encryption_by_default": [{"sse_algorithm": "aws:kms"}]}]
    }


def test_a_value_of_another_resource_is_a_reference_to_the_right_one_of_two_with_one_name():
    versioning = registration(
        "aws:s3/bucketVersioning:BucketVersioning",
        "data",
        {"bucket": "data-id", "versioningConfiguration": {"status": "Enabled"}},
        BUCKET,
    )
    made = plan(Rehearsal((KEY, BUCKET, versioning), {}, 0.0))
    configured = {each["address"]: each for each in made["configuration"]["root_module"]["resources"]}

    assert configured[address(versioning)]["expressions"] == {
        "bucket": {"references": ["aws_s3_bucket.data.id", "aws_s3_bucket.data"]}
    }
    assert planned(KEY, BUCKET, versioning)[address(versioning)]["bucket"] is None


FOUND = Finding("prod", "CKV_X", "aws_s3_bucket.data", "a finding")
NAMED = Accepted("CKV_X", ("aws_s3_bucket.*",), "meant", stacks=("prod",))


def test_a_finding_without_an_exception_is_unexplained():
    assert judge({"prod": Scan(1, (FOUND,))}, ()).unexplained == (FOUND,)


def test_a_finding_with_an_exception_is_accepted_for_that_resource_and_stack_alone():
    elsewhere = Finding("dev", "CKV_X", "aws_s3_bucket.data", "a finding")
    other = Finding("prod", "CKV_X", "aws_kms_key.data", "a finding")

    verdict = judge({"prod": Scan(1, (FOUND, other)), "dev": Scan(1, (elsewhere,))}, (NAMED,))

    assert verdict.accepted == (FOUND,)
    assert set(verdict.unexplained) == {other, elsewhere}


def test_an_exception_that_nothing_needs_fails_the_scan():
    verdict = judge({"prod": Scan(1, ())}, (NAMED,))

    assert verdict.unneeded == ("CKV_X in prod",)
    assert not verdict.clean


def test_a_stack_that_was_not_scanned_makes_no_exception_unneeded():
    assert judge({"dev": Scan(1, ())}, (NAMED,)).clean


def report(kind: str, **summary: int) -> dict[str, Any]:
    whole = {"passed": 2, "failed": 0, "parsing_errors": 0, "resource_count": 3} | summary
    return {"check_type": kind, "summary": whole, "results": {"failed_checks": []}}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        json.dumps({"passed": 0}),
        json.dumps([report("terraform_plan")]),
        json.dumps([report("terraform_plan"), report("kubernetes", parsing_errors=1)]),
        json.dumps([report("terraform_plan", resource_count=0), report("kubernetes")]),
    ],
    ids=["nothing", "no report", "no resources", "one framework", "not parsed", "none seen"],
)
def test_a_scanner_that_saw_too_little_is_no_clean_scan(answer: str):
    with pytest.raises(ScanError, match=r"prod: checkov"):
        read(answer, "", "prod")


def test_a_whole_answer_is_read():
    assert read(json.dumps([report("terraform_plan"), report("kubernetes")]), "", "prod") == Scan(4, ())


def test_every_exception_gives_its_reason():
    assert all(each.reason.endswith(".") and each.resources and each.stacks for each in EXCEPTIONS)
