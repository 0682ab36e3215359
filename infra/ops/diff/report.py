"""The report of a diff, in Markdown for a pull request and as plain data for programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.changes import PropertyChange
from infra.ops.diff.kinds import Risk
from infra.ops.diff.money import Figures
from infra.ops.diff.opened import is_open
from infra.ops.diff.risk import Judged
from infra.ops.diff.steps import OPERATIONS

VALUE_CHARACTERS, LEAD_CHARACTERS = 80, 20
SHOWN_PROPERTIES = 12
"""Of one resource; the rest are counted."""
SHOWN_GRANTS = 20
COMMENT_CHARACTERS = 60_000
"""GitHub takes 65,536 in a comment."""
STOPPING = frozenset({Risk.DATA_LOSS, Risk.DOWNTIME, Risk.PERMISSION})
"""Risks that `--exit-code` reports."""
PAST = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted"}


@dataclass(frozen=True)
class Report:
    stack: str
    against: str
    """What it is compared with, for people: `main (1a2b3c4d5)`, or `the deployed stack`."""
    changes: tuple[Judged, ...]
    before: Figures | None = None
    after: Figures | None = None
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {name: sum(each.step.operation == name for each in self.changes) for name in OPERATIONS}

    @property
    def stops(self) -> bool:
        """Whether something may be lost, interrupted or opened."""
        return any(finding.risk in STOPPING for each in self.changes for finding in each.findings)

    def as_dict(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "against": self.against,
            "counts": {PAST[name]: count for name, count in self.counts.items()},
            "changes": [_as_dict(each) for each in self.changes],
            "cost": {
                "before": self.before.as_dict() if self.before else None,
                "after": self.after.as_dict() if self.after else None,
            },
            "remarks": list(self.remarks),
        }


def _as_dict(each: Judged) -> dict[str, Any]:
    step = each.step
    return {
        "operation": step.operation,
        "type": step.type,
        "name": step.name,
        "risk": each.risk.name.lower(),
        "findings": [{"risk": finding.risk.name.lower(), "says": finding.says} for finding in each.findings],
        "replaced_by": list(step.replaced_by),
        "deleted_first": step.deleted_first,
        "protected": step.protected,
        "opens": list(each.access.opened),
        "closes": list(each.access.closed),
        "properties": [{"path": p.path, "old": p.old, "new": p.new} for p in step.properties],
    }


def marker(stack: str) -> str:
    """The first line of a stack's report, by which its comment is found again."""
    return f"<!-- penstock diff {stack} -->"


def markdown(report: Report) -> str:
    """The whole report; where it would not fit a comment, without the properties' values."""
    for details in (SHOWN_PROPERTIES, 0):
        text = "\n".join(_lines(report, details)) + "\n"
        if len(text) <= COMMENT_CHARACTERS:
            return text
    return text[:COMMENT_CHARACTERS] + "\n\n... cut here: ask `penstock diff --json` for the whole.\n"


def _lines(report: Report, details: int) -> Iterator[str]:
    counts = report.counts
    yield marker(report.stack)
    yield f"## {report.stack}: {', '.join(f'{counts[name]} {PAST[name]}' for name in OPERATIONS)}"
    yield ""
    if not report.changes:
        yield f"No change against {report.against}."
    else:
        worst = report.changes[0].risk
        yield f"Against {report.against}. Worst: **{worst.title.lower()}**."
    yield from _money(report)
    yield from _risks(report, details)
    yield from _reach(report.changes)
    if report.remarks:
        yield ""
        yield from (f"> {remark}" for remark in report.remarks)


def _risks(report: Report, details: int) -> Iterator[str]:
    for risk in Risk:
        mine = [each for each in report.changes if each.risk is risk]
        if not mine:
            continue
        yield ""
        folded = risk is Risk.COSMETIC and len(mine) > 5
        if folded:
            yield f"<details><summary>{risk.title} ({len(mine)})</summary>"
        else:
            yield f"### {risk.title} ({len(mine)})"
        yield ""
        for each in mine:
            yield from _change(each, details)
        if folded:
            yield ""
            yield "</details>"


