"""Property values as the AWS rows use them: a null is an argument that was not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct  # ty: ignore[import-not-found]

from infra.local.wire import UNKNOWN, Secret, Unknown, decode, encode

__all__ = ["UNKNOWN", "Secret", "Unknown", "Values", "contains", "from_struct", "revealed", "to_struct"]

Values = dict[str, Any]


def from_struct(struct: Struct) -> Values:
    """The Struct's content; entries that are null are left out, as the SDKs do for arguments not given."""
    return _without_nulls(decode(struct))


def to_struct(values: Mapping[str, Any]) -> Struct:
    """The reverse: entries that are None are left out. Raises TypeError for what is no property value."""
    return encode(_without_nulls(values))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Secret):
        return Secret(_without_nulls(value.value))
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(inner) for inner in value]
    return value


def revealed(value: Any) -> Any:
    """The value without its Secret wrappers, at any depth."""
    if isinstance(value, Secret):
        return revealed(value.value)
    if isinstance(value, dict):
        return {name: revealed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [revealed(inner) for inner in value]
    return value


def contains(value: Any, kind: type[Secret] | type[Unknown]) -> bool:
    """Whether a Secret (or an UNKNOWN) is somewhere in the value."""
    if isinstance(value, kind):
        return True
    if isinstance(value, Secret):
        return contains(value.value, kind)
    if isinstance(value, dict):
        return any(contains(inner, kind) for inner in value.values())
    if isinstance(value, list):
        return any(contains(inner, kind) for inner in value)
    return False
