"""A life cycle: inputs of a resource type as Penstock gives them, and a change that must not replace it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.unit.aws_provider import world as worlds

Values = dict[str, Any]


def policy(*actions: str, resource: str = "*", principal: str = "") -> str:
    statement: Values = {"Sid": "One", "Effect": "Allow", "Action": list(actions), "Resource": resource}
    if principal:
        statement["Principal"] = {"AWS": principal}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=1)


@dataclass(frozen=True)
class Case:
    """`inputs` for a World; `change`: inputs to update in place with (none where AWS has nothing to change);
    `gone`: whether a deletion leaves nothing."""

    kind: str
    inputs: Callable[[worlds.World], Values]
    change: Callable[[worlds.World], Values] | None = None
    gone: bool = True
