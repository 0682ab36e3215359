"""Each rule of the policy pack, with resources that it takes and resources that it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from infra.policy import rules
from infra.policy.pack import policy_of, stack_of, stack_policy_of
from infra.policy.rules import RULES, STACK_RULES, Rule, Subject

INSTANCE = "aws:rds/instance:Instance"
CLUSTER = "aws:eks/cluster:Cluster"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
LISTENER_RULE = "aws:lb/listenerRule:ListenerRule"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
BUCKET_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
DISRUPTION = "kubernetes:policy/v1:PodDisruptionBudget"
KEY = "aws:kms/key:Key"
LISTENER = "aws:lb/listener:Listener"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
PARAMETERS = "aws:rds/parameterGroup:ParameterGroup"
PROVIDER = "pulumi:providers:aws"
QUEUE, QUEUE_POLICY = "aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"
ROLE = "aws:iam/role:Role"
SECRET = "aws:secretsmanager/secret:Secret"
TRAIL = "aws:cloudtrail/trail:Trail"
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

PLAIN_HTTP = {"Bool": {"aws:SecureTransport": "false"}}
TLS_ONLY = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Condition": PLAIN_HTTP}
PROTECTED_DATABASE = {"deletionProtection": True, "skipFinalSnapshot": False}
FORCED_TLS = {"parameters": [{"name": "rds.force_ssl", "value": "1"}]}
TRAILED = {"isMultiRegionTrail": True, "enableLogFileValidation": True}
TAGS = {"project": "penstock", "stack": "prod"}
REDIRECT, ANSWER = {"defaultActions": [{"type": "redirect"}]}, {"defaultActions": [{"type": "fixed-response"}]}


def bucket_policy(*resources: str, **changes: Any) -> dict[str, Any]:
    return {"policy": json.dumps({"Statement": [{**TLS_ONLY, "Resource": list(resources), **changes}]})}


def open_to(principal: Any, **more: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage", "Resource": "*", **more}
    return {"policy": json.dumps({"Statement": statement})}


def tagged(**tags: dict[str, str]) -> dict[str, Any]:
    return {"tagSpecifications": [{"resourceType": kind, "tags": each} for kind, each in tags.items()]}


def serving(grace: int, pre_stop: int, *args: str) -> dict[str, Any]:
    container = {"name": "c", "args": list(args), "readinessProbe": {"periodSeconds": 5}}
    if pre_stop:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": pre_stop}}}
    spec = {"terminationGracePeriodSeconds": grace, "containers": [container]}
    labels = {"penstock.dev/colour": "blue", "app.kubernetes.io/name": "gateway"}
    return {"spec": {"template": {"metadata": {"labels": labels}, "spec": spec}}}


GOOD: list[tuple[Rule, str, dict[str, Any]]] = [
    (rules.data_at_rest_names_a_key, INSTANCE, {"kmsKeyId": "arn", "storageEncrypted": True}),
    (rules.data_at_rest_names_a_key, TEMPLATE, disks("arn", "arn")),
    (rules.data_at_rest_names_a_key, CLUSTER, {"encryptionConfig": {"provider": {"keyArn": "arn"}}}),
    (rules.data_at_rest_names_a_key, QUEUE, {"kmsMasterKeyId": "arn"}),
    (rules.data_at_rest_names_a_key, TRAIL, {"kmsKeyId": "arn"}),
    (rules.data_at_rest_names_a_key, "aws:ec2/vpc:Vpc", {}),
    (rules.keys_rotate, KEY, {"enableKeyRotation": True, "deletionWindowInDays": 30}),
    (rules.data_in_transit_is_encrypted, PARAMETERS, FORCED_TLS),
    (rules.data_in_transit_is_encrypted, CACHE, {"transitEncryptionEnabled": True}),
    (rules.data_in_transit_is_encrypted, LISTENER, {"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-TLS13-1-2"}),
    (rules.data_in_transit_is_encrypted, LISTENER, {"protocol": "HTTP", **REDIRECT}),
    (rules.data_in_transit_is_encrypted, BUCKET_POLICY, bucket_policy("arn:aws:s3:::b", "arn:aws:s3:::b/*")),
    (rules.production_refuses_deletion, INSTANCE, PROTECTED_DATABASE),
    (rules.production_refuses_deletion, SECRET, {"recoveryWindowInDays": 30}),
    (rules.databases_are_backed_up, INSTANCE, {"backupRetentionPeriod": 30, "copyTagsToSnapshot": True}),
    (rules.logs_are_kept_for_a_set_time, LOG_GROUP, {"retentionInDays": 365}),
    (rules.trails_cover_every_region, TRAIL, TRAILED),
    (rules.everything_is_tagged, PROVIDER, {"defaultTags": json.dumps({"tags": TAGS})}),
    (rules.everything_is_tagged, TEMPLATE, tagged(instance=TAGS, volume=TAGS)),
    (rules.buckets_refuse_the_public, BUCKET_BLOCK, BLOCKED),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Resource="arn:aws:s3:::bucket/*")),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Action="ec2:DescribeInstances", Resource="*")),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Effect="Deny", Action="*", Resource="*")),
    (rules.policies_of_resources_name_who_may, QUEUE_POLICY, open_to({"Service": "sns.amazonaws.com"})),
    (rules.policies_of_resources_name_who_may, QUEUE_POLICY, open_to("*", Condition=PLAIN_HTTP)),
    (rules.databases_are_private, INSTANCE, {"publiclyAccessible": False}),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "0.0.0.0/0", "fromPort": 443, "toPort": 443}),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "10.0.0.0/8", "fromPort": 22, "toPort": 22}),
    (rules.the_default_group_is_closed, DEFAULT_GROUP, {"tags": {"a": "b"}}),
    (
        rules.production_keeps_its_api_private,
        CLUSTER,
        {"vpcConfig": {"endpointPublicAccess": False, "endpointPrivateAccess": True}},
    ),
    (rules.nodes_answer_metadata_v2_only, TEMPLATE, METADATA),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(95, 5)),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(100, 0)),
    (rules.weights_make_a_hundred, LISTENER_RULE, {"actions": [{"type": "fixed-response"}]}),
    (rules.containers_are_unprivileged, DEPLOYMENT, deployment(securityContext=LOCKED_DOWN)),
    (rules.production_pins_images, DEPLOYMENT, deployment(image="repository@sha256:00")),
    (rules.pods_drain_before_they_are_killed, DEPLOYMENT, serving(70, 15, "serve", "--shutdown-timeout", "45")),
    (rules.pods_drain_before_they_are_killed, DEPLOYMENT, deployment(image="a job that serves nobody")),
    (rules.disruption_budgets_let_nodes_go, DISRUPTION, {"spec": {"maxUnavailable": 1}}),
]

BAD: list[Case] = [
    (rules.data_at_rest_names_a_key, INSTANCE, {"storageEncrypted": True}, "kmsKeyId must name"),
    (rules.data_at_rest_names_a_key, INSTANCE, {"kmsKeyId": "arn"}, "storageEncrypted must be true"),
    (rules.data_at_rest_names_a_key, INSTANCE, {"kmsKeyId": "", "storageEncrypted": True}, "kmsKeyId must name"),
    (rules.data_at_rest_names_a_key, TEMPLATE, disks("arn", None), "blockDeviceMappings.ebs.kmsKeyId"),
    (rules.data_at_rest_names_a_key, TEMPLATE, {}, "blockDeviceMappings.ebs.kmsKeyId"),
    (rules.data_at_rest_names_a_key, ENCRYPTION, {"rules": [{"bucketKeyEnabled": True}]}, "kmsMasterKeyId"),
    (rules.data_at_rest_names_a_key, QUEUE, {"sqsManagedSseEnabled": True}, "kmsMasterKeyId must name"),
    (rules.data_at_rest_names_a_key, TRAIL, {}, "kmsKeyId must name"),
    (rules.data_at_rest_names_a_key, LOG_GROUP, {}, "kmsKeyId must name"),
    (rules.keys_rotate, KEY, {}, "enableKeyRotation"),
    (rules.keys_rotate, KEY, {"enableKeyRotation": True, "deletionWindowInDays": 7}, "deletionWindowInDays"),
    (rules.data_in_transit_is_encrypted, PARAMETERS, {"parameters": []}, "rds.force_ssl"),
    (rules.data_in_transit_is_encrypted, CACHE, {"transitEncryptionEnabled": False}, "transitEncryptionEnabled"),
    (rules.data_in_transit_is_encrypted, LISTENER, {"protocol": "HTTP", **ANSWER}, "protocol must be HTTPS"),
    (
        rules.data_in_transit_is_encrypted,
        LISTENER,
        {"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-2016-08"},
        "TLS",
    ),
    (rules.data_in_transit_is_encrypted, BUCKET_POLICY, bucket_policy("arn:aws:s3:::b"), "for arn:aws:s3:::b/object"),
    (rules.data_in_transit_is_encrypted, BUCKET_POLICY, bucket_policy("arn:aws:s3:::b/*"), "for arn:aws:s3:::b"),
    (
        rules.data_in_transit_is_encrypted,
        BUCKET_POLICY,
        bucket_policy("arn:aws:s3:::b", "arn:aws:s3:::b/*", Action="s3:PutObject"),
        "over plain HTTP",
    ),
    (rules.production_refuses_deletion, INSTANCE, {"deletionProtection": False}, "deletionProtection"),
    (rules.production_refuses_deletion, CLUSTER, {}, "deletionProtection"),
    (
        rules.production_refuses_deletion,
        INSTANCE,
        {"deletionProtection": True, "skipFinalSnapshot": True},
        "skipFinalSnapshot",
    ),
    (rules.production_refuses_deletion, "aws:s3/bucket:Bucket", {"forceDestroy": True}, "forceDestroy"),
    (rules.production_refuses_deletion, SECRET, {"recoveryWindowInDays": 0}, "recoveryWindowInDays"),
    (rules.databases_are_backed_up, INSTANCE, {"backupRetentionPeriod": 1}, "7 days or more"),
    (rules.databases_are_backed_up, INSTANCE, {"backupRetentionPeriod": 30}, "copyTagsToSnapshot"),
    (rules.logs_are_kept_for_a_set_time, LOG_GROUP, {}, "retentionInDays"),
    (rules.logs_are_kept_for_a_set_time, LOG_GROUP, {"retentionInDays": 3}, "30 or more"),
    (rules.trails_cover_every_region, TRAIL, {"enableLogFileValidation": True}, "isMultiRegionTrail"),
    (rules.trails_cover_every_region, TRAIL, {**TRAILED, "enableLogging": False}, "enableLogging"),
    (rules.everything_is_tagged, PROVIDER, {"defaultTags": json.dumps({"tags": {"project": "a"}})}, "must hold stack"),
    (rules.everything_is_tagged, PROVIDER, {}, "project and stack"),
    (rules.everything_is_tagged, TEMPLATE, tagged(instance=TAGS), "each volume"),
    (rules.buckets_refuse_the_public, BUCKET_BLOCK, BLOCKED | {"blockPublicPolicy": False}, "blockPublicPolicy"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Resource="*"), "Resource *"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Resource=["a", "*"]), "Resource *"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(Action="s3:*", Resource="a"), "Action s3:*"),
    (rules.roles_name_what_they_may_touch, ROLE_POLICY, policy(NotResource="a"), "NotResource"),
    (rules.roles_name_what_they_may_touch, ROLE, {"inlinePolicies": [policy(Resource="*")]}, "Resource *"),
    (rules.policies_of_resources_name_who_may, QUEUE_POLICY, open_to("*"), "to everybody"),
    (rules.policies_of_resources_name_who_may, QUEUE_POLICY, open_to({"AWS": ["*"]}), "to everybody"),
    (rules.databases_are_private, INSTANCE, {"publiclyAccessible": True}, "publiclyAccessible"),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "0.0.0.0/0", "fromPort": 22, "toPort": 22}, "ports 22 to 22"),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv6": "::/0", "fromPort": 22, "toPort": 22}, "ports 22 to 22"),
    (rules.only_the_edge_is_open, INGRESS, {"cidrIpv4": "0.0.0.0/0", "fromPort": 80, "toPort": 443}, "80 to 443"),
    (
        rules.only_the_edge_is_open,
        "aws:ec2/securityGroup:SecurityGroup",
        {"ingress": [{"cidrBlocks": ["0.0.0.0/0"], "fromPort": 0, "toPort": 0}]},
        "ports 0 to 0",
    ),
    (rules.the_default_group_is_closed, DEFAULT_GROUP, {"egress": [{"protocol": "-1"}]}, "egress must be empty"),
    (rules.production_keeps_its_api_private, CLUSTER, {"vpcConfig": {"endpointPublicAccess": True}}, "must be false"),
    (rules.production_keeps_its_api_private, CLUSTER, {"vpcConfig": {}}, "must be false"),
    (rules.nodes_answer_metadata_v2_only, TEMPLATE, {"metadataOptions": {"httpTokens": "optional"}}, "httpTokens"),
    (rules.nodes_answer_metadata_v2_only, TEMPLATE, {}, "httpPutResponseHopLimit must be 1"),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(100, 5), "100 + 5 must sum to 100"),
    (rules.weights_make_a_hundred, LISTENER_RULE, forward(100, None), "must have a weight"),
    (rules.containers_are_unprivileged, DEPLOYMENT, deployment(), "allowPrivilegeEscalation"),
    (
        rules.containers_are_unprivileged,
        DEPLOYMENT,
        deployment(securityContext={"allowPrivilegeEscalation": False}),
        "capabilities.drop",
    ),
    (rules.production_pins_images, DEPLOYMENT, deployment(image="repository:v1"), "by its digest"),
    (
        rules.production_pins_images,
        "kubernetes:batch/v1:Job",
        {"spec": {"template": {"spec": {"initContainers": [{"name": "c", "image": "a:1"}]}}}},
        "by its digest",
    ),
    (rules.pods_drain_before_they_are_killed, DEPLOYMENT, serving(70, 0), "preStop.sleep.seconds"),
    (rules.pods_drain_before_they_are_killed, DEPLOYMENT, serving(60, 15, "--shutdown-timeout", "45"), "more than"),
    (rules.pods_drain_before_they_are_killed, DEPLOYMENT, serving(70, 10), "must be 15 or more"),
    (rules.disruption_budgets_let_nodes_go, DISRUPTION, {"spec": {"maxUnavailable": 0}}, "never be drained"),
]

PRODUCTION_ONLY = {
    rules.production_refuses_deletion,
    rules.production_keeps_its_api_private,
    rules.production_pins_images,
}


def production(token: str, props: dict[str, Any]) -> Subject:
    return Subject(token, props, "prod", protected=True)


@pytest.mark.parametrize(("rule", "token", "props"), GOOD)
def test_a_good_resource_passes(rule: Rule, token: str, props: dict[str, Any]):
    assert list(rule(production(token, props))) == []


@pytest.mark.parametrize(("rule", "token", "props", "message"), BAD)
def test_a_bad_resource_is_refused_with_what_is_allowed(rule: Rule, token: str, props: dict[str, Any], message: str):
    assert any(message in found for found in rule(production(token, props)))


@pytest.mark.parametrize(("rule", "token", "props", "message"), [case for case in BAD if case[0] in PRODUCTION_ONLY])
def test_rules_of_production_leave_other_stacks_alone(rule: Rule, token: str, props: dict[str, Any], message: str):
    assert list(rule(Subject(token, props, "dev"))) == []


def test_every_rule_has_a_good_and_a_bad_resource():
    assert {case[0] for case in GOOD} == {case[0] for case in BAD} == set(RULES)


def test_a_key_that_is_not_known_yet_counts_as_named():
    props = unknown_checking_proxy({"kmsKeyId": UNKNOWN_STRING_VALUE, "storageEncrypted": True})
    assert list(rules.data_at_rest_names_a_key(Subject(INSTANCE, props, "prod"))) == []


def test_data_that_pulumi_may_delete_is_refused_in_production_alone():
    bucket = ("aws:s3/bucket:Bucket", {"forceDestroy": False})
    found = rules.production_refuses_deletion(Subject(*bucket, "prod"))
    assert list(found) == ["must be protected (protect=True) in production"]
    assert list(rules.production_refuses_deletion(Subject(*bucket, "dev"))) == []


def test_a_bucket_of_access_logs_needs_no_key_of_its_own():
    props = {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]}
    assert list(rules.data_at_rest_names_a_key(Subject(ENCRYPTION, props, "prod", "edge-access-logs"))) == []
    assert list(rules.data_at_rest_names_a_key(Subject(ENCRYPTION, props, "prod", "weights")))


def test_every_rule_becomes_a_policy_of_its_own_name():
    names = [policy_of(rule).name for rule in RULES] + [stack_policy_of(rule).name for rule in STACK_RULES]
    assert "weights-make-a-hundred" in names
    assert len(set(names)) == len(RULES) + len(STACK_RULES)


def test_the_stack_is_read_from_the_resources_urn():
    assert stack_of("urn:pulumi:prod::penstock::aws:ec2/vpc:Vpc::vpc") == "prod"
