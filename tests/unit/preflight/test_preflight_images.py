"""`penstock preflight`: the images that nodes and pods start from, before anything waits for one."""

from __future__ import annotations

from typing import Any

import pytest

from infra.ops.preflight import images
from infra.ops.preflight.findings import Status
from tests.unit.preflight.cases import Stubbed, account

OWN = "sha256:" + "5" * 64
AMAZON_LINUX = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/nvidia"


@pytest.fixture(autouse=True)
def only_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = images.images_that_run
    monkeypatch.setattr(
        images, "images_that_run", lambda shape: [each for each in whole(shape) if each.repository == "gateway"]
    )


@pytest.mark.parametrize(
    ("code", "status", "there"),
    [
        ("", Status.FITS, "in penstock-prod/gateway"),
        ("ImageNotFoundException", Status.LACKS, "not in penstock-prod/gateway"),
        ("RepositoryNotFoundException", Status.NOTE, "made by the first update"),
        ("AccessDeniedException", Status.UNKNOWN, "ecr:DescribeImages is denied"),
    ],
)
def test_an_image_is_looked_for_in_the_stacks_own_repository(aws: Stubbed, code: str, status: Status, there: str):
    if code:
        aws.fail("ecr", "describe_images", code)
    else:
        wanted = {"repositoryName": "penstock-prod/gateway", "imageIds": [{"imageDigest": OWN}]}
        aws.reply("ecr", "describe_images", {"imageDetails": [{}]}, wanted)
    made = account(aws, release__blue__gatewayImage=OWN, release__green__gatewayImage=OWN)
    (found,) = images.check_images(made)  # both colours run it: it is asked for once
    assert found.status is status
    assert there in found.there


def test_a_tag_is_looked_for_as_a_tag(aws: Stubbed):
    wanted = {"repositoryName": "penstock-prod/gateway", "imageIds": [{"imageTag": "v1"}]}
    aws.reply("ecr", "describe_images", {"imageDetails": [{}]}, wanted)
    made = account(aws, release__blue__gatewayImage="v1", release__green__gatewayImage="v1")
    assert [found.check for found in images.check_images(made)] == ["Image gateway v1"]


def test_a_placeholder_lacks_without_a_question(aws: Stubbed):
    (found,) = images.check_images(account(aws))
    assert (found.status, found.there) == (Status.LACKS, "a placeholder")
    assert found.request == "put the digest of an image of penstock-prod/gateway"


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("bottlerocket@v1.50.0", "/aws/service/bottlerocket/aws-k8s-1.36-nvidia/x86_64/1.50.0/image_id"),
        (
            "al2023@v20260714",
            f"{AMAZON_LINUX}/amazon-eks-node-al2023-x86_64-nvidia-1.36-v20260714/image_id",
        ),
    ],
)
def test_an_alias_stands_for_a_public_parameter(alias: str, name: str):
    assert images.parameter_of(alias, "1.36", "x86_64") == name


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ({"Parameter": {"Value": "ami-1"}}, Status.FITS),
        ({"Parameter": {"Value": "x"}}, Status.UNKNOWN),
        ({}, Status.UNKNOWN),
    ],
)
def test_the_node_image_must_have_been_released(aws: Stubbed, reply: dict[str, Any], status: Status):
    aws.reply("ssm", "get_parameter", reply)
    (found,) = images.check_node_image(account(aws))
    assert found.status is status


def test_a_node_image_that_nobody_released_is_lacking(aws: Stubbed):
    aws.fail("ssm", "get_parameter", "ParameterNotFound")
    (found,) = images.check_node_image(account(aws))
    assert (found.status, found.asked) == (Status.LACKS, "bottlerocket@v1.50.0")
    assert found.there.startswith("no /aws/service/bottlerocket/aws-k8s-1.36-nvidia/")


def test_a_stack_without_karpenter_asks_for_no_node_image(aws: Stubbed):
    assert list(images.check_node_image(account(aws, controllers__karpenter__enabled=False))) == []
