"""EKS node groups: what moto invents is removed, what it drops is kept, what AWS refuses is refused."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.eks import models
from moto.eks.responses import EKSResponse

from infra.local.aws.moto.eks_common import check_role, check_subnets, cluster_of, ec2_of, invalid, record_update
from infra.local.aws.moto.patching import attach, extend, redefine

AMI_TYPES = (
    "AL2023_x86_64_STANDARD", "AL2023_ARM_64_STANDARD", "AL2023_x86_64_NVIDIA", "AL2023_ARM_64_NVIDIA",
    "AL2023_x86_64_NEURON", "BOTTLEROCKET_x86_64", "BOTTLEROCKET_ARM_64", "BOTTLEROCKET_x86_64_NVIDIA",
    "BOTTLEROCKET_ARM_64_NVIDIA", "BOTTLEROCKET_x86_64_FIPS", "BOTTLEROCKET_ARM_64_FIPS", "CUSTOM",
)  # fmt: skip
"""The AMI types of EKS 1.33 and later (AL2 and Windows left out)."""

TAINT_EFFECTS = ("NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE")
RELEASE_DATE = "20261016"


def release_of(version: str) -> str:
    return f"{version}.2-{RELEASE_DATE}"


def check_scaling(scaling: dict[str, int]) -> None:
    if scaling and not scaling["minSize"] <= scaling["desiredSize"] <= scaling["maxSize"]:
        raise invalid("desired capacity must be between the minimum and maximum size")


def check_taints(taints: list[dict[str, str]]) -> None:
    for taint in taints:
        if taint.get("effect") not in TAINT_EFFECTS:
            raise invalid(f"invalid taint effect {taint.get('effect')}: it must be one of {', '.join(TAINT_EFFECTS)}")


def check_template(ec2: Any, template: dict[str, str]) -> None:
    known = ec2.launch_templates
    found = template.get("id") in known or any(item.name == template.get("name") for item in known.values())
    if not found:
        raise invalid(f"launch template {template.get('id') or template.get('name')} does not exist")


def data_of(ec2: Any, template: dict[str, str]) -> dict[str, Any]:
    """What the named version of a launch template says; the newest where none is named."""
    found = ec2.launch_templates.get(template.get("id")) or next(
        item for item in ec2.launch_templates.values() if item.name == template.get("name")
    )
    return found.get_version(template.get("version") or "$Latest").data


def check_block(asked: str | None, data: dict[str, Any]) -> None:
    """A Capacity Block is asked for in the template and by the capacity type alike (EKS user guide)."""
    market = (data.get("InstanceMarketOptions") or {}).get("MarketType")
    if (asked == "CAPACITY_BLOCK") != (market == "capacity-block"):
        raise invalid(f"capacityType {asked} does not fit the launch template's market type {market}")
    target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
    if asked == "CAPACITY_BLOCK" and not (target.get("CapacityReservationId") and data.get("InstanceType")):
        raise invalid("a launch template for capacityType CAPACITY_BLOCK names a reservation and an instance type")


def create_nodegroup(original: Any, self: Any) -> ActionResult:
    backend, cluster = self.eks_backend, cluster_of(self)
    ec2 = ec2_of(backend)
    check_role(backend, self._get_param("nodeRole"))
    check_subnets(backend, self._get_param("subnets") or [], zones=1)
    ami_type = self._get_param("amiType") or "AL2023_x86_64_STANDARD"
    if ami_type not in AMI_TYPES:
        raise invalid(f"amiType {ami_type} is not one of {', '.join(AMI_TYPES)}")
    for instance_type in self._get_param("instanceTypes") or []:
        if instance_type not in INSTANCE_TYPES:
            raise invalid(f"The following supplied instance types do not exist: [{instance_type}]")
    check_scaling(self._get_param("scalingConfig") or {})
    check_taints(self._get_param("taints") or [])
    template = self._get_param("launchTemplate")
    if template:
        check_template(ec2, template)
    data = data_of(ec2, template) if template else {}
    check_block(self._get_param("capacityType"), data)
    if data.get("InstanceType") and self._get_param("instanceTypes"):
        raise invalid("instance types stand in the request and in the launch template")
    result = original(self)
    group = result.result["nodegroup"]
    if data.get("InstanceType"):
        # EKS does not show it; the node agent, which stands for EC2, has no other way to know it.
        group.instance_types = [data["InstanceType"]]
    group.version = self._get_param("version") or cluster.version
    group.release_version = self._get_param("releaseVersion") or release_of(group.version)
    group.update_config = self._get_param("updateConfig") or {"maxUnavailable": 1}
    group.node_repair_config = self._get_param("nodeRepairConfig")
    group.ami_type = ami_type
    if template:
        group.disk_size = None
    if not self._get_param("remoteAccess"):
        group.resources = {"autoScalingGroups": group.resources["autoScalingGroups"]}
    return result


def update_nodegroup_config(original: Any, self: Any) -> ActionResult:
    check_scaling(self._get_param("scalingConfig") or {})
    check_taints((self._get_param("taints") or {}).get("addOrUpdateTaints", []))
    update = original(self).result["update"]
    cluster_of(self).updates[update["id"]] = update
    return ActionResult({"update": update})


def update_nodegroup_version(self: Any) -> ActionResult:
    cluster = cluster_of(self)
    group = self.eks_backend.describe_nodegroup(cluster.name, self._get_param("nodegroupName"))
    version = self._get_param("version") or cluster.version
    if int(version.split(".")[1]) > int(cluster.version.split(".")[1]):
        raise invalid("Nodegroup version cannot be greater than cluster version")
    group.version, group.release_version = version, self._get_param("releaseVersion") or release_of(version)
    if template := self._get_param("launchTemplate"):
        group.launch_template = {**(group.launch_template or {}), **template}
    return record_update(cluster, "VersionUpdate", Version=version)


def install() -> None:
    redefine(models, DEFAULT_REMOTE_ACCESS=None)  # moto invents a block, which a client then wants to replace
    extend(EKSResponse, create_nodegroup, update_nodegroup_config)
    attach(EKSResponse, update_nodegroup_version)
