"""Pulumi's property values as plain Python, and back to protobuf Structs.

A value is None, bool, int, float, str, list or dict; besides these there are UNKNOWN (decided only when the update
runs) and Secret (wraps any value). Signatures: pulumi/pulumi, sdk/go/common/resource/plugin/rpc.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value  # ty: ignore[import-not-found]

Values = dict[str, Any]

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  a type marker of Pulumi's wire format
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS = frozenset(
    {
        UNKNOWN_TEXT,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


class Unknown(Enum):
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True)
class Secret:
    """A value that Pulumi encrypts in its state and hides in its output."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(...)"


def from_struct(struct: Struct) -> Values:
    """The Struct's content; entries that are null are left out, as the SDKs do for arguments not given."""
    read = {name: _read(value) for name, value in struct.fields.items()}
    return {name: value for name, value in read.items() if value is not None}


def _read(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_read(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _read_object(from_struct(value.struct_value))
    return None


def _read_object(content: Values) -> Any:
    signature = content.get(SIGNATURE)
    if signature is None:
        return content
    if signature == SECRET:
        return Secret(content.get("value"))
    if signature == OUTPUT:
        inner = content.get("value", UNKNOWN)
        return Secret(inner) if content.get("secret") else inner
    if signature == RESOURCE:
        return content.get("id", UNKNOWN)
    raise ValueError(f"assets and archives are not supported by the local provider (signature {signature})")


def to_struct(values: Mapping[str, Any]) -> Struct:
    struct = Struct()
    for name, value in values.items():
        if value is not None:
            struct.fields[name].CopyFrom(_write(value))
    return struct


def _write(value: Any) -> Value:
    if value is None:
        return Value(null_value=NULL_VALUE)
    if value is UNKNOWN:
        return Value(string_value=UNKNOWN_TEXT)
    if isinstance(value, Secret):
        return Value(struct_value=to_struct({SIGNATURE: SECRET, "value": value.value}))
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, int | float):
        return Value(number_value=value)
    if isinstance(value, str):
        return Value(string_value=value)
    if isinstance(value, list | tuple):
        return Value(list_value=ListValue(values=[_write(item) for item in value]))
    if isinstance(value, Mapping):
        return Value(struct_value=to_struct(value))
    raise TypeError(f"a {type(value).__name__} is no property value")


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
