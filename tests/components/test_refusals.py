"""What a component refuses at once, with a sentence that names the input: no settings stand before it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from infra.rehearsal import Rehearsal
from tests.unit.engine_cases import DRAIN, PROBES, scaling, shape

Registered = Callable[[Callable[[], object]], Rehearsal]
IN_A_PARTITION = (
    "AuditTrail", "Cluster", "Copies", "DataKeys", "FaultInjection", "Files", "Karpenter", "NodeGroups",
)  # fmt: skip


def component(name: str) -> Any:
    from components.package import COMPONENTS

    (found,) = [each for each in COMPONENTS if each.__name__ == name]
    return found


def test_no_component_of_a_partition_is_missing_here():
    from components.package import package_schema

    rows = package_schema()["resources"].items()
    found = {token.rpartition(":")[2] for token, row in rows if "partition" in row["inputProperties"]}
    assert found == set(IN_A_PARTITION)


@pytest.mark.parametrize("name", IN_A_PARTITION)
def test_china_is_refused_before_anything_is_made(registered: Registered, name: str):
    args = {"partition": "aws-cn", "region": "cn-north-1", "account_id": "111122223333"}
    with pytest.raises(ValueError, match="partition: 'aws-cn' is not supported; allowed: aws or aws-us-gov"):
        registered(lambda: component(name)("it", args))


def test_govcloud_is_as_it_was(registered: Registered):
    args = {"partition": "aws-us-gov", "region": "us-gov-west-1", "account_id": "111122223333", "protected": False}
    made = registered(lambda: component("DataKeys")("keys", args)).one("aws:kms/key:Key", "keys-weights")
    assert "arn:aws-us-gov:iam::111122223333:root" in made.inputs["policy"]


def role(*policies: str) -> Callable[[], object]:
    args = {"services": ["eks.amazonaws.com"], "description": "d", "managed_policies": policies}
    return lambda: component("ServiceRole")("role", args)


def cluster(administrators: Sequence[str]) -> Callable[[], object]:
    args = {
        "partition": "aws",
        "cluster_name": "c",
        "version": "1.36",
        "support": "STANDARD",
        "subnet_ids": ["subnet-a", "subnet-b"],
        "public_endpoint_cidrs": [],
        "administrators": administrators,
        "secrets_key_arn": "arn:key",
        "logs_key_arn": "arn:key",
        "log_retention_days": 30,
        "protected": False,
    }
    return lambda: component("Cluster")("cluster", args)


@pytest.mark.parametrize("build", [lambda arns: role(*arns), cluster])
def test_two_arns_that_would_name_one_resource_are_both_named(registered: Registered, build: Any):
    arns = [f"arn:aws:iam::111122223333:role/{path}/Admin" for path in ("a", "b")]
    with pytest.raises(ValueError, match=f"{arns[0]} and {arns[1]} both end in 'Admin'"):
        registered(build(arns))


def test_names_stay_the_last_parts_of_arns(registered: Registered):
    policies = registered(role("arn:aws:iam::aws:policy/a/First", "arn:aws:iam::aws:policy/Second"))
    attached = policies.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert [each.name for each in attached] == ["role-First", "role-Second"]
    entries = registered(cluster(["arn:aws:iam::111122223333:role/a/Admin"])).of_type("aws:eks/accessEntry:AccessEntry")
    assert [each.name for each in entries] == ["cluster-administrator-Admin"]


def release(**engine: Any) -> Callable[[], object]:
    args = {
        "colour": "blue",
        "namespace": "penstock",
        "zones": 2,
        "gateway_image": "gateway:1",
        "gateway_replicas": 0,
        "gateway_cpu_millicores": 500,
        "gateway_memory_mib": 512,
        "gateway_config": "{}",
        "keys_secret": "keys",
        "addresses_secret": "addresses",
        "migration": {"database_tls": "verify-full"},
        "spool_mib": 64,
        "engine_image": "engine:1",
        "engines": [shape(), shape(model="second", slug="second", **engine)],
        "target_group_arn": "arn:group",
        "drain": DRAIN,
        "probes": PROBES,
    }
    return lambda: component("Release")("blue", args)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"nodes": 2, "scaling": scaling()}, r"scaling \(second\): an engine of 2 nodes is not scaled; allowed: null"),
        (
            {"kind": "tgi"},
            r"streamed \(second\): tgi cannot do this here; allowed: a path or name that the image knows",
        ),
        ({"kind": "sglang", "aliases": ["a"]}, r"aliases \(second\): sglang cannot do this here; allowed: none"),
        ({"kind": "openai-compatible", "streamed": False}, r"arguments \(second\): an openai-compatible engine"),
        ({"kind": "vlm"}, r"kind \(second\): 'vlm' is not allowed; allowed: vllm, sglang, tgi, openai-compatible"),
    ],
)
def test_an_engine_is_not_asked_for_what_it_cannot_do(registered: Registered, engine: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=rf"engines\[1\]\.{says}"):
        registered(release(**engine))


def test_engines_that_can_do_it_are_made(registered: Registered):
    rehearsal = registered(release(kind="tgi", streamed=False, source="/models/second", scaling=scaling()))
    assert [each.name for each in rehearsal.of_type("kubernetes:keda.sh/v1alpha1:ScaledObject")] == [
        "engine-second-blue"
    ]


def traffic(weights: dict[str, int]) -> Callable[[], object]:
    arns = {"listener_arn": "l", "blue_target_group_arn": "b", "green_target_group_arn": "g"}
    return lambda: component("Traffic")("traffic", {**arns, "weights": weights, "protected": False})


def edge(weights: dict[str, int]) -> Callable[[], object]:
    args = {
        "admin_weights": weights,
        "vpc_id": "vpc",
        "subnet_ids": ["a", "b"],
        "security_group_id": "sg",
        "port": 80,
        "idle_timeout_seconds": 600,
        "deregistration_delay_seconds": 60,
        "health_period_seconds": 5,
        "protected": False,
    }
    return lambda: component("Edge")("edge", args)


@pytest.mark.parametrize(("build", "name"), [(traffic, "weights"), (edge, "adminWeights")])
@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"blue": 100}, "has blue; allowed: blue and green, both of them"),
        ({"blue": 100, "gren": 0}, "has blue, gren; allowed: blue and green"),
        ({}, "has nothing; allowed: blue and green"),
        ({"blue": 100, "green": 5}, "blue 100 and green 5 make 105; allowed: 0 to 100 each, 100 together"),
        ({"blue": 105, "green": -5}, "blue 105 and green -5 make 100; allowed: 0 to 100 each"),
    ],
)
def test_shares_of_traffic_name_both_colours_and_make_a_hundred(
    registered: Registered, build: Any, name: str, weights: dict[str, int], says: str
):
    with pytest.raises(ValueError, match=f"^{name}: {says}"):
        registered(build(weights))
    registered(build({"blue": 95, "green": 5}))


def telemetry(groups: Sequence[str], arns: Sequence[str]) -> Callable[[], object]:
    args = {
        "region": "eu-central-1",
        "cluster": "c",
        "cluster_name": "c",
        "addon_version": "v4.7.0-eksbuild.1",
        "namespace": "penstock",
        "log_groups": {kind: f"/penstock/{kind}" for kind in groups},
        "log_group_arns": {kind: f"arn:{kind}" for kind in arns},
        "log_retention_days": 30,
        "logs_key_arn": "arn:key",
    }
    return lambda: component("Telemetry")("telemetry", args)


def test_each_log_group_of_pods_comes_with_its_arn(registered: Registered):
    with pytest.raises(ValueError, match=r"^logGroupArns: lacks engine; allowed: an ARN for each kind of logGroups"):
        registered(telemetry(["gateway", "engine"], ["gateway"]))
    registered(telemetry(["gateway"], ["gateway"]))


def collector(**more: Any) -> Callable[[], object]:
    args = {
        "region": "eu-central-1",
        "cluster_name": "c",
        "namespace": "penstock",
        "image": "collector:1",
        "log_group": "/penstock/metrics",
        "log_retention_days": 30,
        "logs_key_arn": "arn:key",
        **more,
    }
    return lambda: component("Collector")("collector", args)


def test_metrics_are_written_to_one_prometheus(registered: Registered):
    url = "https://prometheus.example.org/api/v1/write"
    with pytest.raises(
        ValueError, match=r"^remoteWriteUrl: is given beside managedPrometheus; allowed: one of the two"
    ):
        registered(collector(managed_prometheus=True, remote_write_url=url))
    for one in ({"managed_prometheus": True}, {"managed_prometheus": False, "remote_write_url": url}):
        registered(collector(**one))
