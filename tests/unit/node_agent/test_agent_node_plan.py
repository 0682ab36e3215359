"""From EKS node groups to Node objects."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.kubernetes.agent.aws import Hardware
from infra.local.kubernetes.agent.node_plan import (
    allocatable,
    applied_of,
    capacity,
    index_of,
    labels_of,
    node_object,
    node_patch,
    not_ready,
    plan_nodes,
    zone_counts,
)

ZONES = {f"subnet-{letter}": f"eu-central-1{letter}" for letter in "abc"}
HARDWARE = {"m7i.large": Hardware(2, 8192, 0), "g6.xlarge": Hardware(4, 16384, 1)}


def group(name="gpu", desired=3, **changed):
    plain = {
        "nodegroupName": name,
        "clusterName": "penstock",
        "status": "ACTIVE",
        "scalingConfig": {"desiredSize": desired},
        "instanceTypes": ["g6.xlarge"],
        "subnets": list(ZONES),
        "capacityType": "ON_DEMAND",
    }
    return {**plain, **changed}


def plans(*groups):
    return plan_nodes(groups, ZONES, HARDWARE)


@given(st.integers(0, 50), st.sets(st.sampled_from("abcdef"), min_size=1))
def test_nodes_are_spread_over_zones_as_evenly_as_can_be(desired, zones):
    counts = zone_counts(desired, zones)
    assert sum(counts.values()) == desired
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_group_gives_one_node_per_zone_with_a_stable_name():
    assert [plan.name for plan in plans(group())] == ["gpu-a-1", "gpu-b-1", "gpu-c-1"]
    assert [plan.name for plan in plans(group(desired=4))] == ["gpu-a-1", "gpu-a-2", "gpu-b-1", "gpu-c-1"]


@pytest.mark.parametrize(
    "changed",
    [{"status": "DELETING"}, {"subnets": ["subnet-unknown"]}, {"instanceTypes": ["u1.mega"]}, {"desired": 0}],
)
def test_a_group_that_cannot_have_nodes_has_none(changed):
    assert plans(group(**changed)) == []


def test_a_node_carries_the_labels_that_schedulers_and_eks_use():
    (plan, *_) = plans(group("gpu-spot", capacityType="SPOT", labels={"penstock.dev/pool": "gpu"}))
    labels = labels_of(plan)
    assert labels["topology.kubernetes.io/zone"] == "eu-central-1a"
    assert labels["topology.kubernetes.io/region"] == "eu-central-1"
    assert labels["eks.amazonaws.com/capacityType"] == "SPOT"
    assert labels["karpenter.sh/capacity-type"] == "spot"
    assert labels["eks.amazonaws.com/nodegroup"] == "gpu-spot"
    assert labels["penstock.dev/pool"] == "gpu"


def test_capacity_is_the_instance_types_and_less_is_allocatable():
    assert capacity(HARDWARE["g6.xlarge"], 80) == {
        "cpu": "4",
        "memory": "16777216Ki",
        "ephemeral-storage": "80Gi",
        "pods": "58",
        "nvidia.com/gpu": "1",
    }
    assert "nvidia.com/gpu" not in capacity(HARDWARE["m7i.large"], 80)
    assert allocatable(HARDWARE["m7i.large"], 80)["cpu"] == "1930m", "EKS reserves 70m on two cores"


def test_taints_take_their_kubernetes_names():
    (plan, *_) = plans(group(taints=[{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}]))
    node = node_object(plan, "127.9.16.1")
    assert node["spec"]["taints"] == [{"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "true"}]
    assert not not_ready(node)


def test_a_nodes_index_is_read_back_from_its_address():
    (plan, *_) = plans(group())
    assert index_of(node_object(plan, "127.9.20.1")) == 4
    assert index_of({"status": {}}) is None


def registered(plan):
    node = node_object(plan, "127.9.16.1")
    node["metadata"]["resourceVersion"] = "7"
    return node


def test_an_unchanged_node_needs_no_patch():
    (plan, *_) = plans(group(labels={"a": "1"}, taints=[{"key": "k", "effect": "NO_EXECUTE"}]))
    node = registered(plan)
    node["spec"]["taints"].append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})
    assert node_patch(node, plan) is None


def test_what_leaves_the_group_leaves_the_node_and_what_others_set_stays():
    (before, *_) = plans(group(labels={"a": "1", "b": "1"}, taints=[{"key": "k", "effect": "NO_EXECUTE"}]))
    (after, *_) = plans(group(labels={"a": "2"}))
    node = registered(before)
    drill = {"key": "drill", "effect": "NoExecute"}
    node["spec"]["taints"].append(drill)
    node["metadata"]["labels"]["mine"] = "kept"
    patch = node_patch(node, after)
    assert patch is not None
    assert patch["metadata"]["labels"] == {"a": "2", "b": None}
    assert patch["spec"]["taints"] == [drill]
    assert json.loads(patch["metadata"]["annotations"].popitem()[1]) == json.loads(applied_of(after))


def test_a_node_that_others_call_dead_is_seen():
    (plan, *_) = plans(group())
    node = registered(plan)
    node["status"]["conditions"][-1]["status"] = "Unknown"
    assert not_ready(node)
