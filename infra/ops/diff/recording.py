"""The record-only cloud: both providers' own checks and comparisons, and made-up answers where a cloud would act.

A created resource has the state that its row plans, with what AWS would have decided invented from the schema.
Nothing leaves the process. What a row of the local AWS provider does not know (a type or a property of a fork) is taken
as it is, and compared value by value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.inventions import invented_outputs
from infra.local.aws.provider.compare import Difference
from infra.local.aws.provider.row import Row
from infra.local.aws.provider.schema import Kind, Property
from infra.local.aws.provider.values import UNKNOWN, Secret, Values, revealed

EMPTY: dict[Kind, Any] = {
    Kind.INTEGER: 1,
    Kind.NUMBER: 1,
    Kind.FLAG: False,
    Kind.FLAG_TEXT: "false",
    Kind.JSON: "{}",
    Kind.MAP: {},
    Kind.LIST: [],
    Kind.SET: [],
}


def recorded(row: Row, name: str, inputs: Values, planned: Values) -> Values:
    """The state after a creation or an update: `planned` without unknowns."""
    told = told_by(row.kind, name, inputs)
    state = {}
    for key, value in planned.items():
        state[key] = told.get(key, value) if _open(value) else value
        state[key] = _settled(row.fields.get(key), state[key], f"{name}-{key}")
    return {**{key: value for key, value in told.items() if key not in state}, **state}


def told_by(token: str, name: str, inputs: Values) -> Values:
    """What the table of inventions says of a resource."""
    return invented_outputs(token, name, revealed(inputs), preview=False)[1]


def beyond(row: Row, inputs: Mapping[str, Any]) -> Values:
    """Inputs that the row has no property for."""
    return {key: value for key, value in inputs.items() if key not in row.fields and not key.startswith("__")}


def plain_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """By value, in place: nothing is known of what replaces."""
    for key in sorted({*old, *new}):
        if key.startswith("__") or old.get(key) == new.get(key):
            continue
        kind = "add" if key not in old else "delete" if key not in new else "update"
        yield Difference(key, kind, replace=False)


def _open(value: Any) -> bool:
    """Whether a value was not given in whole: unknown, or a block with unknown parts."""
    if isinstance(value, Secret):
        return _open(value.value)
    if isinstance(value, dict):
        return any(_open(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_open(inner) for inner in value)
    return value is UNKNOWN


def _settled(prop: Property | None, value: Any, hint: str) -> Any:
    if isinstance(value, Secret):
        return Secret(_settled(prop, value.value, hint))
    if isinstance(value, dict):
        fields = prop.fields if prop else {}
        return {key: _settled(fields.get(key), inner, f"{hint}-{key}") for key, inner in value.items()}
    if isinstance(value, list):
        item = prop.item if prop else None
        return [_settled(item, inner, hint) for inner in value]
    if value is not UNKNOWN:
        return value
    if prop is not None and prop.kind is Kind.BLOCK:
        return {key: _settled(inner, UNKNOWN, f"{hint}-{key}") for key, inner in prop.fields.items()}
    return EMPTY.get(prop.kind, hint) if prop else hint


OFFERINGS = "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings"
DATABASES = "aws:rds/getInstances:getInstances"


def no_database(given: Values) -> Values:
    """None runs: which version does is not known without credentials, and the report shows the change itself."""
    return {**given, "id": "databases", "instanceArns": [], "instanceIdentifiers": []}


def all_offered(given: Values) -> Values:
    """Every instance type in every zone that is asked about: what EC2 offers is not what a diff is about."""
    values = {each["name"]: each["values"] for each in given.get("filters") or ()}
    pairs = [(kind, place) for kind in values.get("instance-type", ()) for place in values.get("location", ())]
    return {
        **given,
        "id": "offerings",
        "instanceTypes": [kind for kind, _ in pairs],
        "locations": [place for _, place in pairs],
        "locationTypes": [given.get("locationType", "region") for _ in pairs],
    }