def _change(each: Judged, details: int) -> Iterator[str]:
    step = each.step
    yield f"- **{step.operation}** {_code(step.name)} ({step.kind})"
    for finding in each.findings:
        title = "" if finding.risk is each.risk else f"{finding.risk.title.lower()}: "
        yield f"  - {title}{finding.says}"
    for change in step.properties[:details]:
        if change.old is None and change.new is None:
            yield f"  - {_code(change.path)}: written as null, or no longer written"
            continue
        old, new = _pair(change)
        yield f"  - {_code(change.path)}: {_code(old)} → {_code(new)}"
    if details and len(step.properties) > details:
        yield f"  - and {len(step.properties) - details} properties more"


def _reach(changes: Sequence[Judged]) -> Iterator[str]:
    for title, lists in (
        ("What it opens", [(each, each.access.opened) for each in changes if each.access.opened]),
        ("What it closes", [(each, each.access.closed) for each in changes if each.access.closed]),
    ):
        if not lists:
            continue
        yield ""
        yield f"### {title}"
        yield ""
        for each, texts in lists:
            yield f"- {_code(each.step.name)} ({each.step.kind}, {each.step.operation})"
            for text in texts[:SHOWN_GRANTS]:
                loud = " **(everyone)**" if title == "What it opens" and is_open(text) else ""
                yield f"  - {_code(text)}{loud}"
            if len(texts) > SHOWN_GRANTS:
                yield f"  - and {len(texts) - SHOWN_GRANTS} more"


def _money(report: Report) -> Iterator[str]:
    before, after = report.before, report.after
    if after is None:
        return
    yield ""
    yield "| | before | after | change |"
    yield "|---|---:|---:|---:|"
    rows: list[tuple[str, float | None, float | None]] = [
        ("USD a month", before.month_usd if before else None, after.month_usd),
        ("GPUs of the engines", before.gpus if before else None, after.gpus),
        ("GPUs while both colours run", before.release_gpus if before else None, after.release_gpus),
        ("GPUs of all nodes that may exist", before.room_gpus if before else None, after.room_gpus),
    ]
    nodes = before.nodes if before else {}
    rows += [(f"nodes of {name}", nodes.get(name), count) for name, count in after.nodes.items()]
    rows += [
        (f"USD a month, {part}", before.parts.get(part, 0.0), after.parts.get(part, 0.0))
        for part in (dict.fromkeys([*before.parts, *after.parts]) if before else {})
        if before and before.parts.get(part, 0.0) != after.parts.get(part, 0.0)
    ]
    for title, old, new in rows:
        yield f"| {title} | {_figure(old)} | {_figure(new)} | {_change_of(old, new)} |"
    if after.month_usd > after.budget_usd:
        yield ""
        yield f"More than budget.monthlyUsd, {after.budget_usd:,}."
    if after.unpriced:
        yield ""
        yield f"Without a price, and not in the sum: {', '.join(after.unpriced)}."


def _figure(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _change_of(old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return "?"
    difference = round(new - old, 2)
    if not difference:
        return "0"
    return f"{difference:+,}" if isinstance(new, int) else f"{difference:+,.2f}"


def _pair(change: PropertyChange) -> tuple[str, str]:
    """Both values in short; long ones from where they begin to differ."""
    old, new = _text(change.old), _text(change.new)
    if max(len(old), len(new)) <= VALUE_CHARACTERS:
        return old, new
    same = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    begin = max(0, same - LEAD_CHARACTERS)
    return _cut(old, begin), _cut(new, begin)


def _cut(text: str, begin: int) -> str:
    part = text[begin : begin + VALUE_CHARACTERS]
    return f"{'...' if begin else ''}{part}{'...' if begin + VALUE_CHARACTERS < len(text) else ''}"


def _text(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return " ".join(text.split())


def _code(text: str) -> str:
    """As code; no text of a pull request may end the quotation, mention a person or carry markup."""
    plain = " ".join(text.split())
    fence = "`"
    while fence in plain:
        fence += "`"
    blank = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{blank}{plain}{blank}{fence}"
