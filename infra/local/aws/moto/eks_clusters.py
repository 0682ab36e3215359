"""EKS clusters: the settings that moto drops, version and configuration updates, the checks that AWS makes."""

from __future__ import annotations

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.eks import models
from moto.eks.models import Cluster
from moto.eks.responses import EKSResponse
from moto.moto_api._internal import mock_random

from infra.local.aws.moto import eks_access, identities
from infra.local.aws.moto.eks_common import (
    VERSIONS,
    check_role,
    check_subnets,
    cluster_of,
    ec2_of,
    invalid,
    missing,
    record_update,
)  # fmt: skip
from infra.local.aws.moto.patching import attach, extend, redefine, wrap

AUTHENTICATION_MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
"""In the order in which a cluster may move through them: never back."""

ADMINISTRATOR_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


def with_collections(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    self.addons, self.access_entries, self.pod_identities, self.updates = {}, {}, {}, {}


def create_cluster(original: Any, self: Any) -> ActionResult:
    backend, network = self.eks_backend, dict(self._get_param("resourcesVpcConfig") or {})
    if not re.fullmatch(r"[0-9A-Za-z][A-Za-z0-9\-_]{0,99}", self._get_param("name")):
        raise invalid("The cluster name must have 1 to 100 letters, digits, hyphens or underscores")
    if (version := self._get_param("version")) and version not in VERSIONS:
        raise invalid(f"unsupported Kubernetes version {version}")
    check_role(backend, self._get_param("roleArn"))
    subnets = check_subnets(backend, network.get("subnetIds", []), zones=2)
    result = original(self)
    cluster = result.result["cluster"]
    group = ec2_of(backend).create_security_group(
        f"eks-cluster-sg-{cluster.name}-{mock_random.get_random_hex(8)}",
        "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes",
        vpc_id=subnets[0].vpc_id,
    )
    cluster.resources_vpc_config = {
        "endpointPublicAccess": True, "endpointPrivateAccess": False, "securityGroupIds": [],
        **network, "vpcId": subnets[0].vpc_id, "clusterSecurityGroupId": group.id,
    }  # fmt: skip
    if cluster.resources_vpc_config["endpointPublicAccess"]:
        cluster.resources_vpc_config.setdefault("publicAccessCidrs", ["0.0.0.0/0"])
    cluster.access_config = {
        "authenticationMode": "CONFIG_MAP", "bootstrapClusterCreatorAdminPermissions": True,
        **(self._get_param("accessConfig") or {}),
    }  # fmt: skip
    cluster.upgrade_policy = self._get_param("upgradePolicy") or {"supportType": "EXTENDED"}
    if zonal_shift := self._get_param("zonalShiftConfig"):
        cluster.zonal_shift_config = zonal_shift
    cluster.deletion_protection = bool(self._get_param("deletionProtection"))
    cluster.kubernetes_network_config = {
        "ipFamily": "ipv4", "serviceIpv4Cidr": "172.20.0.0/16",
        **(self._get_param("kubernetesNetworkConfig") or {}),
    }  # fmt: skip
    if cluster.access_config["bootstrapClusterCreatorAdminPermissions"]:
        admit_creator(backend, cluster, self.get_access_key())
    return result


def admit_creator(backend: Any, cluster: Any, access_key: str) -> None:
    """EKS makes an access entry with the administrator policy for whoever creates the cluster."""
    account, partition = backend.account_id, backend.partition
    creator = identities.find(account, access_key, partition) or identities.deployer(account, partition)
    entry = eks_access.new_entry(cluster, creator.principal)
    eks_access.associate(entry, ADMINISTRATOR_POLICY, {"type": "cluster", "namespaces": []})


def delete_cluster(original: Any, self: Any) -> ActionResult:
    cluster = cluster_of(self)
    if getattr(cluster, "deletion_protection", False):
        raise invalid(f"Cluster {cluster.name} has deletion protection enabled")
    result = original(self)
    ec2 = ec2_of(self.eks_backend)
    group = cluster.resources_vpc_config["clusterSecurityGroupId"]
    if ec2.get_security_group_from_id(group) is not None:
        ec2.delete_security_group(group_id=group)
    return result


def update_cluster_config(self: Any) -> ActionResult:
    cluster = cluster_of(self)
    network = self._get_param("resourcesVpcConfig")
    if network:
        cluster.resources_vpc_config = {**cluster.resources_vpc_config, **network}
    for parameter, attribute in (
        ("logging", "logging"), ("upgradePolicy", "upgrade_policy"), ("zonalShiftConfig", "zonal_shift_config"),
        ("deletionProtection", "deletion_protection"),
    ):  # fmt: skip
        if (value := self._get_param(parameter)) is not None:
            setattr(cluster, attribute, value)
    if access := self._get_param("accessConfig"):
        order = AUTHENTICATION_MODES.index
        if order(access["authenticationMode"]) < order(cluster.access_config["authenticationMode"]):
            raise invalid("Unsupported authentication mode update")
        cluster.access_config.update(access)
    return record_update(cluster, "VpcConfigUpdate" if network else "LoggingUpdate")


def update_cluster_version(self: Any) -> ActionResult:
    cluster, version = cluster_of(self), self._get_param("version")
    if version not in VERSIONS:
        raise invalid(f"unsupported Kubernetes version {version}")
    if int(version.split(".")[1]) - int(cluster.version.split(".")[1]) != 1:
        raise invalid(f"Unsupported Kubernetes minor version update from {cluster.version} to {version}")
    cluster.version = version
    return record_update(cluster, "VersionUpdate", Version=version)


def associate_encryption_config(self: Any) -> ActionResult:
    cluster = cluster_of(self)
    cluster.encryption_config = self._get_param("encryptionConfig")
    return record_update(cluster, "AssociateEncryptionConfig")


def describe_update(self: Any) -> ActionResult:
    identifier = self._get_param("updateId")
    updates = cluster_of(self).updates
    if identifier not in updates:
        raise missing(f"No update found for ID: {identifier}")
    return ActionResult({"update": updates[identifier]})


def list_updates(self: Any) -> ActionResult:
    return ActionResult({"updateIds": list(cluster_of(self).updates)})


def describe_cluster_versions(self: Any) -> ActionResult:
    wanted = self.querystring.get("clusterVersions") or VERSIONS
    return ActionResult(
        {
            "clusterVersions": [
                {
                    "clusterVersion": version,
                    "clusterType": "eks",
                    "defaultVersion": version == VERSIONS[-1],
                    "status": "EXTENDED_SUPPORT" if version in VERSIONS[:3] else "STANDARD_SUPPORT",
                    "versionStatus": "EXTENDED_SUPPORT" if version in VERSIONS[:3] else "STANDARD_SUPPORT",
                }
                for version in reversed(VERSIONS)
                if version in wanted
            ]
        }
    )


def install() -> None:
    redefine(models, DEFAULT_KUBERNETES_VERSION=VERSIONS[-1], DEFAULT_PLATFORM_VERSION="eks.12")
    wrap(Cluster, "__init__", with_collections)
    extend(EKSResponse, create_cluster, delete_cluster)
    attach(
        EKSResponse, update_cluster_config, update_cluster_version, associate_encryption_config,
        describe_update, list_updates, describe_cluster_versions,
    )  # fmt: skip
