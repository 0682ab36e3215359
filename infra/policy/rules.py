"""The rules, one function each: from a resource's type, inputs and stack to what is wrong with it.

A rule sees inputs in the wire's camelCase. In a preview some values are not known yet; reading such a value raises
pulumi_policy's UnknownValueError, upon which the engine tries the rule again at the update.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pulumi_policy.proxy import UnknownValueError

PRODUCTION_STACKS = ("prod",)
ANYWHERE = "0.0.0.0/0"
PUBLIC_PORTS = (80, 443)

Props = Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """One resource, as a rule sees it."""

    type: str
    props: Props
    stack: str

    @property
    def in_production(self) -> bool:
        return self.stack in PRODUCTION_STACKS


class Rule(Protocol):
    """A function: its name is the policy's name."""

    __name__: str

    def __call__(self, subject: Subject, /) -> Iterator[str]: ...


KEYS_AT_REST: dict[str, tuple[str, ...]] = {
    "aws:cloudwatch/logGroup:LogGroup": ("kmsKeyId",),
    "aws:ec2/launchTemplate:LaunchTemplate": ("blockDeviceMappings", "ebs", "kmsKeyId"),
    "aws:ecr/repository:Repository": ("encryptionConfigurations", "kmsKey"),
    "aws:eks/cluster:Cluster": ("encryptionConfig", "provider", "keyArn"),
    "aws:elasticache/replicationGroup:ReplicationGroup": ("kmsKeyId",),
    "aws:rds/instance:Instance": ("kmsKeyId",),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "rules",
        "applyServerSideEncryptionByDefault",
        "kmsMasterKeyId",
    ),
    "aws:secretsmanager/secret:Secret": ("kmsKeyId",),
    "aws:sns/topic:Topic": ("kmsMasterKeyId",),
}
"""Types that keep data, and where each names its customer-managed key. A list on the way means all of its entries."""

ENCRYPTION_FLAGS = {
    "aws:elasticache/replicationGroup:ReplicationGroup": "atRestEncryptionEnabled",
    "aws:rds/instance:Instance": "storageEncrypted",
}
DELETION_GUARDS = {
    "aws:eks/cluster:Cluster": "deletionProtection",
    "aws:lb/loadBalancer:LoadBalancer": "enableDeletionProtection",
    "aws:rds/instance:Instance": "deletionProtection",
}


def data_at_rest_names_a_key(subject: Subject) -> Iterator[str]:
    path = KEYS_AT_REST.get(subject.type)
    if path is None:
        return
    if not _given(subject.props, path):
        yield f"{'.'.join(path)} must name a customer-managed key"
    flag = ENCRYPTION_FLAGS.get(subject.type)
    if flag and subject.props.get(flag) is not True:
        yield f"{flag} must be true"


def nodes_answer_metadata_v2_only(subject: Subject) -> Iterator[str]:
    if subject.type != "aws:ec2/launchTemplate:LaunchTemplate":
        return
    options = subject.props.get("metadataOptions") or {}
    if options.get("httpTokens") != "required":
        yield "metadataOptions.httpTokens must be required (IMDSv2)"
    if options.get("httpPutResponseHopLimit") != 1:
        yield "metadataOptions.httpPutResponseHopLimit must be 1, so that pods cannot take the node's credentials"


def roles_name_what_they_may_touch(subject: Subject) -> Iterator[str]:
    if subject.type != "aws:iam/rolePolicy:RolePolicy":
        return
    document = subject.props.get("policy") or "{}"
    statements = (json.loads(document) if isinstance(document, str) else document).get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement.get("Effect") != "Allow":
            continue
        for key in ("NotAction", "NotResource"):
            if key in statement:
                yield f"{key} in an Allow statement grants everything else"
        if "*" in _listed(statement.get("Resource")):
            yield "Resource * grants every resource of the account; name the ARNs"
        for action in _listed(statement.get("Action")):
            if action == "*" or action.endswith(":*"):
                yield f"Action {action} grants a whole service; name the actions"


