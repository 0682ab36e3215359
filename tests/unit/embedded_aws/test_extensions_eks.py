"""The EKS calls that moto lacks, over the wire."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.embedded_aws.conftest import Aws, Network

ADMINISTRATOR = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


def test_a_cluster_keeps_what_it_was_created_with(aws: Aws, cluster: dict[str, Any]) -> None:
    found = aws.client("eks").describe_cluster(name="penstock")["cluster"]
    assert found["version"] == "1.36"
    assert found["accessConfig"]["authenticationMode"] == "API"
    assert found["upgradePolicy"] == {"supportType": "STANDARD"}
    assert found["zonalShiftConfig"] == {"enabled": True}
    assert found["resourcesVpcConfig"]["clusterSecurityGroupId"].startswith("sg-")


def test_a_cluster_names_the_platforms_api_server(aws: Aws, cluster: dict[str, Any]) -> None:
    assert cluster["endpoint"] == aws.layout.api_server_url


@pytest.mark.parametrize("version", ["1.20", "1.99"])
def test_a_kubernetes_version_that_eks_does_not_offer_is_refused(
    aws: Aws, network: Network, role: str, version: str
) -> None:
    with pytest.raises(ClientError, match="unsupported Kubernetes version"):
        aws.client("eks").create_cluster(
            name="other", roleArn=role, version=version, resourcesVpcConfig={"subnetIds": network.subnets}
        )


def test_every_add_on_of_the_platform_can_be_created_tagged_and_deleted(aws: Aws, cluster: dict[str, Any]) -> None:
    eks = aws.client("eks")
    for name in ("vpc-cni", "eks-pod-identity-agent", "aws-mountpoint-s3-csi-driver", "eks-node-monitoring-agent"):
        addon = eks.create_addon(clusterName="penstock", addonName=name, tags={"a": "1"})["addon"]
        eks.tag_resource(resourceArn=addon["addonArn"], tags={"b": "2"})
        assert eks.describe_addon(clusterName="penstock", addonName=name)["addon"]["tags"] == {"a": "1", "b": "2"}
        versions = eks.describe_addon_versions(addonName=name, kubernetesVersion="1.36")["addons"][0]["addonVersions"]
        assert addon["addonVersion"] == versions[0]["addonVersion"]
        eks.delete_addon(clusterName="penstock", addonName=name)
    assert eks.list_addons(clusterName="penstock")["addons"] == []


def test_an_unknown_add_on_is_refused_by_name(aws: Aws, cluster: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="Addon nonsense specified is not supported"):
        aws.client("eks").create_addon(clusterName="penstock", addonName="nonsense")


@pytest.mark.parametrize(
    ("addon", "version"), [("kube-proxy", "v1.37.0-eksbuild.1"), ("coredns", "latest"), ("vpc-cni", "1.22.4")]
)
def test_an_add_on_version_that_is_none_or_newer_than_the_cluster_is_refused(
    aws: Aws, cluster: dict[str, Any], addon: str, version: str
) -> None:
    with pytest.raises(ClientError, match="Addon version specified is not supported"):
        aws.client("eks").create_addon(clusterName="penstock", addonName=addon, addonVersion=version)


def test_kube_proxy_may_be_older_than_the_cluster_and_follow_it(aws: Aws, cluster: dict[str, Any]) -> None:
    eks = aws.client("eks")
    eks.create_addon(clusterName="penstock", addonName="kube-proxy", addonVersion="v1.35.0-eksbuild.1")
    eks.update_addon(clusterName="penstock", addonName="kube-proxy", addonVersion="v1.36.0-eksbuild.25")
    found = eks.describe_addon(clusterName="penstock", addonName="kube-proxy")["addon"]
    assert found["addonVersion"] == "v1.36.0-eksbuild.25"
    with pytest.raises(ClientError, match="Addon version specified is not supported"):
        eks.update_addon(clusterName="penstock", addonName="kube-proxy", addonVersion="v1.37.0-eksbuild.1")
    eks.delete_addon(clusterName="penstock", addonName="kube-proxy")


def test_an_access_entry_carries_groups_and_policies(aws: Aws, cluster: dict[str, Any], role: str) -> None:
    eks = aws.client("eks")
    eks.create_access_entry(clusterName="penstock", principalArn=role, kubernetesGroups=["viewers"])
    eks.associate_access_policy(
        clusterName="penstock", principalArn=role, policyArn=ADMINISTRATOR, accessScope={"type": "cluster"}
    )
    entry = eks.describe_access_entry(clusterName="penstock", principalArn=role)["accessEntry"]
    assert entry["kubernetesGroups"] == ["viewers"]
    assert entry["username"].endswith(":assumed-role/cluster/{{SessionName}}")
    policies = eks.list_associated_access_policies(clusterName="penstock", principalArn=role)
    assert [policy["policyArn"] for policy in policies["associatedAccessPolicies"]] == [ADMINISTRATOR]
    eks.disassociate_access_policy(clusterName="penstock", principalArn=role, policyArn=ADMINISTRATOR)
    eks.delete_access_entry(clusterName="penstock", principalArn=role)
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.describe_access_entry(clusterName="penstock", principalArn=role)


def test_the_creator_of_a_cluster_has_an_entry_as_administrator(aws: Aws, cluster: dict[str, Any]) -> None:
    eks = aws.client("eks")
    creator = aws.client("sts").get_caller_identity()["Arn"]
    policies = eks.list_associated_access_policies(clusterName="penstock", principalArn=creator)
    assert [policy["policyArn"] for policy in policies["associatedAccessPolicies"]] == [ADMINISTRATOR]


def test_a_pod_identity_is_unique_for_a_service_account(aws: Aws, cluster: dict[str, Any], role: str) -> None:
    eks = aws.client("eks")
    wanted = {"clusterName": "penstock", "namespace": "penstock", "serviceAccount": "gateway", "roleArn": role}
    made = eks.create_pod_identity_association(**wanted)["association"]
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.create_pod_identity_association(**wanted)
    assert len(eks.list_pod_identity_associations(clusterName="penstock", namespace="penstock")["associations"]) == 1
    eks.delete_pod_identity_association(clusterName="penstock", associationId=made["associationId"])


def test_a_node_group_keeps_its_settings_and_invents_none(
    aws: Aws, cluster: dict[str, Any], network: Network, role: str
) -> None:
    eks = aws.client("eks")
    wanted = {
        "clusterName": "penstock", "nodegroupName": "gpu", "subnets": network.subnets, "nodeRole": role,
        "scalingConfig": {"minSize": 0, "maxSize": 3, "desiredSize": 3}, "instanceTypes": ["g6.xlarge"],
        "amiType": "AL2023_x86_64_NVIDIA", "capacityType": "SPOT", "updateConfig": {"maxUnavailable": 2},
        "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
        "labels": {"penstock.dev/pool": "gpu"}, "nodeRepairConfig": {"enabled": True},
    }  # fmt: skip
    group = eks.create_nodegroup(**wanted)["nodegroup"]
    assert {key: group[key] for key in ("amiType", "updateConfig", "nodeRepairConfig", "taints", "labels")} == {
        key: wanted[key] for key in ("amiType", "updateConfig", "nodeRepairConfig", "taints", "labels")
    }
    assert group["version"] == "1.36"
    assert "remoteAccess" not in group
    update = eks.update_nodegroup_config(
        clusterName="penstock", nodegroupName="gpu", scalingConfig={"minSize": 0, "maxSize": 6, "desiredSize": 6}
    )["update"]
    assert eks.describe_update(name="penstock", updateId=update["id"])["update"]["status"] == "Successful"
    with pytest.raises(ClientError, match="do not exist"):
        eks.create_nodegroup(**{**wanted, "nodegroupName": "no", "instanceTypes": ["g99.xlarge"]})
    eks.delete_nodegroup(clusterName="penstock", nodegroupName="gpu")


def test_a_capacity_block_needs_its_template_and_a_template_its_capacity_type(
    aws: Aws, cluster: dict[str, Any], network: Network, role: str
) -> None:
    """As the EKS user guide says of managed groups with Capacity Blocks."""
    eks, ec2 = aws.client("eks"), aws.client("ec2")
    block = {
        "InstanceType": "p5.48xlarge", "InstanceMarketOptions": {"MarketType": "capacity-block"},
        "CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": "cr-01234567"}},
    }  # fmt: skip

    def template(name: str, *without: str) -> dict[str, str]:
        data = {key: value for key, value in block.items() if key not in without}
        made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
        return {"id": made["LaunchTemplateId"], "version": "1"}

    wanted = {
        "clusterName": "penstock", "nodegroupName": "block", "subnets": network.subnets[:1], "nodeRole": role,
        "scalingConfig": {"minSize": 0, "maxSize": 2, "desiredSize": 2}, "amiType": "AL2023_x86_64_NVIDIA",
    }  # fmt: skip
    whole = template("whole")
    for given, said in (
        ({"launchTemplate": whole, "capacityType": "ON_DEMAND"}, "does not fit the launch template's market type"),
        ({"capacityType": "CAPACITY_BLOCK", "instanceTypes": ["p5.48xlarge"]}, "does not fit"),
        ({"capacityType": "CAPACITY_BLOCK", "launchTemplate": template("no-type", "InstanceType")}, "instance type"),
        (
            {
                "capacityType": "CAPACITY_BLOCK",
                "launchTemplate": template("no-reservation", "CapacityReservationSpecification"),
            },
            "names a reservation",
        ),
        (
            {"capacityType": "CAPACITY_BLOCK", "launchTemplate": whole, "instanceTypes": ["p5.48xlarge"]},
            "in the request and in the launch template",
        ),
    ):
        with pytest.raises(ClientError, match=said):
            eks.create_nodegroup(**wanted, **given)
    made = eks.create_nodegroup(**wanted, capacityType="CAPACITY_BLOCK", launchTemplate=whole)["nodegroup"]
    assert made["capacityType"] == "CAPACITY_BLOCK"
    eks.delete_nodegroup(clusterName="penstock", nodegroupName="block")
