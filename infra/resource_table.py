"""The resource table: what a program would register, as sorted text that shows a change as a diff of few lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.rehearsal import Registration, Rehearsal, penstock_program, rehearse, stack_config
from infra.settings import NAMESPACE

LIVE_WEIGHTS = {"blue": 100, "green": 0}
SCALARS = (str, int, float, bool, type(None))


def committed_table(path: Path) -> str:
    """The table of a stack file as it is committed for review: with fixed weights, whatever the file says.

    Weights move many times a day, and a shift of traffic is to stay a change of one line in one file.
    """
    stack = path.name.split(".")[1]
    config = stack_config(path)
    key = f"{NAMESPACE}:release"
    release = json.loads(config[key])
    for colour, weight in LIVE_WEIGHTS.items():
        release[colour]["weight"] = weight
    settled = config | {key: json.dumps(release)}
    return render(rehearse(penstock_program(), settled, stack=stack, preview=False), stack)


def render(rehearsal: Rehearsal, stack: str) -> str:
    """One block for each resource: type, name, parent and guards in the first line, then one input a line."""
    blocks = [f"stack {stack}: {len(rehearsal.registrations)} resources\n"]
    for found in rehearsal.registrations:
        lines = [_heading(found), *(f"    {path}: {value}" for path, value in flattened(found.inputs))]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def flattened(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each leaf with its path. Documents inside text (policies, settings) are opened: `policy{}.Statement`."""
    document = _document(value)
    if document is not None:
        value, path = document, path + "{}"
    if isinstance(value, dict) and value:
        for key, each in sorted(value.items()):
            yield from flattened(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and not all(isinstance(each, SCALARS) for each in value):
        for index, each in enumerate(value):
            yield from flattened(each, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def _document(value: Any) -> dict[str, Any] | None:
    """The JSON object in a text; None where there is none."""
    if not (isinstance(value, str) and value.startswith("{")):
        return None
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return None


def _heading(found: Registration) -> str:
    marks = [f"parent={found.parent_name}"]
    if found.protect:
        marks.append("protect")
    if found.retain_on_delete:
        marks.append("retain")
    if found.ignore_changes:
        marks.append(f"ignore={','.join(found.ignore_changes)}")
    return f"{found.type}  {found.name}  {' '.join(marks)}"
