"""What a live object says about the fields that the inputs set: the drift that a refresh reports. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.values import plain

SERVER_METADATA = (
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
    "resourceVersion", "selfLink", "uid",
)  # fmt: skip

LIST_KEYS: tuple[tuple[str, ...], ...] = (
    ("name",), ("mountPath",), ("containerPort", "protocol"), ("port", "protocol"),
    ("topologyKey", "whenUnsatisfiable"), ("uid",), ("ip",),
)  # fmt: skip
"""Keys by which the API server merges lists of objects (x-kubernetes-list-map-keys), most telling first."""

ASSOCIATIVE = frozenset({
    "containers", "env", "ephemeralContainers", "hostAliases", "imagePullSecrets", "initContainers", "ownerReferences",
    "ports", "secrets", "topologySpreadConstraints", "volumeMounts", "volumes",
})  # fmt: skip
"""Lists to which others may add items without touching ours."""

SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal("1e3"),
    "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"), "E": Decimal("1e18"),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip
QUANTITY = re.compile(r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
QUANTITY_MAPS = frozenset({"limits", "requests", "hard", "capacity", "allocatable", "overhead"})
QUANTITY_FIELDS = frozenset({"sizeLimit", "divisor"})


def project(kind: Kind, live: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as the live object has them now. Fields that the inputs leave out are not looked at.

    Raises nothing: a field that is gone is left out of the result, which makes it a difference.
    """
    wanted = plain(inputs)
    if kind.is_a("", "Secret") and "stringData" in wanted:
        return _with_string_data(live, wanted)
    return _project(live, wanted, "", quantity=False)


def adopted(live: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs for an object that is imported: the live object without what the API server fills in."""
    found = {key: value for key, value in live.items() if key != "status"}
    metadata = {key: value for key, value in (live.get("metadata") or {}).items() if key not in SERVER_METADATA}
    return {**found, "metadata": metadata}


def applied(kind: Kind, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The object to send. `stringData` is sent as `data`, as the API server would store it.

    Server-side apply tracks who owns the keys of `data` only when they are sent as such.
    """
    wanted = plain(inputs)
    wanted.pop("status", None)
    if kind.is_a("", "Secret") and "stringData" in wanted:
        wanted["data"] = {**wanted.get("data", {}), **_encoded(wanted.pop("stringData"))}
    return wanted


def _encoded(texts: Mapping[str, Any]) -> dict[str, str]:
    return {key: base64.b64encode(str(text).encode()).decode() for key, text in texts.items()}


def _with_string_data(live: Mapping[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    stored = live.get("data") or {}
    texts = {}
    for key, text in wanted["stringData"].items():
        encoded = _encoded({key: text})[key]
        if key in stored:
            texts[key] = text if stored[key] == encoded else _decoded(stored[key])
    rest = {key: value for key, value in wanted.items() if key != "stringData"}
    return {**_project(live, rest, "", quantity=False), "stringData": texts}


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        return data


def _project(live: Any, wanted: Any, key: str, *, quantity: bool) -> Any:
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        result = {}
        for name, value in wanted.items():
            inner = quantity or key in QUANTITY_MAPS
            if name in live:
                result[name] = _project(live[name], value, name, quantity=inner)
            elif _empty(value):
                # The API server leaves empty fields out of what it returns.
                result[name] = value
        return result
    if isinstance(wanted, list) and isinstance(live, list):
        return _project_list(live, wanted, key)
    if _same(live, wanted, quantity=quantity or key in QUANTITY_FIELDS):
        return wanted
    return live


def _project_list(live: list[Any], wanted: list[Any], key: str) -> list[Any]:
    identity = _identity([*live, *wanted]) if key in ASSOCIATIVE else None
    if identity is None:
        if len(live) != len(wanted):
            return live
        return [_project(item, like, key, quantity=False) for item, like in zip(live, wanted, strict=True)]
    here = {_identify(item, identity): item for item in live}
    pairs = [(here.get(_identify(like, identity)), like) for like in wanted]
    return [_project(item, like, key, quantity=False) for item, like in pairs if item is not None]


def _identity(items: list[Any]) -> tuple[str, ...] | None:
    if not all(isinstance(item, Mapping) for item in items):
        return None
    return next((keys for keys in LIST_KEYS if all(keys[0] in item for item in items)), None)


def _identify(item: Mapping[str, Any], identity: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in identity)


def _empty(value: Any) -> bool:
    return value in (None, False, 0, "", [], {})


def _same(live: Any, wanted: Any, *, quantity: bool) -> bool:
    if live == wanted:
        return isinstance(live, bool) == isinstance(wanted, bool)
    if quantity and isinstance(live, (str, int, float)) and isinstance(wanted, (str, int, float)):
        size = parse_quantity(str(live))
        return size is not None and size == parse_quantity(str(wanted))
    return False


def parse_quantity(text: str) -> Decimal | None:
    """`500m`, `1Gi`, `2e3` as a number; None where the text is no quantity (resource.Quantity of apimachinery)."""
    found = QUANTITY.fullmatch(text)
    return Decimal(found[1]) * SUFFIXES[found[2] or ""] if found else None
