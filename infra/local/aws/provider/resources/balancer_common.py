"""What load balancers, target groups and listeners share: tags, and attributes that are key-value texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.aws.provider.row import Tagging
from infra.local.aws.provider.schema import Kind, Property
from infra.local.aws.provider.values import Values

BALANCER_TAGS = Tagging(put="add_tags", remove="remove_tags", subject="[]ResourceArns", listed="Tags")


def written(key: str, value: Any) -> dict[str, str]:
    return {"Key": key, "Value": str(value).lower() if isinstance(value, bool) else str(value)}


def read_attributes(fields: Mapping[str, Property], keys: Mapping[str, str], listed: list[Mapping[str, str]]) -> Values:
    """Attributes under Pulumi's names and in the properties' kinds. What AWS does not list is at its default."""
    there = {it["Key"]: it["Value"] for it in listed}
    values: Values = {}
    for name, key in keys.items():
        value, prop = there.get(key), fields[name]
        if value is None or value == "":
            values[name] = prop.default
        elif prop.kind is Kind.FLAG:
            values[name] = str(value).lower() == "true"
        else:
            values[name] = int(value) if prop.kind is Kind.INTEGER else str(value)
    return values
