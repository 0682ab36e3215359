"""Versions, node images and instance types that do not fit are refused before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from infra.settings.versions import architecture_of, needs_device_plugin, numbers
from tests.unit.settings_cases import problems, put


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_a_kubernetes_version_outside_the_table_is_refused(version: str):
    found = problems(put("cluster.version", version))
    assert found["cluster.version"] == f"{version} is not allowed; allowed: 1.35, 1.36, in quotes"


@pytest.mark.parametrize(
    ("proxy", "fits"),
    [("v1.36.9-eksbuild.1", True), ("v1.33.0-eksbuild.1", True), ("v1.32.0-eksbuild.1", False)],
)
def test_kube_proxy_may_lag_three_minor_versions(proxy: str, fits: bool):
    assert (problems(put("cluster.addonVersions.kubeProxy", proxy)) == {}) is fits


def test_kube_proxy_is_never_newer_than_the_cluster():
    found = problems(put("cluster.version", "1.35"))
    assert found["cluster.addonVersions.kubeProxy"].endswith("does not fit cluster.version 1.35; allowed: 1.32 to 1.35")


def test_a_pod_network_that_ignores_network_policies_is_refused():
    found = problems(put("cluster.addonVersions.vpcCni", "v1.13.4-eksbuild.1"))
    assert found == {
        "cluster.addonVersions.vpcCni": "v1.13.4-eksbuild.1 does not enforce network policies; allowed: 1.14 or later"
    }


@pytest.mark.parametrize("version", ["latest", "1.22.4", "v1.22"])
def test_an_add_on_is_pinned_to_one_build(version: str):
    assert "must match" in problems(put("cluster.addonVersions.vpcCni", version))["cluster.addonVersions.vpcCni"]


@pytest.mark.parametrize(
    ("path", "value", "where", "said"),
    [
        ("gpu.amiType", "BOTTLEROCKET_x86_64", "gpu.amiType", "has no NVIDIA driver"),
        ("gpuSpot.amiType", "AL2_x86_64_GPU", "gpuSpot.amiType", "has no NVIDIA driver"),
        ("system.amiType", "AL2_x86_64", "system.amiType", "is not made any more"),
        ("system.amiType", "BOTTLEROCKET_x86_64_NVIDIA", "system.amiType", "is for GPU nodes"),
        ("system.instanceTypes", ["m7g.large"], "system.instanceTypes[0]", "m7g.large is arm64, and amiType"),
        ("gpu.amiType", "BOTTLEROCKET_ARM_64_NVIDIA", "gpu.instanceTypes[0]", "g6.xlarge is x86_64, and amiType"),
        ("gpu.instanceTypes", ["g7.xlarge"], "gpu.instanceTypes[0]", "needs NVIDIA driver 595"),
        ("gpu.instanceTypes", ["p5en.48xlarge"], "gpu.instanceTypes[0]", "is had by reservation alone"),
    ],
)
def test_an_image_that_cannot_run_on_its_nodes_is_refused(path: str, value: Any, where: str, said: str):
    assert said in problems(put(f"nodeGroups.{path}", value))[f"nodeGroups.{where}"]


@pytest.mark.parametrize(
    ("instance_type", "architecture"),
    [
        ("m7i.large", "x86_64"),
        ("g6e.xlarge", "x86_64"),
        ("gr6.4xlarge", "x86_64"),
        ("p6-b200.48xlarge", "x86_64"),
        ("a1.medium", "arm64"),
        ("t4g.small", "arm64"),
        ("c7gn.large", "arm64"),
        ("im4gn.large", "arm64"),
        ("g5g.xlarge", "arm64"),
        ("p6e-gb200.36xlarge", "arm64"),
    ],
)
def test_an_instance_types_processor_is_known_by_its_name(instance_type: str, architecture: str):
    assert architecture_of(instance_type) == architecture


@pytest.mark.parametrize(
    ("ami_type", "needed"),
    [
        ("AL2023_x86_64_NVIDIA", True),
        ("AL2023_x86_64_STANDARD", False),
        ("BOTTLEROCKET_x86_64_NVIDIA", False),
        ("BOTTLEROCKET_x86_64", False),
    ],
)
def test_only_amazon_linux_lacks_the_device_plugin(ami_type: str, needed: bool):
    assert needs_device_plugin(ami_type) is needed


def test_versions_are_compared_as_numbers():
    assert numbers("v1.9.0-eksbuild.1") < numbers("v1.22.4-eksbuild.3") < numbers("2.0.0")
    with pytest.raises(ValueError, match="'latest' is not a version"):
        numbers("latest")


@pytest.mark.parametrize(
    ("version", "fits"), [("1.36", True), ("1.33", True), (None, True), ("1.32", False), ("1.37", False)]
)
def test_nodes_are_as_old_as_the_skew_allows_and_never_newer(version: str | None, fits: bool):
    found = problems(put("nodeGroups.gpu.version", version))
    assert ("nodeGroups.gpu.version" in found) is not fits
    if not fits:
        assert found["nodeGroups.gpu.version"].endswith("allowed: 1.33 to 1.36, in quotes, or null")


def test_a_release_of_amazon_linux_is_of_the_nodes_kubernetes():
    def edit(values: Any) -> None:
        values["nodeGroups"]["system"] |= {"amiType": "AL2023_x86_64_STANDARD", "releaseVersion": "1.35.2-20261016"}

    assert "is an image for another Kubernetes" in problems(edit)["nodeGroups.system.releaseVersion"]


@pytest.mark.parametrize("release", ["latest", "1.50.0", "v1.50.0-1a2b3c4d"])
def test_a_release_of_an_image_names_one_build(release: str):
    said = problems(put("nodeGroups.system.releaseVersion", release))
    assert "must match" in said["nodeGroups.system.releaseVersion"]


def test_administrators_whose_entries_would_have_one_name_are_refused():
    arns = [f"arn:aws:iam::111122223333:role/{path}/Admin" for path in ("a", "b")]
    found = problems(put("cluster.administrators", arns))
    assert found["cluster.administrators"].startswith(f"{arns[0]} and {arns[1]} both end in 'Admin'; allowed: ")
