"""IAM policies for whoever deploys a stack, and for whoever previews it, generated from the program's own resources."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from infra.policy.needs import LINKED
from infra.policy.needs_services import NEEDS

if TYPE_CHECKING:
    from infra.rehearsal import Registration

MANAGED_POLICY_CHARACTERS = 6144
"""IAM's limit for a managed policy, blanks not counted (IAM user guide, "IAM and AWS STS quotas")."""
POLICIES_OF_A_ROLE = 10
"""Managed policies that a role takes without a raised quota (same page)."""
INVENTED_END = re.compile(r"-0{7,8}$")
"""How a rehearsal ends the names that Pulumi would end at random."""

WITHOUT_RESOURCES = (
    "ec2:Describe*", "elasticloadbalancing:Describe*", "kms:CreateKey", "kms:ListAliases", "logs:DescribeLogGroups",
    "logs:*LogDelivery", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "cloudwatch:DescribeAlarms",
    "ce:CreateAnomaly*", "ce:GetAnomaly*", "acm:RequestCertificate",
)  # fmt: skip
"""AWS takes no resource for these, or lists before it knows one."""
OWNED = ("ec2:Delete*", "ec2:ReleaseAddress", "kms:ScheduleKeyDeletion", "kms:DisableKey")
"""Names of these are made by AWS. They are limited to what carries the stack's tags; not so the calls that come right
after a creation, for KMS may take minutes to see new tags (KMS developer guide, "ABAC")."""
BOUNDED = ("iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary")
SPECIAL = {"iam:AttachRolePolicy", "iam:CreateServiceLinkedRole", "ec2:RunInstances", "kms:CreateGrant"}
"""Granted with conditions of their own."""
SECRET_VALUES = "secretsmanager:GetSecretValue"  # noqa: S105 - an action
ROLE = "aws:iam/role:Role"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
Statement = dict[str, Any]
Kind = Literal["deployer", "preview"]


class PolicyError(ValueError):
    """No policies can be made. The message says why."""


@dataclass(frozen=True)
class Place:
    """Where the stack lives."""

    partition: str
    region: str
    account: str
    stack: str


@dataclass(frozen=True)
class Target:
    """One resource of the program: its actions and the ARNs that they are limited to."""

    reads: frozenset[str]
    writes: frozenset[str]
    arns: frozenset[str]


def policies(
    kind: Kind, resources: Sequence[Registration], place: Place, boundary: str | None = None
) -> list[dict[str, Any]]:
    """Policy documents that fit IAM's limits. `boundary`: roles may be made only with this permissions boundary.

    Raises PolicyError for a resource type without a row in NEEDS, and where more than ten documents came out.
    """
    found = list(statements(kind, resources, place, boundary))
    documents: list[list[Statement]] = [[]]
    for statement in (part for each in found for part in _parts(each)):
        if _size([*documents[-1], statement]) > MANAGED_POLICY_CHARACTERS:
            documents.append([])
        documents[-1].append(statement)
    if len(documents) > POLICIES_OF_A_ROLE:
        raise PolicyError(f"{len(documents)} policies are needed; IAM lets a role have {POLICIES_OF_A_ROLE}")
    return [{"Version": "2012-10-17", "Statement": each} for each in documents]


def statements(
    kind: Kind, resources: Sequence[Registration], place: Place, boundary: str | None = None
) -> Iterator[Statement]:
    own = [each for each in resources if each.custom and each.type.startswith("aws:")]
    if missing := sorted({each.type for each in own} - NEEDS.keys()):
        raise PolicyError(f"infra/policy/needs.py has no row for {', '.join(missing)}")
    named = {each.urn: each for each in own}
    roles = sorted({arn for each in own if each.type == ROLE for arn in arns_of(each, named, place)})
    granted: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for each in own:
        needs = NEEDS[each.type]
        arns = arns_of(each, named, place)
        services = {arn.split(":")[2] for arn in arns}
        actions = needs.reads() - {SECRET_VALUES} if kind == "preview" else needs.reads() | needs.writes()
        for action in actions - SPECIAL:
            granted[_scope(action, arns, services, roles, replace(place, region=region_of(each, place)))].add(action)
    yield from _merged(granted, place, boundary)
    if kind == "deployer":
        yield from _passed(own, named, place)
        yield from _special(own, roles, place, boundary)


def arns_of(resource: Registration, named: Mapping[str, Registration], place: Place) -> tuple[str, ...]:
    """The ARNs that the resource may have: where Pulumi or AWS ends a name at random stands a `*`."""
    needs = NEEDS[resource.type]
    words = defaultdict(lambda: "*", {key: _pattern(value) for key, value in resource.inputs.items()})
    words |= {"name": _name(resource), "parent": "*"}
    words |= {"partition": place.partition, "account": place.account}
    words |= {"region": region_of(resource, place), "home": place.region}
    for urn in sorted(resource.dependencies):
        if urn in named and named[urn].type == needs.of:
            words["parent"] = _name(named[urn])
    return tuple(arn.format_map(words) for arn in needs.arns)


def region_of(resource: Registration, place: Place) -> str:
    """Copies are made in another region than the rest."""
    return resource.inputs.get("region") or place.region


def _name(resource: Registration) -> str:
    given = resource.inputs.get(NEEDS[resource.type].name)
    return _pattern(given) if isinstance(given, str) else f"{resource.name}-*"


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or value.startswith("[") or ":" in value:
        return "*"
    return INVENTED_END.sub("-*", value)


