"""Pulumi property values on the wire (protobuf Struct) and as plain Python.

Secrets and unknowns travel as marked values: see pulumi/pulumi `sdk/go/common/resource/plugin/rpc.go`. Here a secret
is a `Secret`, an unknown is `UNKNOWN`; everything else is dict, list, str, bool, int, float or None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value  # ty: ignore[import-not-found]

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the wire mark of a secret, not one
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWNS = frozenset({
    UNKNOWN_STRING,
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
    "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
    "e48ece36-62e2-4504-bad9-02848725956a",  # archive
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
})  # fmt: skip


class Unknown:
    """The type of `UNKNOWN`: a value that only an update will tell."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that stays encrypted in state."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(...)"


def decode(struct: Struct) -> dict[str, Any]:
    """A Struct as a dict. Numbers without a fraction become ints. Raises ValueError for an asset or archive."""
    return {key: _decode(value) for key, value in struct.fields.items()}


def _decode(value: Value) -> Any:
    which = value.WhichOneof("kind")
    if which == "string_value":
        return UNKNOWN if value.string_value in UNKNOWNS else value.string_value
    if which == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if which == "bool_value":
        return value.bool_value
    if which == "list_value":
        return [_decode(item) for item in value.list_value.values]
    if which == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields:
            return _decode_marked(fields)
        return {key: _decode(item) for key, item in fields.items()}
    return None


def _decode_marked(fields: Mapping[str, Value]) -> Any:
    mark = fields[SIGNATURE].string_value
    if mark == SECRET:
        return Secret(_decode(fields["value"]))
    if mark == OUTPUT:
        value = _decode(fields["value"]) if "value" in fields else UNKNOWN
        secret = "secret" in fields and fields["secret"].bool_value
        return Secret(value) if secret else value
    raise ValueError("an asset, an archive or a resource cannot be part of a Kubernetes object")


def encode(tree: Mapping[str, Any]) -> Struct:
    """The reverse of `decode`."""
    struct = Struct()
    for key, item in tree.items():
        _encode(item, struct.fields[key])
    return struct


def _encode(item: Any, into: Value) -> None:
    if item is None:
        into.null_value = 0
    elif isinstance(item, Unknown):
        into.string_value = UNKNOWN_STRING
    elif isinstance(item, Secret):
        fields = into.struct_value.fields
        fields[SIGNATURE].string_value = SECRET
        _encode(item.value, fields["value"])
    elif isinstance(item, bool):
        into.bool_value = item
    elif isinstance(item, (int, float)):
        into.number_value = item
    elif isinstance(item, str):
        into.string_value = item
    elif isinstance(item, Mapping):
        into.struct_value.SetInParent()
        for key, inner in item.items():
            _encode(inner, into.struct_value.fields[key])
    else:
        into.list_value.SetInParent()
        for inner in item:
            _encode(inner, into.list_value.values.add())


def plain(tree: Any) -> Any:
    """The tree without its secret marks and without keys whose value is null. Unknowns stay."""
    if isinstance(tree, Secret):
        return plain(tree.value)
    if isinstance(tree, Mapping):
        return {key: bare for key, item in tree.items() if (bare := plain(item)) is not None}
    if isinstance(tree, list):
        return [plain(item) for item in tree]
    return tree


def has_unknown(tree: Any) -> bool:
    """Whether any value below is unknown."""
    if isinstance(tree, Unknown):
        return True
    if isinstance(tree, Secret):
        return has_unknown(tree.value)
    if isinstance(tree, Mapping):
        return any(has_unknown(item) for item in tree.values())
    return isinstance(tree, list) and any(has_unknown(item) for item in tree)


def mark_secrets(tree: Any, like: Any) -> Any:
    """`tree` with a secret mark wherever `like` has one at the same place."""
    if isinstance(like, Secret):
        return tree if isinstance(tree, Secret) else Secret(tree)
    if isinstance(tree, Mapping) and isinstance(like, Mapping):
        return {key: mark_secrets(item, like.get(key)) for key, item in tree.items()}
    if isinstance(tree, list) and isinstance(like, list):
        rest: Iterator[Any] = iter(like)
        return [mark_secrets(item, next(rest, None)) for item in tree]
    return tree


def at(tree: Any, *path: str) -> Any:
    """The value at a path of keys, seen through secret marks; None where there is none, UNKNOWN below an unknown."""
    for key in path:
        if isinstance(tree, Secret):
            tree = tree.value
        if isinstance(tree, Unknown):
            return UNKNOWN
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree.value if isinstance(tree, Secret) else tree
