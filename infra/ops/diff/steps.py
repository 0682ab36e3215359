"""A preview's steps in plain data: `pulumi preview --json` in, one change a resource out, without any secret. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.wire import SECRET as SECRET_MARK
from infra.local.wire import SIGNATURE, UNKNOWN_TEXTS
from infra.ops.changes import PARTS_OF_REPLACEMENT, UNCHANGED, PropertyChange, differences
from infra.ops.errors import PenstockError

SECRET, UNKNOWN = "[secret]", "[known after the update]"
SENSITIVE = re.compile(r"password|secretstring|secretbinary|authtoken|privatekey|certificatebody", re.IGNORECASE)
"""Property names whose values are hidden whether or not the program marked them."""
SECRET_OBJECT, SECRET_CONTENT = "kubernetes:core/v1:Secret", ("data", "stringData")
OPERATIONS = ("create", "update", "replace", "delete")
_OTHER_OPERATIONS = {"import": "create", "import-replacement": "replace"}


@dataclass(frozen=True)
class Step:
    """What happens to one resource. `old` and `new` are its inputs in camelCase, empty where it is not there."""

    operation: str
    """One of OPERATIONS."""
    type: str
    name: str
    properties: tuple[PropertyChange, ...] = ()
    replaced_by: tuple[str, ...] = ()
    """Paths of the properties that make it a replacement."""
    dragged: bool = False
    """Replaced only because something that it depends on goes first."""
    deleted_first: bool | None = None
    """Of a replacement: the old one goes before the new one comes. None where the preview does not tell."""
    protected: bool = False
    identifier: str = ""
    """The old one's id in the cloud; empty for what is new."""
    retained: bool = False
    """Taken out of the stack and left in the cloud, where it would be deleted."""
    old: Mapping[str, Any] = field(default_factory=dict)
    new: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`Instance` of `aws:rds/instance:Instance`."""
        return self.type.rsplit(":", 1)[-1]

    def changed(self, pattern: str) -> list[PropertyChange]:
        """Changed properties whose path matches the pattern from its beginning."""
        return [each for each in self.properties if re.match(pattern, each.path)]


def parse(preview: Mapping[str, Any]) -> list[Step]:
    """Changes of resources, in the engine's order; components are left out. Raises PenstockError for other JSON."""
    rows = preview.get("steps") if isinstance(preview, Mapping) else None
    if not isinstance(rows, list):
        raise PenstockError("That is not the JSON of `pulumi preview --json`: it has no list `steps`.")
    order: dict[str, list[str]] = {}
    reasons: dict[str, list[str]] = {}
    for row in rows:
        order.setdefault(row["urn"], []).append(row["op"])
        reasons.setdefault(row["urn"], []).extend(row.get("replaceReasons") or [])
    found = []
    for row in rows:
        operation = row["op"]
        if operation in UNCHANGED or (operation in PARTS_OF_REPLACEMENT and "replace" in order[row["urn"]]):
            continue
        if operation == "delete-replaced" and "create-replacement" in order[row["urn"]]:
            continue
        operation = "replace" if operation in PARTS_OF_REPLACEMENT else _OTHER_OPERATIONS.get(operation, operation)
        sides = [row.get("oldState") or {}, row.get("newState") or {}]
        if operation not in OPERATIONS or not any(side.get("custom") for side in sides):
            continue
        found.append(_step(row, operation, sides[0], sides[1], order[row["urn"]], reasons[row["urn"]]))
    return found


def _step(
    row: Mapping[str, Any],
    operation: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    order: list[str],
    reasons: list[str],
) -> Step:
    kind = str(after.get("type") or before["type"])
    old = hidden(kind, before.get("inputs") or {})
    new = {} if operation == "delete" else hidden(kind, after.get("inputs") or {})
    detailed = row.get("detailedDiff") or {}
    properties: tuple[PropertyChange, ...] = ()
    if operation in ("update", "replace"):
        properties = tuple(_leaves(old, new))
        properties += tuple(_unseen(detailed, properties))
    replaced_by = [path for path, each in detailed.items() if each.get("kind", "").endswith("-replace")]
    return Step(
        operation,
        kind,
        str(row["urn"]).rsplit("::", 1)[-1],
        properties,
        tuple(dict.fromkeys(replaced_by or reasons)),
        operation == "replace" and not detailed and not row.get("replaceReasons"),
        _deleted_first(order),
        bool(before.get("protect")),
        str(before.get("id") or ""),
        bool(before.get("retainOnDelete")),
        old if before else {},
        new,
    )


def _deleted_first(order: list[str]) -> bool | None:
    if not {"delete-replaced", "create-replacement"} <= set(order):
        return None
    return order.index("delete-replaced") < order.index("create-replacement")


def _unseen(detailed: Mapping[str, Any], seen: tuple[PropertyChange, ...]) -> Iterator[PropertyChange]:
    """What the provider says differs and the inputs do not show: secrets."""
    known = [_normal(each.path) for each in seen]
    for path in detailed:
        mine = _normal(path)
        if not any(each.startswith(mine) or mine.startswith(each) for each in known):
            yield PropertyChange(path, SECRET, SECRET)


def _normal(path: str) -> str:
    """`data["a.json"]` as `data.a.json`, the way differences are written."""
    return re.sub(r'\["([^"]*)"\]', r".\1", path)


def _leaves(old: Any, new: Any) -> Iterator[PropertyChange]:
    """Differences, with JSON texts taken apart."""
    for each in differences(old, new):
        before, after = document(each.old), document(each.new)
        if before is None or after is None:
            yield each
        else:
            for inner in differences(before, after):
                yield PropertyChange(f"{each.path} / {inner.path}", inner.old, inner.new)


def document(value: Any) -> Any:
    """The content of a text that is a JSON object or list; None for any other value."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def hidden(kind: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs without secrets, without placeholders and without the engine's own keys."""
    plain = _plain(inputs)
    if kind == SECRET_OBJECT:
        for part in SECRET_CONTENT:
            if part in plain:
                plain[part] = dict.fromkeys(plain[part], SECRET) if isinstance(plain[part], dict) else SECRET
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get(SIGNATURE) == SECRET_MARK:
            return SECRET
        return {
            key: SECRET if SENSITIVE.search(key) and isinstance(each, str) else _plain(each)
            for key, each in value.items()
            if not key.startswith("__")
        }
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str) and any(text in value for text in UNKNOWN_TEXTS):
        return UNKNOWN
    return value
