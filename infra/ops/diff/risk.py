"""What a change means: every risk of a step with a sentence, and the worst one. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.ops.diff.access import Access, access
from infra.ops.diff.kinds import HOLDS, PRICED, REPLACED_WITHOUT_LOSS, SENSITIVE, SERVES, WORKLOADS, Risk
from infra.ops.diff.steps import Step

BEHIND = ", along with what it depends on"
ORDER = {True: "; the old one goes first", False: "; the new one comes first", None: ""}
OWNERS = ("bucket", "queueUrl", "repository", "secretArn")
"""Properties in which a policy or a setting names what it is for."""
VPC_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"


@dataclass(frozen=True)
class Finding:
    risk: Risk
    says: str


@dataclass(frozen=True)
class Judged:
    """A step with what it means; `findings` are worst first and never empty."""

    step: Step
    findings: tuple[Finding, ...]
    access: Access

    @property
    def risk(self) -> Risk:
        return self.findings[0].risk


def judge(steps: Sequence[Step]) -> list[Judged]:
    """Worst first, then by type and name: the engine's order differs from run to run."""
    judged = []
    gone = {name for step in steps if step.operation == "delete" for name in _names(step)}
    for step in steps:
        reach = Access() if _goes_with_its_owner(step, gone) else access(step)
        found = sorted({*_lost(step), *_stopped(step), *_properties(step), *_opened(reach), *_priced(step)}, key=_order)
        judged.append(Judged(step, tuple(found or [Finding(Risk.COSMETIC, _harmless(step))]), reach))
    return sorted(judged, key=lambda each: (each.risk, each.step.type, each.step.name))


def _names(step: Step) -> Iterator[str]:
    """What others write to name it: the id, and the physical name of a bucket, which they may know alone."""
    yield from (str(name) for name in (step.identifier, step.old.get("bucket")) if name and step.type in HOLDS)


def _goes_with_its_owner(step: Step, gone: set[str]) -> bool:
    """A policy or a block of something that is deleted itself: nothing is left to be opened."""
    owner = next((str(step.old[key]) for key in OWNERS if step.old.get(key)), None)
    return step.operation == "delete" and owner in gone


def _order(finding: Finding) -> tuple[int, str]:
    return finding.risk, finding.says


def _lost(step: Step) -> Iterator[Finding]:
    held = HOLDS.get(step.type)
    if not held or step.operation not in ("delete", "replace"):
        return
    if step.operation == "replace" and step.type in REPLACED_WITHOUT_LOSS:
        return
    if step.retained:
        yield Finding(Risk.DOWNTIME, f"it stays in the account, outside of the stack, with {held}")
        return
    guard = "; it is protected: the update is refused until `protected` is taken off" if step.protected else ""
    yield Finding(Risk.DATA_LOSS, f"gone: {held}{guard}")


def _stopped(step: Step) -> Iterator[Finding]:
    """Where the thing is missing for a while, or for good; and all other replacements."""
    what = SERVES.get(step.type)
    if step.operation == "delete" and what:
        yield Finding(Risk.DOWNTIME, f"gone: {what}")
    if step.operation == "replace":
        because = f", because of {', '.join(f'`{path}`' for path in step.replaced_by)}" if step.replaced_by else ""
        if step.dragged:
            because += ", which follows what it depends on" if because else BEHIND
        if what and step.deleted_first:
            yield Finding(Risk.DOWNTIME, f"missing until the new one is there: {what}{because}")
        elif what and step.type in WORKLOADS:
            yield Finding(Risk.DOWNTIME, f"new object, new pods, none of the old{because}")
        else:
            yield Finding(Risk.REPLACEMENT, f"replaced{because}{ORDER[step.deleted_first]}")


def _properties(step: Step) -> Iterator[Finding]:
    if step.operation not in ("update", "replace"):
        return
    for rule in SENSITIVE:
        if not fnmatch.fnmatchcase(step.type, rule.type):
            continue
        for change in step.properties:
            matched = re.match(rule.path, change.path)
            if _is_tag(change.path) or not matched:
                continue
            if rule.when(change.old, change.new):
                path = matched.group() if rule.path and "(?!" not in rule.path else change.path
                yield Finding(rule.risk, f"`{path.rstrip('.')}`: {rule.says}")
                break


def _is_tag(path: str) -> bool:
    return path.startswith(("tags", "metadata.labels", "metadata.annotations"))


def _opened(reach: Access) -> Iterator[Finding]:
    if reach.opened:
        yield Finding(Risk.PERMISSION, f"opens {len(reach.opened)} that was closed: see below")
    if reach.closed and reach.network:
        yield Finding(Risk.TRAFFIC, f"closes {len(reach.closed)} that was open: see below")


def _priced(step: Step) -> Iterator[Finding]:
    priced = step.type in PRICED or (
        step.type == VPC_ENDPOINT and (step.new or step.old).get("vpcEndpointType") == "Interface"
    )
    if priced and step.operation == "create":
        yield Finding(Risk.COST, "paid for from now on")
    if priced and step.operation == "delete":
        yield Finding(Risk.COST, "paid for no longer")


def _harmless(step: Step) -> str:
    if step.operation == "create":
        return "new"
    if step.operation == "delete":
        return "nothing is known to depend on it"
    return "changed in place"