def weights_make_a_hundred(subject: Subject) -> Iterator[str]:
    if subject.type != "aws:lb/listenerRule:ListenerRule":
        return
    for action in subject.props.get("actions") or []:
        groups = (action.get("forward") or {}).get("targetGroups") or []
        if not groups:
            continue
        weights = [group.get("weight") for group in groups]
        if None in weights:
            yield "each target group must have a weight; AWS takes a missing one as 1"
        elif sum(weights) != 100:
            yield f"the weights {' + '.join(map(str, map(int, weights)))} must sum to 100"


def production_refuses_deletion(subject: Subject) -> Iterator[str]:
    guard = DELETION_GUARDS.get(subject.type)
    if not subject.in_production or guard is None:
        return
    if subject.props.get(guard) is not True:
        yield f"{guard} must be true in production"
    if subject.type == "aws:rds/instance:Instance" and subject.props.get("skipFinalSnapshot") is True:
        yield "skipFinalSnapshot must be false in production"


def databases_are_private(subject: Subject) -> Iterator[str]:
    if subject.type == "aws:rds/instance:Instance" and subject.props.get("publiclyAccessible") is True:
        yield "publiclyAccessible must be false"


def buckets_refuse_the_public(subject: Subject) -> Iterator[str]:
    if subject.type != "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock":
        return
    for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        if subject.props.get(key) is not True:
            yield f"{key} must be true"


def only_the_edge_is_open(subject: Subject) -> Iterator[str]:
    if subject.type != "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
        return
    if subject.props.get("cidrIpv4") != ANYWHERE:
        return
    start, end = subject.props.get("fromPort"), subject.props.get("toPort")
    if start != end or start not in PUBLIC_PORTS:
        allowed = " and ".join(map(str, PUBLIC_PORTS))
        yield f"ports {start} to {end} must not be open to {ANYWHERE}; allowed: {allowed}, one in each rule"


def production_keeps_its_api_private(subject: Subject) -> Iterator[str]:
    if not subject.in_production or subject.type != "aws:eks/cluster:Cluster":
        return
    network = subject.props.get("vpcConfig") or {}
    if network.get("endpointPublicAccess") is True and ANYWHERE in (network.get("publicAccessCidrs") or [ANYWHERE]):
        yield "the API server must not be open to everybody in production; name publicAccessCidrs or close it"


def containers_are_unprivileged(subject: Subject) -> Iterator[str]:
    for container in _containers(subject):
        name, context = container.get("name"), container.get("securityContext") or {}
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"container {name}: securityContext.allowPrivilegeEscalation must be false"
        if "ALL" not in ((context.get("capabilities") or {}).get("drop") or []):
            yield f"container {name}: securityContext.capabilities.drop must hold ALL"


def production_pins_images(subject: Subject) -> Iterator[str]:
    if not subject.in_production:
        return
    for container in _containers(subject):
        if "@sha256:" not in container.get("image", ""):
            yield f"container {container.get('name')}: image must be named by its digest (@sha256:...) in production"


RULES: tuple[Rule, ...] = (
    data_at_rest_names_a_key,
    nodes_answer_metadata_v2_only,
    roles_name_what_they_may_touch,
    weights_make_a_hundred,
    production_refuses_deletion,
    databases_are_private,
    buckets_refuse_the_public,
    only_the_edge_is_open,
    production_keeps_its_api_private,
    containers_are_unprivileged,
    production_pins_images,
)


def _given(value: Any, path: Sequence[str]) -> bool:
    """Whether a value stands at the path; one that is not known yet does."""
    if not path:
        return value not in (None, "")
    try:
        found = value.get(path[0]) if isinstance(value, Mapping) else None
    except UnknownValueError:
        return True
    if isinstance(found, Sequence) and not isinstance(found, str):
        return bool(found) and all(_given(each, path[1:]) for each in found)
    return found is not None and _given(found, path[1:])


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _containers(subject: Subject) -> Iterator[Props]:
    if subject.type != "kubernetes:apps/v1:Deployment":
        return
    yield from subject.props["spec"]["template"]["spec"]["containers"]
