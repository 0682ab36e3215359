"""The order of a diff: find the base, deploy it in record-only mode, preview the head on it, judge, report."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.ops.context import stack_file_of
from infra.ops.diff import kept, money, revisions
from infra.ops.diff.engine import Bench
from infra.ops.diff.report import Report, markdown
from infra.ops.diff.risk import judge
from infra.ops.diff.steps import parse
from infra.ops.errors import PenstockError
from infra.ops.progress import Progress

STACKS = ("dev", "prod")
SHELF = ".penstock/diff"
"""Where recorded bases are kept, in the checkout and ignored by git."""
UPDATE_SECONDS, PREVIEW_SECONDS = 8, 6
"""Measured for prod, 380 resources, on two cores."""


def compared(checkout: Path, asked: str, stacks: Sequence[str], progress: Progress) -> list[Report]:
    """One report a stack. Raises PenstockError, UsageError."""
    from infra.local.toolchain.find import ensure
    from infra.local.toolchain.tools import PULUMI

    base = revisions.find_base(checkout, asked)
    for stack in stacks:
        stack_file_of(checkout, stack)
    toolchain = ensure(progress, tools=(PULUMI,))
    path = toolchain.search_path(os.environ.get("PATH", "/usr/bin:/bin"))
    with tempfile.TemporaryDirectory(prefix="penstock-diff-") as name:
        folder = Path(name)
        revisions.unpack(checkout, base, folder / "base")
        remarks = list(base.remarks)
        if remark := revisions.lock_remark(folder / "base", checkout):
            remarks.append(remark)
        reports = []
        for stack in stacks:
            bench = Bench(folder / stack, toolchain.path("pulumi"), path)
            reports.append(_one(bench, folder / "base", checkout, stack, base, tuple(remarks), progress))
    return reports


def _one(
    bench: Bench,
    before: Path,
    checkout: Path,
    stack: str,
    base: revisions.Base,
    remarks: tuple[str, ...],
    progress: Progress,
) -> Report:
    file = f"Pulumi.{stack}.yaml"
    if not (before / file).is_file():
        raise PenstockError(
            f"{base.asked} ({base.short}) has no {file}: the stack is new, and there is nothing to compare it with.",
            f"Look at all of it with `penstock cost -s {stack}` and `penstock rehearse {stack}`.",
        )
    bench.prepare()
    shelf, name = checkout / SHELF, kept.key(checkout, base.commit, stack)
    if not kept.take(shelf, name, bench.folder):
        with progress.step(f"{stack}: recording {base.asked} ({base.short})", UPDATE_SECONDS):
            bench.update(before, stack, (before / file).read_text(encoding="utf-8"))
        kept.keep(shelf, name, bench.folder)
    with progress.step(f"{stack}: previewing the working tree on it", PREVIEW_SECONDS):
        preview = bench.preview(checkout, stack, (checkout / file).read_text(encoding="utf-8"))
    was, reason = money.figures_of_base(before, stack)
    return Report(
        stack,
        f"{base.asked} ({base.short})",
        tuple(judge(parse(preview))),
        was,
        money.figures(checkout / file),
        (*remarks, *([reason] if reason else [])),
    )


def reviewed(checkout: Path, stack: str, preview: Path, asked: str | None) -> Report:
    """The report of a real preview. `asked`: the revision whose stack file the cost is compared with."""
    file = f"Pulumi.{stack}.yaml"
    try:
        content = json.loads(preview.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PenstockError(f"{preview.name} is not JSON: {error}.", "Write it with `pulumi preview --json`.") from None
    if failed := [each["message"].strip() for each in diagnostics(content) if each.get("severity") == "error"]:
        raise PenstockError(f"The preview failed: {failed[0]}")
    steps = parse(content)
    after = money.figures(checkout / file) if (checkout / file).is_file() else None
    was, remarks = None, []
    if asked is not None:
        base = revisions.find_base(checkout, asked)
        with tempfile.TemporaryDirectory(prefix="penstock-diff-") as name:
            revisions.unpack(checkout, base, Path(name) / "base")
            if (Path(name) / "base" / file).is_file():
                was, reason = money.figures_of_base(Path(name) / "base", stack)
                remarks += [reason] if reason else []
    return Report(stack, "the deployed stack", tuple(judge(steps)), was, after, tuple(remarks))


def diagnostics(content: Any) -> list[dict[str, Any]]:
    return (content.get("diagnostics") or []) if isinstance(content, dict) else []


def as_markdown(reports: Sequence[Report]) -> str:
    return "\n".join(markdown(report) for report in reports)


def as_json(reports: Sequence[Report]) -> str:
    return json.dumps({"reports": [report.as_dict() for report in reports]}, indent=2) + "\n"
