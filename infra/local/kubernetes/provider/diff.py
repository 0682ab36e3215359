"""Which fields differ between the recorded inputs and the new ones, and which of them replace the object. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from infra.local.kubernetes.provider import directives
from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.settings import Settings
from infra.local.kubernetes.provider.values import Unknown, at, plain

Path = tuple[str | int, ...]


class Change(Enum):
    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True)
class Rule:
    """A field that cannot change in place.

    `defaulted` fields are filled in by the API server: leaving them out later is no change. `project` reduces a
    value to its immutable part.
    """

    path: tuple[str, ...]
    defaulted: bool = False
    project: Callable[[Any], Any] = lambda value: value


@dataclass
class Difference:
    """`changes` maps a path to its change and whether it replaces the object."""

    changes: dict[Path, tuple[Change, bool]] = field(default_factory=dict)
    delete_before_replace: bool = False

    @property
    def replaces(self) -> bool:
        return any(replace for _, replace in self.changes.values())


def diff(
    kind: Kind,
    old_inputs: Mapping[str, Any],
    new_inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any],
    settings: Settings | None = None,
) -> Difference:
    """Compares what was applied with what would be. Secret marks and keys that are null do not count."""
    settings = settings or Settings()
    old, new, live = plain(old_inputs), plain(new_inputs), plain(old_outputs)
    if at(old, "metadata", "namespace") is None and at(live, "metadata", "namespace") is not None:
        # A kind that was unknown when it was first checked got its namespace from the API server.
        old = {**old, "metadata": {**(old.get("metadata") or {}), "namespace": at(live, "metadata", "namespace")}}
        if at(new, "metadata", "namespace") is None:
            new = {**new, "metadata": {**(at(new, "metadata") or {}), "namespace": at(live, "metadata", "namespace")}}
    found = dict(_changes((), old, new))
    broken = [rule.path for rule in rules(kind, new, settings) if _broken(rule, old, new, live)]
    result = Difference()
    for path, change in found.items():
        replace = any(path[: len(rule)] == rule or rule[: len(path)] == path for rule in broken)
        result.changes[path] = (change, replace)
    if result.replaces:
        same_place = all(
            at(old, "metadata", key) == at(new, "metadata", key) and not isinstance(at(new, "metadata", key), Unknown)
            for key in ("name", "namespace")
        )
        result.delete_before_replace = same_place and not directives.is_true(new, directives.AUTONAMED)
    return result


def rules(kind: Kind, inputs: Mapping[str, Any], settings: Settings) -> list[Rule]:
    """The immutable fields of a kind (API reference; pulumi-kubernetes replaces on the same ones)."""
    found = [Rule(("kind",)), Rule(("metadata", "name")), Rule(("metadata", "namespace"))]
    frozen = at(inputs, "immutable") is True
    if kind.is_a("", "ConfigMap") and (frozen or not settings.config_map_mutable):
        found += [Rule(("data",)), Rule(("binaryData",))]
    if kind.is_a("", "Secret"):
        found.append(Rule(("type",), defaulted=True))
        if frozen or not settings.secret_mutable:
            found += [Rule(("data",)), Rule(("stringData",))]
    if kind.is_a("", "Pod"):
        found.append(Rule(("spec",), project=_fixed_part_of_a_pod))
    if kind.is_a("", "Service"):
        found.append(Rule(("spec", "clusterIP"), defaulted=True))
    if kind.is_a("", "PersistentVolumeClaim"):
        fields = ("accessModes", "selector", "storageClassName", "volumeName", "volumeMode")
        found += [Rule(("spec", name), defaulted=True) for name in fields]
    if kind.is_a("apps", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"):
        found.append(Rule(("spec", "selector")))
    if kind.is_a("apps", "StatefulSet"):
        found.append(Rule(("spec", "podManagementPolicy"), defaulted=True))
        found += [Rule(("spec", name)) for name in ("serviceName", "volumeClaimTemplates")]
    if kind.is_a("batch", "Job"):
        found += [Rule(("spec", name)) for name in ("selector", "template", "completionMode")]
    if kind.is_a("rbac.authorization.k8s.io", "RoleBinding", "ClusterRoleBinding"):
        found.append(Rule(("roleRef",)))
    if kind.is_a("storage.k8s.io", "StorageClass"):
        found += [Rule((name,), defaulted=True) for name in ("reclaimPolicy", "volumeBindingMode")]
        found += [Rule((name,)) for name in ("parameters", "provisioner")]
    if kind.is_a("scheduling.k8s.io", "PriorityClass"):
        found.append(Rule(("value",)))
    if kind.is_a("apiextensions.k8s.io", "CustomResourceDefinition"):
        found += [Rule(("spec", "group")), Rule(("spec", "scope"))]
    return found


def _broken(rule: Rule, old: Any, new: Any, live: Any) -> bool:
    before, after = at(old, *rule.path), at(new, *rule.path)
    if rule.defaulted:
        if after is None:
            return False
        before = before if before is not None else at(live, *rule.path)
    return rule.project(before) != rule.project(after)


def _fixed_part_of_a_pod(spec: Any) -> Any:
    """A pod's spec without what may change in place (API reference: images, deadline, tolerations)."""
    if not isinstance(spec, Mapping):
        return spec
    fixed = {name: value for name, value in spec.items() if name not in ("activeDeadlineSeconds", "tolerations")}
    for group in ("containers", "initContainers"):
        if isinstance(fixed.get(group), list):
            fixed[group] = [
                {name: value for name, value in item.items() if name != "image"} if isinstance(item, Mapping) else item
                for item in fixed[group]
            ]
    return fixed


def _changes(path: Path, old: Any, new: Any) -> Iterator[tuple[Path, Change]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in new:
                yield (*path, key), Change.DELETE
            elif key not in old:
                yield (*path, key), Change.ADD
            else:
                yield from _changes((*path, key), old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            if index >= len(new):
                yield (*path, index), Change.DELETE
            elif index >= len(old):
                yield (*path, index), Change.ADD
            else:
                yield from _changes((*path, index), old[index], new[index])
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield path, Change.UPDATE


def property_path(path: Path) -> str:
    """`("metadata", "labels", "a/b", 0)` -> `metadata.labels["a/b"][0]`, Pulumi's notation."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$]*", part):
            text += f".{part}" if text else part
        else:
            quoted = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{quoted}"]'
    return text
