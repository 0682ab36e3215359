"""Components as other languages use them: constructed by the package's host, from inputs in the wire's spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pulumi import ResourceOptions

from infra.rehearsal import Rehearsal

Registered = Callable[[Callable[[], object]], Rehearsal]


def constructed(token: str, inputs: dict[str, Any], name: str = "hosted") -> Callable[[], object]:
    def build() -> object:
        from components.package import Package

        return Package().construct(name, token, inputs, ResourceOptions())

    return build


def test_a_hosted_component_makes_the_same_children(registered: Registered):
    inputs = {
        "listenerArn": "listener",
        "blueTargetGroupArn": "blue",
        "greenTargetGroupArn": "green",
        "weights": {"blue": 95, "green": 5},
        "protected": False,
    }
    rehearsal = registered(constructed("penstock:index:Traffic", inputs))
    rule = rehearsal.one("aws:lb/listenerRule:ListenerRule", "hosted")
    groups = rule.inputs["actions"][0]["forward"]["targetGroups"]
    assert groups == [{"arn": "blue", "weight": 95}, {"arn": "green", "weight": 5}]
    assert rule.parent_name == "hosted"


def test_a_hosted_component_takes_nested_inputs(registered: Registered):
    pool = {
        "amiType": "BOTTLEROCKET_x86_64_NVIDIA",
        "instanceTypes": ["g6.xlarge"],
        "minNodes": 0,
        "desiredNodes": 1,
        "maxNodes": 2,
        "volumeGib": 100,
    }
    inputs = {
        "partition": "aws",
        "clusterName": "cluster",
        "zones": ["a"],
        "subnetIds": ["subnet"],
        "securityGroupIds": ["group"],
        "volumesKeyArn": "key",
        "addonVersions": {
            "vpcCni": "v1.22.4-eksbuild.3",
            "podIdentityAgent": "v1.3.10-eksbuild.3",
            "kubeProxy": "v1.36.0-eksbuild.25",
            "coredns": "v1.14.3-eksbuild.23",
            "metricsServer": "v0.8.0-eksbuild.6",
            "nodeMonitoringAgent": "v1.7.2-eksbuild.1",
        },
        "system": pool,
        "gpu": pool,
        "gpuSpot": pool,
    }
    rehearsal = registered(constructed("penstock:index:NodeGroups", inputs))
    spot = rehearsal.one("aws:eks/nodeGroup:NodeGroup", "hosted-gpu-spot-a")
    assert spot.inputs["scalingConfig"] == {"minSize": 0, "desiredSize": 1, "maxSize": 2}


def test_a_hosted_component_does_without_inputs_that_may_be_left_out(registered: Registered):
    inputs = {
        "partition": "aws",
        "region": "eu-central-1",
        "accountId": "111122223333",
        "stack": "prod",
        "zones": ["eu-central-1a"],
        "longestSeconds": 300,
        "stopErrors": 50,
        "loadBalancerDimension": "app/edge/1",
        "volumesKeyArn": "key",
    }
    rehearsal = registered(constructed("penstock:index:FaultInjection", inputs))
    drills = {each.name for each in rehearsal.of_type("aws:fis/experimentTemplate:ExperimentTemplate")}
    assert drills == {"hosted-zone-loss-a", "hosted-spot-reclaim"}


def test_hosted_copies_wait_until_the_weights_versions_are_kept(registered: Registered):
    weights = {"keyArn": "arn:key", "oldVersionDays": 30, "protected": False}
    copies = {
        "partition": "aws",
        "accountId": "111122223333",
        "region": "eu-west-1",
        "homeRegion": "eu-central-1",
        "weightsBucketArn": "arn:bucket",
        "weightsKeyArn": "arn:key",
        "oldVersionDays": 30,
        "databaseArn": "arn:database",
        "backupDays": 7,
        "protected": False,
    }

    def build() -> None:
        made: Any = constructed("penstock:index:Weights", weights)()
        bucket = made.state["versionedBucket"]
        constructed("penstock:index:Copies", copies | {"weightsBucket": bucket}, name="copied")()

    rehearsal = registered(build)
    versioning = rehearsal.one("aws:s3/bucketVersioning:BucketVersioning", "hosted")
    (replication,) = rehearsal.of_type("aws:s3/bucketReplicationConfig:BucketReplicationConfig")
    assert versioning.urn in replication.dependencies, "S3 takes it only where versions are kept"
