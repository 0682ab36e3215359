"""Life cycles of the cluster: roles, EKS and who may enter it."""

from __future__ import annotations

from tests.unit.aws_provider import world as worlds
from tests.unit.aws_provider.cases import Case, policy

ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
MANAGED = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"

CLUSTER_CASES = (
    Case(
        "aws:iam/role:Role",
        lambda w: {
            "assumeRolePolicy": worlds.TRUST,
            "description": "nodes",
            "managedPolicyArns": [MANAGED],
            "inlinePolicies": [{"name": "one", "policy": policy("s3:GetObject")}],
        },
        lambda w: {"description": "node role", "maxSessionDuration": 7200, "managedPolicyArns": []},
    ),
    Case(
        "aws:iam/rolePolicy:RolePolicy",
        lambda w: {"role": w.role.id, "policy": policy("s3:GetObject")},
        lambda w: {"policy": policy("s3:GetObject", "s3:ListBucket")},
    ),
    Case(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        lambda w: {"role": w.role.id, "policyArn": MANAGED},
    ),
    Case(
        "aws:eks/cluster:Cluster",
        lambda w: {
            "roleArn": w.role["arn"],
            "version": "1.33",
            "vpcConfig": {"subnetIds": w.subnets, "endpointPrivateAccess": True, "publicAccessCidrs": ["192.0.2.0/24"]},
            "accessConfig": {
                "authenticationMode": "API",
                "bootstrapClusterCreatorAdminPermissions": False,
            },
            "enabledClusterLogTypes": ["audit", "api"],
            "encryptionConfig": {"provider": {"keyArn": w.key["arn"]}, "resources": ["secrets"]},
            "upgradePolicy": {"supportType": "STANDARD"},
            "zonalShiftConfig": {"enabled": True},
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.21.0.0/16"},
            "bootstrapSelfManagedAddons": False,
            "deletionProtection": False,
            "tags": {"a": "b"},
        },
        lambda w: {
            "version": "1.34",
            "enabledClusterLogTypes": ["audit", "api", "authenticator"],
            "vpcConfig": {"subnetIds": w.subnets, "endpointPrivateAccess": True, "publicAccessCidrs": ["10.0.0.0/8"]},
            "upgradePolicy": {"supportType": "EXTENDED"},
            "tags": {"a": "c"},
        },
    ),
    Case(
        "aws:eks/nodeGroup:NodeGroup",
        lambda w: {
            "clusterName": w.cluster.id,
            "nodeRoleArn": w.role["arn"],
            "subnetIds": w.subnets,
            "scalingConfig": {"desiredSize": 3, "minSize": 3, "maxSize": 6},
            "amiType": "AL2023_x86_64_NVIDIA",
            "capacityType": "SPOT",
            "instanceTypes": ["g6.xlarge", "g5.xlarge"],
            "labels": {"penstock.dev/pool": "gpu-spot"},
            "taints": [{"key": "nvidia.com/gpu", "effect": "NO_SCHEDULE"}],
            "updateConfig": {"maxUnavailable": 1},
            "nodeRepairConfig": {"enabled": True},
        },
        lambda w: {
            "scalingConfig": {"desiredSize": 4, "minSize": 3, "maxSize": 6},
            "labels": {"penstock.dev/pool": "gpu", "more": "yes"},
            "taints": [{"key": "nvidia.com/gpu", "value": "yes", "effect": "NO_EXECUTE"}],
            "tags": {"a": "b"},
        },
    ),
    Case(
        "aws:eks/addon:Addon",
        lambda w: {
            "clusterName": w.cluster.id,
            "addonName": "vpc-cni",
            "configurationValues": '{"enableNetworkPolicy": "true"}',
            "resolveConflictsOnCreate": "OVERWRITE",
            "resolveConflictsOnUpdate": "PRESERVE",
        },
        lambda w: {"configurationValues": '{"enableNetworkPolicy": "false"}'},
    ),
    Case(
        "aws:eks/accessEntry:AccessEntry",
        lambda w: {"clusterName": w.cluster.id, "principalArn": w.role["arn"], "kubernetesGroups": ["readers"]},
        lambda w: {"kubernetesGroups": ["readers", "writers"], "tags": {"a": "b"}},
    ),
    Case(
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        lambda w: {
            "clusterName": w.cluster.id,
            "principalArn": w.access_entry["principalArn"],
            "policyArn": ADMIN,
            "accessScope": {"type": "cluster"},
        },
    ),
    Case(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        lambda w: {
            "clusterName": w.cluster.id,
            "namespace": "penstock",
            "serviceAccount": "engine",
            "roleArn": w.role["arn"],
        },
        lambda w: {"roleArn": w.make("aws:iam/role:Role", "engine", assumeRolePolicy=worlds.TRUST)["arn"]},
    ),
)
