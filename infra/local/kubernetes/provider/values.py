"""Trees of property values: what a Kubernetes object looks like between Pulumi and the API server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.local.wire import UNKNOWN, Secret, Unknown, decode, encode

__all__ = ["UNKNOWN", "Secret", "Unknown", "at", "decode", "encode", "has_unknown", "mark_secrets", "plain"]


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
