"""EKS add-ons."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.eks.responses import EKSResponse
from moto.moto_api._internal import mock_random

from infra.local.aws.moto.eks_common import VERSIONS, check_role, cluster_of, in_use, invalid, missing, record_update
from infra.local.aws.moto.patching import attach, given

DEFAULT_VERSIONS = {
    "vpc-cni": "v1.20.4", "coredns": "v1.13.1", "kube-proxy": "v1.36.0", "eks-pod-identity-agent": "v1.3.10",
    "aws-ebs-csi-driver": "v1.54.0", "aws-efs-csi-driver": "v2.1.12", "aws-mountpoint-s3-csi-driver": "v2.2.0",
    "metrics-server": "v0.8.0", "eks-node-monitoring-agent": "v1.5.0", "snapshot-controller": "v8.3.0",
    "amazon-cloudwatch-observability": "v4.7.0",
}  # fmt: skip
"""Add-ons that can be created, each with the version given to those who name none."""


def version_of(addon: str) -> str:
    return f"{DEFAULT_VERSIONS[addon]}-eksbuild.1"


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
    if role := self._get_param("serviceAccountRoleArn"):
        check_role(self.eks_backend, role)
    now = utcnow()
    cluster.addons[name] = {
        "clusterName": cluster.name,
        "addonVersion": version_of(name),
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
                    "addonVersion": version_of(addon),
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
