"""What a rule sees, and how it reads it.

A rule sees inputs in the wire's camelCase. In a preview some values are not known yet; reading such a value raises
pulumi_policy's UnknownValueError, upon which the engine tries the rule again at the update.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pulumi_policy.proxy import UnknownValueError

PRODUCTION_STACKS = ("prod",)

Props = Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """One resource, as a rule sees it."""

    type: str
    props: Props
    stack: str
    name: str = ""
    urn: str = ""
    dependencies: frozenset[str] = frozenset()
    """URNs of what its inputs were made of."""
    protected: bool = False
    """Pulumi refuses to delete it."""

    @property
    def in_production(self) -> bool:
        return self.stack in PRODUCTION_STACKS


class Rule(Protocol):
    """A function over one resource: its name is the policy's name."""

    __name__: str

    def __call__(self, subject: Subject, /) -> Iterator[str]: ...


class StackRule(Protocol):
    """A function over all resources of a stack, for what one resource alone cannot tell."""

    __name__: str

    def __call__(self, subjects: Sequence[Subject], /) -> Iterator[str]: ...


def given(value: Any, path: Sequence[str]) -> bool:
    """Whether a value stands at the path; one that is not known yet does. A list on the way means all its entries."""
    if not path:
        return value not in (None, "")
    try:
        found = value.get(path[0]) if isinstance(value, Mapping) else None
    except UnknownValueError:
        return True
    if isinstance(found, Sequence) and not isinstance(found, str):
        return bool(found) and all(given(each, path[1:]) for each in found)
    return found is not None and given(found, path[1:])


def listed(value: Any) -> list[str]:
    """One or many, as policies write them."""
    return [value] if isinstance(value, str) else list(value or [])


def parsed(value: Any) -> Mapping[str, Any]:
    """A document that is text on the wire; empty where there is none."""
    return json.loads(value) if isinstance(value, str) and value else value or {}


def statements(value: Any) -> list[Mapping[str, Any]]:
    """The statements of a policy document, text or object."""
    found = parsed(value).get("Statement", [])
    return list(found) if isinstance(found, Sequence) else [found]


def grants(value: Any) -> list[Mapping[str, Any]]:
    return [statement for statement in statements(value) if statement.get("Effect") == "Allow"]
