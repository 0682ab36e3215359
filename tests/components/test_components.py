"""Each component by itself: its identity, its children, its defaults."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pulumi
import pytest

from infra.rehearsal import Rehearsal

GOLDEN = Path(__file__).resolve().parent / "golden"

TOKENS = {
    "AccessLogs": "penstock:index:AccessLogs",
    "AuditTrail": "penstock:index:AuditTrail",
    "Cache": "penstock:index:Cache",
    "Certificate": "penstock:index:Certificate",
    "Cluster": "penstock:index:Cluster",
    "Collector": "penstock:index:Collector",
    "CostAnomalies": "penstock:index:CostAnomalies",
    "DataKeys": "penstock:index:DataKeys",
    "Copies": "penstock:index:Copies",
    "Database": "penstock:index:Database",
    "DevicePlugin": "penstock:index:DevicePlugin",
    "Edge": "penstock:index:Edge",
    "Events": "penstock:index:Events",
    "FaultInjection": "penstock:index:FaultInjection",
    "Files": "penstock:index:Files",
    "Firewall": "penstock:index:Firewall",
    "Ground": "penstock:index:Ground",
    "Guard": "penstock:index:Guard",
    "Isolation": "penstock:index:Isolation",
    "JobWorkers": "penstock:index:JobWorkers",
    "Karpenter": "penstock:index:Karpenter",
    "Keda": "penstock:index:Keda",
    "LoadBalancerController": "penstock:index:LoadBalancerController",
    "MonthlyBudget": "penstock:index:MonthlyBudget",
    "Network": "penstock:index:Network",
    "NodeGroups": "penstock:index:NodeGroups",
    "Registry": "penstock:index:Registry",
    "Release": "penstock:index:Release",
    "SecurityGroups": "penstock:index:SecurityGroups",
    "ServiceRole": "penstock:index:ServiceRole",
    "Telemetry": "penstock:index:Telemetry",
    "Traffic": "penstock:index:Traffic",
    "Watch": "penstock:index:Watch",
    "Weights": "penstock:index:Weights",
}
"""A token is public API: to change one, give the component an alias."""

Registered = Callable[[Callable[[], object]], Rehearsal]


def network(zones: Sequence[str] = ("a", "b", "c"), nat: str = "perZone", endpoints: Sequence[str] = ()) -> object:
    from components.network import Network

    return Network(
        "network",
        {
            "region": "eu-central-1",
            "cidr": "10.0.0.0/16",
            "zones": zones,
            "nat_gateways": nat,
            "interface_endpoints": endpoints,
            "flow_log_group": "/penstock/test/network",
            "flow_log_days": 30,
            "logs_key_arn": "arn:key",
        },
    )


def test_tokens_are_pinned_and_none_is_missing():
    from components.package import COMPONENTS

    assert sorted(component.__name__ for component in COMPONENTS) == sorted(TOKENS)


def test_the_package_offers_each_component_under_its_pinned_token():
    from components.package import package_schema

    assert set(package_schema()["resources"]) == set(TOKENS.values())


def test_the_packages_schema_is_as_committed():
    from components.package import package_schema

    committed = (GOLDEN / "schema.json").read_text()
    fresh = json.dumps(package_schema(), indent=2, sort_keys=True) + "\n"
    assert fresh == committed, "the component package changed: `make golden`, and review the diff"


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_every_component_is_described_for_users_of_other_languages(name: str):
    from components.package import package_schema

    assert package_schema()["resources"][TOKENS[name]]["description"]


def test_a_component_says_which_it_is_by_its_class_name(registered: Registered):
    assert [each.name for each in registered(network).of_type("penstock:index:Network")] == ["network"]


def test_children_belong_to_their_component_even_when_the_caller_names_a_parent(registered: Registered):
    from components.edge import Traffic

    def build() -> None:
        above = pulumi.ComponentResource("test:index:Above", "above")
        Traffic(
            "traffic",
            {
                "listener_arn": "l",
                "blue_target_group_arn": "b",
                "green_target_group_arn": "g",
                "weights": {"blue": 100, "green": 0},
                "protected": False,
            },
            pulumi.ResourceOptions(parent=above),
        )

    rehearsal = registered(build)
    assert rehearsal.one("aws:lb/listenerRule:ListenerRule", "traffic").parent_name == "traffic"
    assert rehearsal.one("penstock:index:Traffic", "traffic").parent_name == "above"


@pytest.mark.parametrize(("nat", "gateways"), [("perZone", ["a", "b", "c"]), ("one", ["a"])])
def test_nat_stands_in_each_zone_or_in_the_first(registered: Registered, nat: str, gateways: list[str]):
    rehearsal = registered(lambda: network(nat=nat))
    assert [each.name for each in rehearsal.of_type("aws:ec2/natGateway:NatGateway")] == [
        f"network-nat-{zone}" for zone in gateways
    ]
    routes = {
        each.name: each.inputs["natGatewayId"]
        for each in rehearsal.of_type("aws:ec2/route:Route")
        if "natGatewayId" in each.inputs
    }
    assert routes == {
        f"network-private-{zone}": f"network-nat-{zone if nat == 'perZone' else 'a'}-id" for zone in ("a", "b", "c")
    }


def test_intra_subnets_have_no_way_out(registered: Registered):
    routes = {each.name for each in registered(network).of_type("aws:ec2/route:Route")}
    assert not any("intra" in name for name in routes)


def test_the_default_security_group_opens_nothing(registered: Registered):
    group = registered(network).one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "network-default")
    assert (group.inputs["ingress"], group.inputs["egress"]) == ([], [])


def test_no_subnet_gives_out_public_addresses(registered: Registered):
    subnets = registered(network).of_type("aws:ec2/subnet:Subnet")
    assert len(subnets) == 9
    assert all(each.inputs["mapPublicIpOnLaunch"] is False for each in subnets)


def test_interface_endpoints_bring_their_security_group(registered: Registered):
    groups = "aws:ec2/securityGroup:SecurityGroup"
    assert registered(network).of_type(groups) == []
    rehearsal = registered(lambda: network(endpoints=["sts", "kms"]))
    assert [each.name for each in rehearsal.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")] == [
        "network-kms",
        "network-s3",
        "network-sts",
    ]
    assert len(rehearsal.of_type(groups)) == 1


def test_one_dry_zone_cannot_fail_the_spot_nodes_of_another(registered: Registered):
    from components.nodes import NodeGroups, NodeGroupShape

    shape: NodeGroupShape = {
        "ami_type": "BOTTLEROCKET_x86_64_NVIDIA",
        "instance_types": ["g6.xlarge"],
        "min_nodes": 0,
        "desired_nodes": 1,
        "max_nodes": 2,
        "volume_gib": 100,
    }

    def build() -> None:
        NodeGroups(
            "nodes",
            {
                "partition": "aws",
                "cluster_name": "c",
                "zones": ["a", "b"],
                "subnet_ids": ["subnet-a", "subnet-b"],
                "security_group_ids": ["sg"],
                "volumes_key_arn": "arn:key",
                "addon_versions": {
                    "vpc_cni": "v1.22.4-eksbuild.3",
                    "pod_identity_agent": "v1.3.10-eksbuild.3",
                    "kube_proxy": "v1.36.0-eksbuild.25",
                    "coredns": "v1.14.3-eksbuild.23",
                    "metrics_server": "v0.8.0-eksbuild.6",
                    "node_monitoring_agent": "v1.7.2-eksbuild.1",
                },
                "system": shape | {"ami_type": "BOTTLEROCKET_x86_64", "instance_types": ["m7i.large"]},
                "gpu": shape,
                "gpu_spot": shape,
            },
        )

    rehearsal = registered(build)
    groups = {each.name: each for each in rehearsal.of_type("aws:eks/nodeGroup:NodeGroup")}
    assert {name: each.inputs["subnetIds"] for name, each in groups.items()} == {
        "nodes-system": ["subnet-a", "subnet-b"],
        "nodes-gpu": ["subnet-a", "subnet-b"],
        "nodes-gpu-spot-a": ["subnet-a"],
        "nodes-gpu-spot-b": ["subnet-b"],
    }
    assert {name for name, each in groups.items() if each.inputs["capacityType"] == "SPOT"} == {
        "nodes-gpu-spot-a",
        "nodes-gpu-spot-b",
    }
    assert {name for name, each in groups.items() if each.inputs["taints"]} == {
        "nodes-gpu",
        "nodes-gpu-spot-a",
        "nodes-gpu-spot-b",
    }
    addons = {each.name: each for each in rehearsal.of_type("aws:eks/addon:Addon")}
    assert groups["nodes-system"].urn in addons["nodes-coredns"].dependencies
    assert addons["nodes-vpc-cni"].urn in groups["nodes-system"].dependencies
    assert addons["nodes-vpc-cni"].inputs["configurationValues"] == '{"enableNetworkPolicy":"true"}'
    assert {name: each.inputs["addonVersion"] for name, each in addons.items()} == {
        "nodes-vpc-cni": "v1.22.4-eksbuild.3",
        "nodes-eks-pod-identity-agent": "v1.3.10-eksbuild.3",
        "nodes-kube-proxy": "v1.36.0-eksbuild.25",
        "nodes-coredns": "v1.14.3-eksbuild.23",
        "nodes-metrics-server": "v0.8.0-eksbuild.6",
        "nodes-eks-node-monitoring-agent": "v1.7.2-eksbuild.1",
    }


@pytest.mark.parametrize("protected", [True, False])
def test_protected_data_survives_a_destroy(registered: Registered, protected: bool):
    from components.stores import Weights

    rehearsal = registered(
        lambda: Weights("weights", {"key_arn": "arn:key", "old_version_days": 30, "protected": protected})
    )
    bucket = rehearsal.one("aws:s3/bucket:Bucket", "weights")
    assert (bucket.protect, bucket.retain_on_delete, bucket.inputs["forceDestroy"]) == (
        protected,
        protected,
        not protected,
    )


def test_a_cache_with_a_replica_fails_over(registered: Registered):
    from components.databases import Cache

    def cache(replicas: int) -> dict:
        rehearsal = registered(
            lambda: Cache(
                "cache",
                {
                    "node_type": "cache.t4g.small",
                    "engine_version": "8.0",
                    "replicas": replicas,
                    "tls": True,
                    "auth": False,
                    "subnet_ids": ["s"],
                    "security_group_id": "sg",
                    "key_arn": "arn:key",
                    "credentials_key_arn": "arn:key",
                    "protected": False,
                },
            )
        )
        return rehearsal.one("aws:elasticache/replicationGroup:ReplicationGroup", "cache").inputs

    assert [cache(0)[key] for key in ("numCacheClusters", "automaticFailoverEnabled", "multiAzEnabled")] == [
        1,
        False,
        False,
    ]
    assert [cache(1)[key] for key in ("numCacheClusters", "automaticFailoverEnabled", "multiAzEnabled")] == [
        2,
        True,
        True,
    ]
