"""What the program makes, written as a Terraform plan in JSON: the one language that outside scanners read well. Pure.

The shape is that of `terraform show -json` (format version 1.2), as far as scanners look: planned values, changes, and
references between resources. A value that names another resource (its id, ARN or name) is left open and told as a
reference, as in a real plan before the first apply; so a scanner sees the same graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.inventions import invented_outputs
from infra.rehearsal import Registration, Rehearsal

MODULES = {"ec2": "", "rds": "db_", "costexplorer": "ce_"}
"""Modules whose types are named otherwise in Terraform: by these words in front, else by the module's own name."""

KINDS = {
    "aws:cloudtrail/trail:Trail": "aws_cloudtrail",
    "aws:lb/loadBalancer:LoadBalancer": "aws_lb",
    "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy": "aws_sqs_queue_redrive_allow_policy",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "aws_vpc_endpoint",
}

PLURALS = {
    "rules",
    "actions",
    "conditions",
    "costFilters",
    "customResponseBodies",
    "defaultActions",
    "encryptionConfigurations",
    "filters",
    "ingresses",
    "egresses",
    "notifications",
    "parameters",
    "podIdentityAssociations",
    "ruleActionOverrides",
    "routes",
    "subscribers",
    "taints",
    "targetGroups",
    "transitions",
}
"""Lists of blocks that Terraform names in the singular."""

MAPS = {"tags", "tagsAll", "labels", "dimensions", "variables", "matchLabels"}
"""Objects that stay one; every other object is a block of which Terraform allows one, written as a list of one."""

NAMES_OF_A_RESOURCE = ("arn", "keyId", "name", "url", "bucket")


def plan(rehearsal: Rehearsal) -> dict[str, Any]:
    """The plan of all AWS resources of a rehearsed update. Kubernetes objects are no part of it."""
    found = [each for each in rehearsal.registrations if each.custom and each.type.startswith("aws:")]
    owners = _owners(found)
    resources, changes, configuration = [], [], []
    for each in found:
        values, references = _values(each, owners)
        kind, name = terraform_type(each.type), _identifier(each.name)
        head = {"address": address(each), "mode": "managed", "type": kind, "name": name}
        resources.append({**head, "provider_name": "aws", "schema_version": 0, "values": values})
        changes.append({**head, "change": {"actions": ["create"], "before": None, "after": values}})
        configuration.append({**head, "expressions": {key: {"references": each} for key, each in references.items()}})
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": resources}},
        "resource_changes": changes,
        "configuration": {"root_module": {"resources": configuration}},
    }


def address(found: Registration) -> str:
    """`aws_kms_key.penstock-data`: the address under which a scanner reports it."""
    return f"{terraform_type(found.type)}.{_identifier(found.name)}"


def terraform_type(token: str) -> str:
    """`aws:ec2/flowLog:FlowLog` is `aws_flow_log`; `aws:kms/key:Key` is `aws_kms_key`."""
    if token in KINDS:
        return KINDS[token]
    module, _, kind = token.removeprefix("aws:").partition("/")
    return f"aws_{MODULES.get(module, module + '_')}{_snake(kind.partition(':')[0])}"


def _owners(found: list[Registration]) -> dict[tuple[str, str], str]:
    """Whose id, ARN or name a value is: by the URN of the owner and the value."""
    owners: dict[tuple[str, str], str] = {}
    for each in found:
        identifier, outputs = invented_outputs(each.type, each.name, each.inputs, preview=False)
        known = {**outputs, **each.inputs}
        told = [identifier, *(known.get(key) for key in NAMES_OF_A_RESOURCE)]
        owners |= {(each.urn, value): address(each) for value in told if isinstance(value, str)}
    return owners


def _values(found: Registration, owners: Mapping[tuple[str, str], str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    values: dict[str, Any] = {}
    references: dict[str, list[str]] = {}
    for key, value in found.inputs.items():
        if key == "region":
            continue
        name = _name_of(key, value)
        named = list(_references(value, found, owners))
        if named and (isinstance(value, str) or _is_flat(value)):
            references[name] = named
            values[name] = [None] * len(value) if isinstance(value, list) else None
        else:
            values[name] = _terraform(key, value)
            if named:
                references[name] = named
    return values, references


def _references(value: Any, found: Registration, owners: Mapping[tuple[str, str], str]) -> Iterator[str]:
    match value:
        case str():
            owner = next((owners[urn, value] for urn in sorted(found.dependencies) if (urn, value) in owners), None)
            if owner is not None:
                yield f"{owner}.id"
                yield owner
        case dict():
            for each in value.values():
                yield from _references(each, found, owners)
        case list():
            for each in value:
                yield from _references(each, found, owners)


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _terraform(key: str, value: Any) -> Any:
    match value:
        case dict() if key in MAPS:
            return value
        case dict():
            return [_block(value)]
        case list():
            return [_block(each) if isinstance(each, dict) else each for each in value]
    return value


def _block(value: Mapping[str, Any]) -> dict[str, Any]:
    return {_name_of(key, each): _terraform(key, each) for key, each in value.items()}


def _name_of(key: str, value: Any) -> str:
    blocks = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    singular = key.removesuffix("es") if key.endswith("sses") else key.removesuffix("s")
    if key == "customResponseBodies":
        singular = "customResponseBody"
    return _snake(singular if blocks and key in PLURALS else key)


def _snake(camel: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", camel).lower()


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)
