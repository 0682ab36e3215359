"""A container's environment: values, references and $(NAME) expansion. Pure: objects are fetched before."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.kubernetes.agent.api import Json
from infra.local.kubernetes.agent.quantities import in_units

_REFERENCE = re.compile(r"\$(\$|\([A-Za-z_][-A-Za-z0-9_.]*\))")
_FIELD_WITH_KEY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")

Fetched = Mapping[tuple[str, str], Json | None]
"""(`configmaps` or `secrets`, name) -> the object, None where the API server has none."""


class ConfigError(ValueError):
    """An environment that cannot be made (yet): kubelet's CreateContainerConfigError."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Kubernetes' expansion: `$(NAME)` becomes its value, an unknown one stays, `$$` becomes `$`."""

    def replace(match: re.Match[str]) -> str:
        inner = match.group(1)
        return "$" if inner == "$" else values.get(inner[1:-1], match.group(0))

    return _REFERENCE.sub(replace, text)


@dataclass(frozen=True)
class Place:
    """Where a pod runs: its own address, its node's, and what the node can give (for unset limits)."""

    pod_address: str
    node_address: str
    allocatable: Mapping[str, str]


def references(container: Json) -> set[tuple[str, str]]:
    """The objects that the container's environment names."""
    found = set()
    for source in container.get("envFrom") or ():
        for field, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if field in source:
                found.add((kind, source[field]["name"]))
    for entry in container.get("env") or ():
        for field, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if field in (entry.get("valueFrom") or {}):
                found.add((kind, entry["valueFrom"][field]["name"]))
    return found


def object_data(kind: str, item: Json) -> dict[str, bytes]:
    """The decoded entries of a ConfigMap or a Secret."""
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}


def field_value(path: str, pod: Json, place: Place) -> str:
    """The downward API's fields. Raises ConfigError for one it does not have."""
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _FIELD_WITH_KEY.fullmatch(path):
        return (metadata.get(match.group(1)) or {}).get(match.group(2), "")
    known: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: metadata["name"],
        "metadata.namespace": lambda: metadata["namespace"],
        "metadata.uid": lambda: metadata["uid"],
        "metadata.labels": lambda: _pairs(metadata.get("labels")),
        "metadata.annotations": lambda: _pairs(metadata.get("annotations")),
        "spec.nodeName": lambda: spec.get("nodeName", ""),
        "spec.serviceAccountName": lambda: spec.get("serviceAccountName", ""),
        "status.podIP": lambda: place.pod_address,
        "status.podIPs": lambda: place.pod_address,
        "status.hostIP": lambda: place.node_address,
        "status.hostIPs": lambda: place.node_address,
    }
    if path not in known:
        raise ConfigError(f"field {path!r} is not offered; known: {', '.join(sorted(known))}, metadata.labels['key']")
    return known[path]()


def _pairs(values: Mapping[str, str] | None) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted((values or {}).items()))


def resource_value(reference: Json, containers: Mapping[str, Json], own: str, place: Place) -> str:
    """`resourceFieldRef`: a request or limit in the divisor's units; an unset limit is what the node can give."""
    container = containers[reference.get("containerName") or own]
    kind, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    text = (resources.get(kind) or {}).get(resource)
    if text is None:
        text = place.allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = reference.get("divisor") or "1"
    return in_units(text, "1" if divisor == "0" else divisor)


def pod_environment(
    container: Json, pod: Json, place: Place, fetched: Fetched, services: Mapping[str, str]
) -> dict[str, str]:
    """What the pod asks for: `services` first, then envFrom, then env, later ones winning, each value expanded with
    those before it. Raises ConfigError where an object or key is missing and not optional."""
    values = dict(services)
    for source in container.get("envFrom") or ():
        values |= dict(_from_object(source, fetched))
    containers = {c["name"]: c for c in pod["spec"]["containers"]}
    containers |= {c["name"]: c for c in pod["spec"].get("initContainers") or ()}
    for entry in container.get("env") or ():
        source = entry.get("valueFrom")
        if source is None:
            values[entry["name"]] = expand(entry.get("value") or "", values)
        elif "fieldRef" in source:
            values[entry["name"]] = field_value(source["fieldRef"]["fieldPath"], pod, place)
        elif "resourceFieldRef" in source:
            values[entry["name"]] = resource_value(source["resourceFieldRef"], containers, container["name"], place)
        elif (value := _key(source, fetched)) is not None:
            values[entry["name"]] = value
    return values


def _from_object(source: Json, fetched: Fetched) -> Iterator[tuple[str, str]]:
    kind, field = ("configmaps", "configMapRef") if "configMapRef" in source else ("secrets", "secretRef")
    reference = source[field]
    item = fetched.get((kind, reference["name"]))
    if item is None:
        if reference.get("optional"):
            return
        raise ConfigError(f"{_said(kind)} {reference['name']!r} not found")
    for key, value in object_data(kind, item).items():
        yield source.get("prefix", "") + key, value.decode(errors="replace")


def _key(source: Json, fetched: Fetched) -> str | None:
    kind, field = ("configmaps", "configMapKeyRef") if "configMapKeyRef" in source else ("secrets", "secretKeyRef")
    if field not in source:
        raise ConfigError(f"an environment value from {', '.join(source)} is not offered")
    reference = source[field]
    item = fetched.get((kind, reference["name"]))
    value = None if item is None else object_data(kind, item).get(reference["key"])
    if value is not None:
        return value.decode(errors="replace")
    if reference.get("optional"):
        return None
    missing = "not found" if item is None else f"has no key {reference['key']!r}"
    raise ConfigError(f"{_said(kind)} {reference['name']!r} {missing}")


def _said(kind: str) -> str:
    return {"configmaps": "ConfigMap", "secrets": "Secret"}[kind]


def base_environment(*, interpreter: Path, checkout: Path, folder: Path, hostname: str) -> dict[str, str]:
    """What every process starts with: nothing of the agent's own environment."""
    return {
        "PATH": f"{interpreter.parent}:{os.defpath.lstrip(':')}",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "HOSTNAME": hostname,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(checkout),
        "PYTHONUNBUFFERED": "1",
    }
