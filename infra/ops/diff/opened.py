"""What a change opens and closes: policy documents compared by meaning, networks by addresses and ports. Pure.

A wildcard of the new policy counts as covered only by an old pattern that is as wide. What cannot be judged is said to
be opened, with the reason: nothing is taken for harmless because it is not understood.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.ops.diff.steps import SECRET, UNKNOWN, document
from infra.policy.conditions import UnsupportedPolicyError, like
from infra.policy.evaluate import covers_arn, listed, statements

ANYWHERE = ("0.0.0.0/0", "::/0")
ALL_PORTS = (0, 65535)


@dataclass(frozen=True)
class Grant:
    """One action on one resource for one principal, as patterns."""

    principal: str
    """`own` for an identity's policy."""
    action: str
    resource: str
    condition: str
    """Canonical JSON of the condition block; empty for none."""

    def __str__(self) -> str:
        who = "" if self.principal == "own" else f"{self.principal}: "
        when = f" if {self.condition}" if self.condition else ""
        return f"{who}{self.action} on {self.resource}{when}"

    def within(self, other: Grant) -> bool:
        """Whether `other` covers all of this."""
        return (
            (self.principal == other.principal or other.principal in ("*", "AWS *"))
            and like(other.action.lower(), self.action.lower())
            and (self.resource == other.resource or covers_arn(other.resource, self.resource))
            and _as_strict(self.condition, other.condition)
        )


@dataclass(frozen=True)
class Documents:
    """`opened` and `closed` are sentences' parts: `s3:GetObject on arn:...`."""

    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


def policies(old: Any, new: Any) -> Documents:
    """Compares two policies, each a JSON text, an object, or None where there is none."""
    before, after = _read(old), _read(new)
    if before == after and not (isinstance(after, str) and after == UNKNOWN):
        return Documents()
    if isinstance(before, str) or isinstance(after, str):
        return Documents((f"a policy that is {UNKNOWN.strip('[]')}: read it in the code",))
    try:
        allowed = _grants(before, "Allow"), _grants(after, "Allow")
        denied = _grants(before, "Deny"), _grants(after, "Deny")
    except UnsupportedPolicyError as problem:
        return Documents((f"a policy that cannot be judged ({problem}): read it",))
    opened = [
        *_beyond(allowed[1], allowed[0]),
        *(f"no longer denied: {each}" for each in _beyond(denied[0], denied[1])),
    ]
    closed = [*_beyond(allowed[0], allowed[1]), *(f"now denied: {each}" for each in _beyond(denied[1], denied[0]))]
    return Documents(tuple(opened), tuple(closed))


def _beyond(these: list[Grant], those: list[Grant]) -> list[str]:
    return [str(each) for each in dict.fromkeys(these) if not any(each.within(other) for other in those)]


def _read(value: Any) -> Any:
    if value in (None, "", {}):
        return {"Statement": []}
    if isinstance(value, str):
        return document(value) or UNKNOWN
    return value


def _grants(policy: Mapping[str, Any], effect: str) -> list[Grant]:
    found = []
    for statement in statements([policy]):
        if statement["Effect"] != effect:
            continue
        condition = statement.get("Condition") or {}
        when = json.dumps(condition, sort_keys=True) if condition else ""
        actions = listed(statement.get("Action")) or [f"all but {', '.join(sorted(listed(statement['NotAction'])))}"]
        resources = listed(statement.get("Resource"))
        if not resources:
            excepted = listed(statement.get("NotResource"))
            resources = [f"all but {', '.join(sorted(excepted))}"] if excepted else ["itself"]
        for principal in _principals(statement):
            found += [Grant(principal, action, resource, when) for action in actions for resource in resources]
    return found


def _principals(statement: Mapping[str, Any]) -> list[str]:
    named = statement.get("Principal")
    if named is None:
        return ["own"]
    if isinstance(named, str):
        return [named]
    return [f"{kind} {each}" for kind, names in named.items() for each in listed(names)]


def _as_strict(mine: str, theirs: str) -> bool:
    """Whether my condition holds back at least what theirs does: each of their tests is among mine."""
    if not theirs or mine == theirs:
        return True
    if not mine:
        return False
    here, there = json.loads(mine), json.loads(theirs)
    for operator, keys in there.items():
        for key, values in keys.items():
            given = here.get(operator, {}).get(key)
            if given is None:
                return False
            fewer = set(map(str, _many(given))) <= set(map(str, _many(values)))
            more = set(map(str, _many(given))) >= set(map(str, _many(values)))
            if not (more if "Not" in operator else fewer):
                return False
    return True


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Rule:
    """One rule of a security group: who (`cidr` or another group), protocol and ports."""

    source: str
    protocol: str
    ports: tuple[int, int]

    def __str__(self) -> str:
        low, high = self.ports
        ports = "all ports" if self.ports == ALL_PORTS else f"port {low}" if low == high else f"ports {low} to {high}"
        return f"{self.source}, {'any protocol' if self.protocol == '-1' else self.protocol}, {ports}"

    def within(self, other: Rule) -> bool:
        return (
            (self.protocol == other.protocol or other.protocol == "-1")
            and other.ports[0] <= self.ports[0]
            and self.ports[1] <= other.ports[1]
            and inside(self.source, other.source)
        )


