"""The values of the repository's stack files that stand for your own are refused once the account is a real one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from infra.settings.placeholder_rules import EXAMPLE_ACCOUNTS, PLACEHOLDER_DIGEST, images_that_run
from tests.unit.settings_cases import CHECKOUT, STACKS, problems, settled

REAL, OWN = "210987654321", "sha256:" + "5" * 64
ROLE = f"arn:aws:iam::{REAL}:role/platform-administrator"
CERTIFICATE = f"arn:aws:acm:eu-central-1:{REAL}:certificate/7f5d2a0c-1b3e-4c6d-9f80-2a4b6c8d0e1f"


def in_a_real_account(values: dict[str, Any]) -> None:
    values["aws"]["accountId"] = REAL


def with_own_values(values: dict[str, Any]) -> None:
    in_a_real_account(values)
    values["cluster"]["administrators"] = [ROLE]
    values["watch"]["runbooksUrl"] = "https://wiki.bank.example/runbooks"
    values["watch"]["collector"]["image"] = OWN
    values["edge"].update(hostname="llm.bank.example", certificateArn=CERTIFICATE)
    controllers = values["controllers"]
    controllers["karpenter"]["image"] = controllers["loadBalancer"]["image"] = OWN
    for colour in ("blue", "green"):
        values["release"][colour].update(gatewayImage=OWN, engineImage=OWN)


@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_files_as_they_are_belong_to_nobodys_account(stack: str):
    assert settled(stack)["aws"]["accountId"] in EXAMPLE_ACCOUNTS
    assert problems(lambda values: None, stack) == {}


def test_every_digest_of_the_stack_files_can_be_told_from_a_real_one():
    """A fork whose account is its own has its own digests, and is free of this."""
    for path in [*CHECKOUT.glob("Pulumi.*.yaml"), *CHECKOUT.glob("examples/stacks/Pulumi.*.yaml")]:
        text = path.read_text()
        if re.search(r'accountId: "(\d+)"', text)[1] in EXAMPLE_ACCOUNTS:  # ty: ignore[not-subscriptable]
            digests = re.findall(r"sha256:[0-9a-f]{64}", text)
            assert [each for each in digests if not each.startswith(PLACEHOLDER_DIGEST)] == [], path.name


def test_a_real_account_takes_no_placeholder():
    found = problems(in_a_real_account, "prod")
    assert set(found) == {
        "cluster.administrators[0]",
        "controllers.karpenter.image",
        "controllers.loadBalancer.image",
        "edge.certificateArn",
        "edge.hostname",
        "release.blue.engineImage",
        "release.blue.gatewayImage",
        "release.green.engineImage",
        "release.green.gatewayImage",
        "watch.collector.image",
        "watch.runbooksUrl",
    }
    assert found["controllers.karpenter.image"].startswith(
        f"is a placeholder, and account {REAL} is a real one: no image has this digest; allowed: the digest of an image"
    )


def test_a_real_account_with_its_own_values_is_taken():
    assert problems(with_own_values, "prod") == {}


def test_an_image_of_one_model_may_be_no_placeholder_either():
    def edit(values: dict[str, Any]) -> None:
        with_own_values(values)
        values["release"]["green"]["engineImages"] = {"qwen3-8b": PLACEHOLDER_DIGEST + "0" * 16}

    assert list(problems(edit, "prod")) == ["release.green.engineImages.qwen3-8b"]


def test_what_does_not_run_may_keep_its_placeholder():
    def edit(values: dict[str, Any]) -> None:
        with_own_values(values)
        values["watch"]["collector"].update(enabled=False, image=PLACEHOLDER_DIGEST + "0" * 16)
        values["watch"]["prometheus"] = "none"

    assert problems(edit, "prod") == {}


def test_every_image_key_of_the_settings_is_looked_at():
    """A controller with a new image key is to be refused as the others are."""
    from infra.settings import Settings

    values = settled("prod")
    for controller in values["controllers"].values():
        controller["enabled"] = True
    seen = {image.path for image in images_that_run(Settings.parse(values))}

    def keys(part: Any, path: str) -> set[str]:
        if isinstance(part, dict):
            return {found for key, each in part.items() for found in keys(each, f"{path}.{key}" if path else key)}
        return {path} if isinstance(part, str) and part.startswith("sha256:") else set()

    assert keys(values, "") == seen
