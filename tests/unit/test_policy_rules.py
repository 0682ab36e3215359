"""Each rule of the policy pack, with resources that it takes and resources that it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from infra.policy import rules
from infra.policy.pack import policy_of, stack_of
from infra.policy.rules import RULES, Rule, Subject

INSTANCE = "aws:rds/instance:Instance"
CLUSTER = "aws:eks/cluster:Cluster"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
LISTENER_RULE = "aws:lb/listenerRule:ListenerRule"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
BUCKET_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"

Case = tuple[Rule, str, dict[str, Any], str]


def forward(*weights: int | None) -> dict[str, Any]:
    groups = [{"arn": str(at), **({} if weight is None else {"weight": weight})} for at, weight in enumerate(weights)]
    return {"actions": [{"type": "forward", "forward": {"targetGroups": groups}}]}


def policy(**statement: Any) -> dict[str, Any]:
    return {"policy": json.dumps({"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", **statement}]})}


def deployment(**container: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", **container}]}}}}


def disks(*keys: str | None) -> dict[str, Any]:
    return {"blockDeviceMappings": [{"ebs": {"kmsKeyId": key} if key else {}} for key in keys]}


LOCKED_DOWN = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
METADATA = {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1}}
BLOCKED = {"blockPublicAcls": True, "blockPublicPolicy": True, "ignorePublicAcls": True, "restrictPublicBuckets": True}

GOOD: list[tuple[Rule, str, dict[str, Any]]] = [
    (rules.data_at_rest_names_a_key, INSTANCE, {"kmsKeyId": "arn", "storageEncrypted": True}),
    (rules.data_at_rest_names_a_key, TEMPLATE, disks("arn", "arn")),
    (rules.data_at_rest_names_a_key, CLUSTER, {"encryptionConfig": {"provider": {"keyArn": "arn"}}}),
    (rules.data_at_rest_names_a_key, "aws:ec2/vpc:Vpc", {}),
    (rules.nodes_answer_metadata_v2_only, TEMPLATE, METADATA),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Resource="arn:aws:s3:::bucket/*")),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Effect="Deny", Action="*", Resource="*")),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(95, 5)),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(100, 0)),
    (rules.weights_make_a_hundred, LISTENER_RULE, {"actions": [{"type": "fixed-response"}]}),
    (rules.production_refuses_deletion, INSTANCE, {"deletionProtection": True, "skipFinalSnapshot": False}),
    (rules.databases_are_private, INSTANCE, {"publiclyAccessible": False}),
    (rules.buckets_refuse_the_public, BUCKET_BLOCK, BLOCKED),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "0.0.0.0/0", "fromPort": 443, "toPort": 443}),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "10.0.0.0/8", "fromPort": 22, "toPort": 22}),
    (rules.production_keeps_its_api_private, CLUSTER, {"vpcConfig": {"endpointPublicAccess": False}}),
    (rules.containers_are_unprivileged, DEPLOYMENT, deployment(securityContext=LOCKED_DOWN)),
    (rules.production_pins_images, DEPLOYMENT, deployment(image="repository@sha256:00")),
]

BAD: list[Case] = [
    (rules.data_at_rest_names_a_key, INSTANCE, {"storageEncrypted": True}, "kmsKeyId must name"),
    (rules.data_at_rest_names_a_key, INSTANCE, {"kmsKeyId": "arn"}, "storageEncrypted must be true"),
    (rules.data_at_rest_names_a_key, INSTANCE, {"kmsKeyId": "", "storageEncrypted": True}, "kmsKeyId must name"),
    (rules.data_at_rest_names_a_key, TEMPLATE, disks("arn", None), "blockDeviceMappings.ebs.kmsKeyId"),
    (rules.data_at_rest_names_a_key, TEMPLATE, {}, "blockDeviceMappings.ebs.kmsKeyId"),
    (rules.data_at_rest_names_a_key, ENCRYPTION, {"rules": [{"bucketKeyEnabled": True}]}, "kmsMasterKeyId"),
    (rules.nodes_answer_metadata_v2_only, TEMPLATE, {"metadataOptions": {"httpTokens": "optional"}}, "httpTokens"),
    (rules.nodes_answer_metadata_v2_only, TEMPLATE, {}, "httpPutResponseHopLimit must be 1"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Resource="*"), "Resource *"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Resource=["a", "*"]), "Resource *"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Action="s3:*", Resource="a"), "Action s3:*"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(NotResource="a"), "NotResource"),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(100, 5), "100 + 5 must sum to 100"),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(100, None), "must have a weight"),
    (rules.production_refuses_deletion, INSTANCE, {"deletionProtection": False}, "deletionProtection"),
    (rules.production_refuses_deletion, CLUSTER, {}, "deletionProtection"),
    (
        rules.production_refuses_deletion,
        INSTANCE,
        {"deletionProtection": True, "skipFinalSnapshot": True},
        "skipFinalSnapshot",
    ),
    (rules.databases_are_private, INSTANCE, {"publiclyAccessible": True}, "publiclyAccessible"),
    (rules.buckets_refuse_the_public, BUCKET_BLOCK, BLOCKED | {"blockPublicPolicy": False}, "blockPublicPolicy"),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "0.0.0.0/0", "fromPort": 22, "toPort": 22}, "ports 22 to 22"),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "0.0.0.0/0", "fromPort": 80, "toPort": 443}, "80 to 443"),
    (rules.production_keeps_its_api_private, CLUSTER, {"vpcConfig": {"endpointPublicAccess": True}}, "API server"),
    (rules.containers_are_unprivileged, DEPLOYMENT, deployment(), "allowPrivilegeEscalation"),
    (
        rules.containers_are_unprivileged,
        DEPLOYMENT,
        deployment(securityContext={"allowPrivilegeEscalation": False}),
        "capabilities.drop",
    ),
    (rules.production_pins_images, DEPLOYMENT, deployment(image="repository:v1"), "by its digest"),
]

PRODUCTION_ONLY = {
    rules.production_refuses_deletion,
    rules.production_keeps_its_api_private,
    rules.production_pins_images,
}


@pytest.mark.parametrize(("rule", "token", "props"), GOOD)
def test_a_good_resource_passes(rule: Rule, token: str, props: dict[str, Any]):
    assert list(rule(Subject(token, props, "prod"))) == []


@pytest.mark.parametrize(("rule", "token", "props", "message"), BAD)
def test_a_bad_resource_is_refused_with_what_is_allowed(rule: Rule, token: str, props: dict[str, Any], message: str):
    assert any(message in found for found in rule(Subject(token, props, "prod")))


@pytest.mark.parametrize(("rule", "token", "props", "message"), [case for case in BAD if case[0] in PRODUCTION_ONLY])
def test_rules_of_production_leave_other_stacks_alone(rule: Rule, token: str, props: dict[str, Any], message: str):
    assert list(rule(Subject(token, props, "dev"))) == []


def test_every_rule_has_a_good_and_a_bad_resource():
    assert {case[0] for case in GOOD} == {case[0] for case in BAD} == set(RULES)


def test_a_key_that_is_not_known_yet_counts_as_named():
    props = unknown_checking_proxy({"kmsKeyId": UNKNOWN_STRING_VALUE, "storageEncrypted": True})
    assert list(rules.data_at_rest_names_a_key(Subject(INSTANCE, props, "prod"))) == []


def test_every_rule_becomes_a_policy_of_its_own_name():
    names = [policy_of(rule).name for rule in RULES]
    assert "weights-make-a-hundred" in names
    assert len(set(names)) == len(RULES)


def test_the_stack_is_read_from_the_resources_urn():
    assert stack_of("urn:pulumi:prod::penstock::aws:ec2/vpc:Vpc::vpc") == "prod"