def inside(source: str, other: str) -> bool:
    """Whether one address range lies in another; anything but ranges must be the same."""
    try:
        mine, theirs = ipaddress.ip_network(source, strict=False), ipaddress.ip_network(other, strict=False)
    except ValueError:
        return source == other
    return mine.version == theirs.version and mine.subnet_of(theirs)  # ty: ignore[invalid-argument-type]


def group_rules(inputs: Mapping[str, Any]) -> list[Rule]:
    """Rules in a security group's rule resource, or in one of a group's inline blocks."""
    protocol = str(inputs.get("ipProtocol", inputs.get("protocol", "-1")))
    low, high = inputs.get("fromPort"), inputs.get("toPort")
    ports = ALL_PORTS if protocol in ("-1", "all") or low is None or high is None else (int(low), int(high))
    protocol = "-1" if protocol == "all" else protocol
    sources: list[str] = []
    for key in ("cidrIpv4", "cidrIpv6", "referencedSecurityGroupId", "prefixListId"):
        sources += listed(inputs.get(key))
    for key in ("cidrBlocks", "ipv6CidrBlocks", "securityGroups", "prefixListIds"):
        sources += listed(inputs.get(key))
    if inputs.get("self"):
        sources.append("the group itself")
    return [Rule(source, protocol, ports) for source in sources]


def networks(old: Iterable[Rule], new: Iterable[Rule]) -> Documents:
    before, after = list(old), list(new)
    return Documents(
        tuple(str(each) for each in after if not any(each.within(other) for other in before)),
        tuple(str(each) for each in before if not any(each.within(other) for other in after)),
    )


def ranges(old: Iterable[str], new: Iterable[str]) -> Documents:
    """Lists of address ranges."""
    before, after = list(old), list(new)
    return Documents(
        tuple(each for each in after if not any(inside(each, other) for other in before)),
        tuple(each for each in before if not any(inside(each, other) for other in after)),
    )


def cluster_rules(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> Documents:
    """Rules of a Kubernetes Role: verbs on resources."""
    before, after = list(_verbs(old)), list(_verbs(new))

    def beyond(these: list[tuple[str, str]], those: list[tuple[str, str]]) -> tuple[str, ...]:
        return tuple(
            f"{verb} {what}"
            for verb, what in dict.fromkeys(these)
            if not any(v in (verb, "*") and like(w, what) for v, w in those)
        )

    return Documents(beyond(after, before), beyond(before, after))


def _verbs(rules: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        names = rule.get("resourceNames") or [""]
        where = [
            f"{group}/{resource}" if group else resource
            for group in rule.get("apiGroups") or [""]
            for resource in rule.get("resources") or []
        ] + list(rule.get("nonResourceURLs") or [])
        for verb in rule.get("verbs") or []:
            yield from ((verb, f"{what} {name}".strip()) for what in where for name in names)


def network_policy(old: Mapping[str, Any], new: Mapping[str, Any]) -> Documents:
    """Of a Kubernetes NetworkPolicy's `spec`; one that is not there lets everything through."""
    opened: list[str] = []
    closed: list[str] = []
    for direction, word in (("ingress", "from"), ("egress", "to")):
        before, after = _peers(old, direction, word), _peers(new, direction, word)
        opened += [each for each in after if each not in before and "anything" not in " ".join(before)]
        closed += [each for each in before if each not in after and "anything" not in " ".join(after)]
    return Documents(tuple(opened), tuple(closed))


def _peers(spec: Mapping[str, Any], direction: str, word: str) -> list[str]:
    if not spec:
        return [f"{direction} {word} anything"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    if direction.capitalize() not in types:
        return [f"{direction} {word} anything"]
    found = []
    for rule in spec.get(direction) or []:
        ports = ", ".join(f"{p.get('protocol', 'TCP')} {p.get('port', 'any')}" for p in rule.get("ports") or [{}])
        for peer in rule.get(word) or [{}]:
            whom = peer.get("ipBlock", {}).get("cidr") if isinstance(peer.get("ipBlock"), Mapping) else None
            found.append(f"{direction} {word} {whom or json.dumps(peer, sort_keys=True)} ({ports})")
    return found


def is_open(text: str) -> bool:
    """Whether a sentence names the whole internet, or every principal."""
    return any(each in text for each in ANYWHERE) or text.startswith(("*: ", "AWS *: "))


def readable(value: Any) -> bool:
    return value not in (SECRET, UNKNOWN)