def _scope(action: str, arns: Iterable[str], services: set[str], roles: Sequence[str], place: Place) -> tuple[str, ...]:
    """The resources of an action: those of its type, or of the other service that the type needs."""
    service = action.split(":")[0]
    if any(fnmatchcase(action, free) for free in WITHOUT_RESOURCES):
        return ("*",)
    if action == "rds:DescribeDBInstances":  # the program lists them by a filter, which AWS judges by this ARN
        return (f"arn:{place.partition}:rds:{place.region}:{place.account}:db:*",)
    if service in services:
        return tuple(sorted(arn for arn in arns if arn.split(":")[2] == service))
    here = f"arn:{place.partition}:{service}:{place.region}:{place.account}"
    match service:
        case "kms":
            return (f"{here}:key/*",)
        case "secretsmanager":
            return (f"{here}:secret:rds!*",)
        case "iam":
            return tuple(roles) or ("*",)
    return (f"{here}:*",)


def _merged(granted: Mapping[tuple[str, ...], set[str]], place: Place, boundary: str | None) -> Iterator[Statement]:
    """Scopes with the same actions become one statement; conditions part actions from the rest."""
    tags = {"StringEquals": {"aws:ResourceTag/project": "penstock", "aws:ResourceTag/stack": place.stack}}
    bounded = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    by_actions: dict[tuple[str, tuple[str, ...]], set[str]] = defaultdict(set)
    for arns, actions in granted.items():
        owned = {it for it in actions if any(fnmatchcase(it, pattern) for pattern in OWNED)}
        limited = actions & set(BOUNDED) if boundary else set()
        for condition, part in (("", actions - owned - limited), ("owned", owned), ("bounded", limited)):
            if part:
                by_actions[condition, tuple(sorted(part))] |= set(arns)
    for (condition, part), arns in sorted(by_actions.items()):
        extra = {"": {}, "owned": {"Condition": tags}, "bounded": {"Condition": bounded}}[condition]
        yield {"Effect": "Allow", "Action": list(part), "Resource": sorted(arns), **extra}


def _passed(own: Sequence[Registration], named: Mapping[str, Registration], place: Place) -> Iterator[Statement]:
    """Each role only to the services of the resources that were made of it."""
    services: dict[str, set[str]] = defaultdict(set)
    for each in own:
        given = [named[urn] for urn in each.dependencies if urn in named and named[urn].type == ROLE]
        for role in given if NEEDS[each.type].passes else ():
            for arn in arns_of(role, named, place):
                services[arn].add(NEEDS[each.type].passes)
    roles: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for arn, names in services.items():
        roles[tuple(sorted(names))].append(arn)
    for names, arns in sorted(roles.items()):
        yield _allow("iam:PassRole", sorted(arns), {"StringEquals": {"iam:PassedToService": list(names)}})


def _special(
    own: Sequence[Registration], roles: Sequence[str], place: Place, boundary: str | None
) -> Iterator[Statement]:
    """Grants whose limit is a condition of their own."""
    needs = [NEEDS[each.type] for each in own]
    reasons = {why for each in needs for why, _ in each.more}
    linked = sorted(why.removeprefix(LINKED) for why in reasons if why.startswith(LINKED))
    iam, ec2 = f"arn:{place.partition}:iam::{place.account}", f"arn:{place.partition}:ec2:{place.region}"
    attached = {each.inputs.get("policyArn") for each in own if each.type == ATTACHMENT}
    attached |= {arn for each in own for arn in each.inputs.get("managedPolicyArns") or []}
    if roles and attached:
        limit: dict[str, Any] = {"ArnEquals": {"iam:PolicyARN": sorted(map(str, attached))}}
        if boundary:
            limit["StringEquals"] = {"iam:PermissionsBoundary": boundary}
        yield _allow("iam:AttachRolePolicy", list(roles), limit)
    if linked:
        arn = f"{iam}:role/aws-service-role/*"
        yield _allow("iam:CreateServiceLinkedRole", [arn], {"StringEquals": {"iam:AWSServiceName": linked}})
    writes = {action for each in needs for action in each.writes()}
    if "kms:CreateGrant" in writes:
        regions = sorted({region_of(each, place) for each in own if "kms:CreateGrant" in NEEDS[each.type].writes()})
        keys = [f"arn:{place.partition}:kms:{region}:{place.account}:key/*" for region in regions]
        yield _allow("kms:CreateGrant", keys, {"Bool": {"kms:GrantIsForAWSResource": "true"}})
    if "ec2:RunInstances" in writes:
        template = {"ec2:LaunchTemplate": f"{ec2}:{place.account}:launch-template/*"}
        yield _allow("ec2:RunInstances", [f"{ec2}:*:*"], {"ArnLike": template})


def _allow(action: str, resources: list[str], condition: Mapping[str, Any]) -> Statement:
    return {"Effect": "Allow", "Action": [action], "Resource": resources, "Condition": dict(condition)}


def _parts(statement: Statement) -> Iterator[Statement]:
    """A statement that alone is over the limit, with its resources in halves."""
    arns = statement["Resource"]
    if _size([statement]) <= MANAGED_POLICY_CHARACTERS or len(arns) < 2:
        yield statement
        return
    half = len(arns) // 2
    for part in (arns[:half], arns[half:]):
        yield from _parts({**statement, "Resource": part})


def _size(content: Sequence[Statement]) -> int:
    """Characters of the document without blanks."""
    document = {"Version": "2012-10-17", "Statement": list(content)}
    return len(json.dumps(document, separators=(",", ":")))
