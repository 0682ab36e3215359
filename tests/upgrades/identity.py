"""What a later release must keep of a resource: its URN or an alias, its parent, and the inputs that replace it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.aws.provider.schema import Kind, Property
from infra.local.aws.provider.table import UnknownTypeError, find_row
from infra.local.kubernetes.provider.diff import rules
from infra.local.kubernetes.provider.kinds import parse_token
from infra.local.kubernetes.provider.settings import Settings as ProviderSettings
from infra.local.kubernetes.provider.values import at
from infra.rehearsal import UNKNOWN, Registration

STACK = "pulumi:pulumi:Stack"
BY_CONTENT = {
    "kubernetes:batch/v1:Job": "it runs once; a new one runs in its place",
    "kubernetes:core/v1:ConfigMap": "it is immutable; pods of a new revision read a new one, and the old one goes last",
}
"""Types whose replacement is how they change, with the reason."""


@dataclass(frozen=True)
class Kept:
    """One resource of a release. `chain`: the types from the top down, as in a URN."""

    chain: str
    name: str
    parent: str
    """`chain::name` of the parent; empty at the top."""
    forcing: Mapping[str, Any]
    """Inputs whose change replaces the resource, by path."""

    @property
    def key(self) -> str:
        return f"{self.chain}::{self.name}"

    @property
    def type(self) -> str:
        return self.chain.rsplit("$", 1)[-1]

    def line(self) -> str:
        return "\t".join([self.key, self.parent, json.dumps(self.forcing, sort_keys=True)])

    @classmethod
    def parse(cls, line: str) -> Kept:
        key, parent, forcing = line.split("\t")
        chain, _, name = key.partition("::")
        return cls(chain, name, parent, json.loads(forcing))


def kept(registrations: Iterable[Registration]) -> list[Kept]:
    return sorted(
        (Kept(*_split(each.urn), _key(each.parent), forcing(each)) for each in registrations),
        key=lambda each: each.key,
    )


def broken(old: Iterable[Kept], registrations: Iterable[Registration]) -> list[str]:
    """A sentence for each resource of `old` that this program would delete or replace."""
    found: dict[str, Registration] = {}
    for each in registrations:
        found[_key(each.urn)] = each
        for urn in each.former:
            found.setdefault(_key(urn), each)
    by_urn = {each.urn: each for each in registrations}
    said = []
    for each in old:
        now = found.get(each.key)
        if now is None:
            said.append(f"{each.key} is gone: keep its name, type and parent, or give its successor an alias")
            continue
        above = by_urn.get(now.parent)
        if each.parent not in {_key(now.parent), *(_key(urn) for urn in (above.former if above else ()))}:
            said.append(f"{each.key} has another parent, {_key(now.parent) or 'the stack'}: give it an alias")
        said += [f"{each.key}: {path} changed, which replaces it" for path in _changed(each, now)]
    return said


def _changed(old: Kept, now: Registration) -> list[str]:
    if old.type in BY_CONTENT:
        return []
    fresh = json.loads(json.dumps(forcing(now)))
    return sorted(path for path in {*old.forcing, *fresh} if old.forcing.get(path) != fresh.get(path))


def forcing(registration: Registration) -> dict[str, Any]:
    """By the tables of the local providers, which hold what the real ones replace on."""
    if not registration.custom:
        return {}
    service, _, _ = registration.type.partition(":")
    if service == "aws":
        try:
            return dict(_replacing(find_row(registration.type).fields, registration.inputs))
        except UnknownTypeError:
            return {}
    if service == "kubernetes":
        kind = parse_token(registration.type)
        paths = (rule.path for rule in rules(kind, registration.inputs, ProviderSettings()))
        values = {".".join(path): at(registration.inputs, *path) for path in paths}
        return {path: value for path, value in values.items() if value is not None}
    return {}


def _replacing(fields: Mapping[str, Property], values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        prop = fields.get(name)
        if prop is None or value == UNKNOWN:
            continue
        if prop.replace:
            yield above + name, sorted(value, key=str) if prop.kind is Kind.SET and isinstance(value, list) else value
        elif prop.kind is Kind.BLOCK and isinstance(value, dict):
            yield from _replacing(prop.fields, value, f"{above}{name}.")


def _key(urn: str) -> str:
    return "" if not urn or f"::{STACK}::" in urn else "::".join(_split(urn))


def _split(urn: str) -> tuple[str, str]:
    _, _, chain, name = urn.split("::", 3)
    return chain, name
