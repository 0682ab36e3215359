"""Pulumi's property values on the wire, a protobuf Struct, and as plain Python.

A value is None, bool, int, float, str, list or dict; besides these there are UNKNOWN and Secret, which travel as marked
values: pulumi/pulumi, sdk/go/common/resource/plugin/rpc.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct, Value  # ty: ignore[import-not-found]

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the wire mark of a secret, not one
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_TEXTS = frozenset(
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
    """The type of `UNKNOWN`: a value that only an update will tell."""

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


def decode(struct: Struct) -> dict[str, Any]:
    """A Struct as a dict. Numbers without a fraction become ints. Raises ValueError for an asset or archive."""
    return {key: _decode(value) for key, value in struct.fields.items()}


def _decode(value: Value) -> Any:
    which = value.WhichOneof("kind")
    if which == "string_value":
        return UNKNOWN if value.string_value in UNKNOWN_TEXTS else value.string_value
    if which == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if which == "bool_value":
        return value.bool_value
    if which == "list_value":
        return [_decode(item) for item in value.list_value.values]
    if which == "struct_value":
        return _decode_object(decode(value.struct_value))
    return None


def _decode_object(content: dict[str, Any]) -> Any:
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
    raise ValueError(f"an asset or an archive is not supported by the local providers (signature {signature})")


def encode(tree: Mapping[str, Any]) -> Struct:
    """The reverse of `decode`. Raises TypeError for what is no property value."""
    struct = Struct()
    for key, item in tree.items():
        _encode(item, struct.fields[key])
    return struct


def _encode(item: Any, into: Value) -> None:
    if item is None:
        into.null_value = 0
    elif isinstance(item, Unknown):
        into.string_value = UNKNOWN_TEXT
    elif isinstance(item, Secret):
        fields = into.struct_value.fields
        fields[SIGNATURE].string_value = SECRET
        _encode(item.value, fields["value"])
    elif isinstance(item, bool):
        into.bool_value = item
    elif isinstance(item, int | float):
        into.number_value = item
    elif isinstance(item, str):
        into.string_value = item
    elif isinstance(item, Mapping):
        into.struct_value.SetInParent()
        for key, inner in item.items():
            _encode(inner, into.struct_value.fields[key])
    elif isinstance(item, list | tuple):
        into.list_value.SetInParent()
        for inner in item:
            _encode(inner, into.list_value.values.add())
    else:
        raise TypeError(f"a {type(item).__name__} is no property value")
