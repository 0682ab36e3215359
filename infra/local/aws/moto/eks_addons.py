"""EKS add-ons."""

from __future__ import annotations

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.eks.responses import EKSResponse
from moto.moto_api._internal import mock_random

from infra.local.aws.moto.eks_common import VERSIONS, check_role, cluster_of, in_use, invalid, missing, record_update
from infra.local.aws.moto.patching import attach, given

DEFAULT_VERSIONS = {
    "vpc-cni": "v1.22.4-eksbuild.3", "coredns": "v1.14.3-eksbuild.23", "kube-proxy": "v1.36.0-eksbuild.25",
    "eks-pod-identity-agent": "v1.3.10-eksbuild.3", "aws-ebs-csi-driver": "v1.63.1-eksbuild.1",
    "aws-efs-csi-driver": "v2.1.12-eksbuild.1", "aws-mountpoint-s3-csi-driver": "v2.2.0-eksbuild.1",
    "metrics-server": "v0.8.0-eksbuild.6", "eks-node-monitoring-agent": "v1.7.2-eksbuild.1",
    "snapshot-controller": "v8.3.0-eksbuild.1", "amazon-cloudwatch-observability": "v4.7.0-eksbuild.1",
}  # fmt: skip
"""Add-ons that can be created, each with the version given to those who name none."""
FOLLOWS_THE_CLUSTER = "kube-proxy"
"""The add-on whose minor version is a Kubernetes version: EKS offers no newer one than the cluster's."""


def version_of(addon: str, cluster_version: str) -> str:
    version = DEFAULT_VERSIONS[addon]
    return version.replace("v1.36.", f"v{cluster_version}.") if addon == FOLLOWS_THE_CLUSTER else version


def check_version(addon: str, version: str, cluster_version: str) -> None:
    """Raises InvalidParameterException, as EKS does for a version that is none or is not offered for the cluster."""
    shape = re.fullmatch(r"v([0-9]+)\.([0-9]+)\.[0-9]+-eksbuild\.[0-9]+", version)
    newest = tuple(map(int, cluster_version.split(".")))
    if shape is None or (addon == FOLLOWS_THE_CLUSTER and (int(shape[1]), int(shape[2])) > newest):
        raise invalid(
            f"Addon version specified is not supported: {addon} {version} in {cluster_version} kubernetes version"
        )


def find(response: Any) -> dict[str, Any]:
    name, addons = response._get_param("addonName"), cluster_of(response).addons
    if name not in addons:
        raise missing(f"No addon: {name} found in cluster: {response._get_param('name')}")
    return addons[name]


def create_addon(self: Any) -> ActionResult:
    cluster, name = cluster_of(self), self._get_param("addonName")
    if name not in DEFAULT_VERSIONS:
        raise invalid(f"Addon {name} specified is not supported in {cluster.version} kubernetes version")
    if name in cluster.addons:
        raise in_use(cluster, "Addon already exists.")
    if version := self._get_param("addonVersion"):
        check_version(name, version, cluster.version)
    if role := self._get_param("serviceAccountRoleArn"):
        check_role(self.eks_backend, role)
    now = utcnow()
    cluster.addons[name] = {
        "clusterName": cluster.name,
        "addonVersion": version_of(name, cluster.version),
        "status": "ACTIVE",
        "health": {"issues": []},
        "addonArn": cluster.arn.replace(":cluster/", ":addon/") + f"/{name}/{mock_random.uuid4()}",
        "createdAt": now,
        "modifiedAt": now,
        "tags": {},
        **given(self, "addonName", "addonVersion", "serviceAccountRoleArn", "configurationValues", "tags"),
    }
    return ActionResult({"addon": cluster.addons[name]})


def describe_addon(self: Any) -> ActionResult:
    return ActionResult({"addon": find(self)})


def update_addon(self: Any) -> ActionResult:
    changes = given(self, "addonVersion", "serviceAccountRoleArn", "configurationValues")
    if "addonVersion" in changes:
        check_version(self._get_param("addonName"), changes["addonVersion"], cluster_of(self).version)
    find(self).update(changes, modifiedAt=utcnow())
    return record_update(cluster_of(self), "AddonUpdate")


def delete_addon(self: Any) -> ActionResult:
    addon = find(self)
    del cluster_of(self).addons[addon["addonName"]]
    return ActionResult({"addon": {**addon, "status": "DELETING"}})


def list_addons(self: Any) -> ActionResult:
    return ActionResult({"addons": list(cluster_of(self).addons)})


def describe_addon_versions(self: Any) -> ActionResult:
    wanted, cluster_version = self._get_param("addonName"), self._get_param("kubernetesVersion")

    def described(addon: str) -> dict[str, Any]:
        compatibilities = [
            {"clusterVersion": version, "defaultVersion": True, "platformVersions": ["*"]}
            for version in VERSIONS
            if cluster_version in (None, version)
        ]
        return {
            "addonName": addon,
            "type": "networking",
            "publisher": "eks",
            "owner": "aws",
            "addonVersions": [
                {
                    "addonVersion": version_of(addon, cluster_version or VERSIONS[-1]),
                    "architecture": ["amd64", "arm64"],
                    "requiresConfiguration": False,
                    "compatibilities": compatibilities,
                }
            ],
        }

    return ActionResult({"addons": [described(addon) for addon in DEFAULT_VERSIONS if wanted in (None, addon)]})


def install() -> None:
    attach(
        EKSResponse, create_addon, describe_addon, update_addon, delete_addon, list_addons, describe_addon_versions
    )  # fmt: skip
