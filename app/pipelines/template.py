"""Templates: text with holes such as {{input}}. Each hole is filled once; what fills it is never looked at again. Pure.

No expressions, no loops, no attributes: whatever a document, a user or another service puts into a value stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

MOST_CHARACTERS = 400_000
"""Of one filled template."""
INPUT, SYSTEM = "input", "system"
OWN = (INPUT, SYSTEM)
"""What each pipeline has: the last message of the user, and the client's own system message."""

_HOLE = re.compile(r"\{\{([^{}]*)\}\}")
_NAME = re.compile(r"\s*([a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?)\s*")


class TooLongError(ValueError):
    """A filled template is longer than MOST_CHARACTERS."""


def names(template: str) -> Iterator[str]:
    """The names in the holes. Raises ValueError for braces that are no hole."""
    for hole in _HOLE.finditer(template):
        found = _NAME.fullmatch(hole[1])
        if found is None:
            raise ValueError(f"{hole[0][:80]} is no hole: between the braces stands a name, as in {{{{input}}}}")
        yield found[1]
    rest = _HOLE.sub("", template)
    if "{{" in rest or "}}" in rest:
        raise ValueError("two braces begin or end a hole, as in {{input}}, and here they do not")


def fill(template: str, values: Mapping[str, str]) -> str:
    """A name that has no value, such as that of a step that did not run, leaves nothing. Raises TooLongError."""
    size = len(template) + sum(len(values.get(hole[1].strip(), "")) for hole in _HOLE.finditer(template))
    if size > MOST_CHARACTERS + len(template):
        raise TooLongError(f"a text of {size} characters is too long; allowed: {MOST_CHARACTERS}")
    return _HOLE.sub(lambda hole: values.get(hole[1].strip(), ""), template)
