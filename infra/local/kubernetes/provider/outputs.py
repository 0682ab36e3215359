"""A resource's recorded properties: what a live object becomes in state, and what a preview foresees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.project import adopted, project
from infra.local.kubernetes.provider.values import UNKNOWN, Secret, at, mark_secrets

SECRET_FIELDS = ("data", "stringData")
NEW_WITH_EACH_OBJECT = ("creationTimestamp", "generation", "resourceVersion", "uid")
NEW_WITH_EACH_CHANGE = ("generation", "resourceVersion")
ASSIGNED_TO_SERVICES = ("clusterIP", "clusterIPs")


def as_outputs(kind: Kind, live: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The live object, secret where the inputs were, without the field managers' bookkeeping."""
    metadata = {key: value for key, value in (live.get("metadata") or {}).items() if key != "managedFields"}
    return _hide(kind, mark_secrets({**live, "metadata": metadata}, inputs))


def as_inputs(kind: Kind, live: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of an object that is imported."""
    return _hide(kind, adopted(live))


def refreshed_inputs(kind: Kind, live: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as the live object has them, secret where they were."""
    return _hide(kind, mark_secrets(project(kind, live, inputs), inputs), like=inputs)


def foreseen(kind: Kind, inputs: Mapping[str, Any], tried: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The outputs of an object that does not exist yet.

    `tried` is what the API server would make of the inputs, with its defaults, where it was asked.
    """
    known = as_outputs(kind, tried if tried is not None else inputs, inputs)
    metadata = at(known, "metadata")
    if isinstance(metadata, Mapping):
        known["metadata"] = {**metadata, **dict.fromkeys(NEW_WITH_EACH_OBJECT, UNKNOWN)}
    known["status"] = UNKNOWN
    spec = at(known, "spec")
    if kind.is_a("", "Service") and isinstance(spec, Mapping):
        given = at(inputs, "spec") or {}
        unknown = {key: UNKNOWN for key in ASSIGNED_TO_SERVICES if key not in given}
        known["spec"] = {**spec, **({"ports": given["ports"]} if "ports" in given else {}), **unknown}
    return known


def changed(kind: Kind, tried: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that an update is expected to have."""
    known = as_outputs(kind, tried, inputs)
    known["metadata"] = {**(at(known, "metadata") or {}), **dict.fromkeys(NEW_WITH_EACH_CHANGE, UNKNOWN)}
    return known


def _hide(kind: Kind, tree: dict[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A Secret's content as secret. With `like`, only fields that are secret there or are new."""
    if not kind.is_a("", "Secret"):
        return tree
    hidden = dict(tree)
    for name in SECRET_FIELDS:
        open_before = like is not None and name in like
        if hidden.get(name) is not None and not open_before and not isinstance(hidden[name], Secret):
            hidden[name] = Secret(hidden[name])
    return hidden
