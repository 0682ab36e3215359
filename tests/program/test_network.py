"""The network in the whole program: endpoints follow from what pods may call; without NAT all is inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from components.endpoints import CALLED_BY_AWS, GATEWAY_SERVICES, WITHOUT_ENDPOINT, image_sources
from infra.rehearsal import Rehearsal

ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
ENDPOINT_OF = {"aps": "aps-workspaces", "bedrock": "bedrock-runtime", "cloudwatch": "monitoring"}
"""Where an endpoint has another name than the service in policies."""
Rehearsed = Callable[..., Rehearsal]


def services(rehearsal: Rehearsal) -> set[str]:
    """Names of the interface endpoints."""
    return {
        each.inputs["serviceName"].split(".", 3)[3]
        for each in rehearsal.of_type(ENDPOINT)
        if each.inputs["vpcEndpointType"] == "Interface"
    }


def called_by_pods(rehearsal: Rehearsal) -> Iterator[str]:
    """The services whose actions the pods' roles grant: the part of an action before the colon."""
    pods = {
        each.parent
        for each in rehearsal.of_type("aws:iam/role:Role")
        if "pods.eks.amazonaws.com" in each.inputs["assumeRolePolicy"]
    }
    for policy in rehearsal.of_type("aws:iam/rolePolicy:RolePolicy"):
        if policy.parent in pods:
            for statement in json.loads(policy.inputs["policy"])["Statement"]:
                actions = statement["Action"]
                yield from (it.partition(":")[0] for it in ([actions] if isinstance(actions, str) else actions))


def images(rehearsal: Rehearsal) -> list[str]:
    return [
        container["image"]
        for each in rehearsal.of_type("kubernetes:apps/v1:Deployment")
        for container in each.inputs["spec"]["template"]["spec"]["containers"]
    ]


def private(config: dict) -> None:
    config["penstock:network"]["natGateways"] = "none"
    config["penstock:network"]["interfaceEndpoints"] = "needed"


def test_every_service_that_a_pod_may_call_has_an_endpoint(rehearsed: Rehearsed):
    rehearsal = rehearsed("prod")
    called = {ENDPOINT_OF.get(service, service) for service in called_by_pods(rehearsal)}
    assert "s3" in called
    assert called - set(GATEWAY_SERVICES) - set(CALLED_BY_AWS) - set(WITHOUT_ENDPOINT) <= services(rehearsal)


def test_a_private_network_has_no_way_out(rehearsed_with: Rehearsed):
    rehearsal = rehearsed_with("prod", private)
    assert rehearsal.of_type("aws:ec2/natGateway:NatGateway") == []
    assert rehearsal.of_type("aws:ec2/eip:Eip") == []
    assert [each.name for each in rehearsal.of_type("aws:ec2/route:Route")] == ["network-public"]
    assert {"ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"} <= services(rehearsal)


def test_every_image_of_a_private_network_is_in_a_repository_that_its_endpoints_reach(rehearsed: Rehearsed):
    # Repository addresses are invented in a rehearsal; what counts is that each image stands in one of the platform's.
    repositories = {f"{each.inputs['name']}" for each in rehearsed("prod").of_type("aws:ecr/repository:Repository")}
    for image in images(rehearsed("prod")):
        (source,) = image_sources([image])
        assert source.reachable or source.registry.startswith("000000000000.dkr.ecr."), image
        assert image.partition("/")[2].partition("@")[0] in repositories


def test_all_connections_are_logged_under_the_key_for_a_set_time(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    log = rehearsal.one("aws:ec2/flowLog:FlowLog", "network-flow-logs")
    assert log.inputs["trafficType"] == "ALL"
    group = rehearsal.one("aws:cloudwatch/logGroup:LogGroup", "network-flow-logs")
    assert group.inputs["name"] == f"/penstock/{stack}/network"
    assert group.inputs["kmsKeyId"]
    assert group.inputs["retentionInDays"] >= 1
    (granted,) = [each for each in rehearsal.of_type("aws:iam/rolePolicy:RolePolicy") if "flow-logs" in each.name]
    assert group.urn in granted.dependencies
