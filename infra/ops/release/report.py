"""What a rollback leaves behind: a report for people and one for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.files import write_whole
from infra.ops.release.machine import Release, other


def breach(
    release: Release, reason: str, details: Mapping[str, Any], counts: Mapping[str, int], seconds: float
) -> dict[str, Any]:
    """`counts`: all that the colour answered in the step, up to the moment in which it had no traffic any more."""
    return {
        "release": release.identifier,
        "colour": release.colour,
        "step_percent": release.step,
        "back_to": other(release.colour),
        "reason": reason,
        "weight_back_seconds": round(seconds, 3),
        "seen": dict(counts),
        "verdict": details.get("verdict"),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def markdown(report: Mapping[str, Any]) -> str:
    seen = report["seen"]
    rows = "".join(
        f"| {one['rule']} | {one['state']} | {one['reason']} |\n"
        for one in (report["verdict"] or {}).get("findings", [])
    )
    return (
        f"# Release {report['release']} was taken back\n\n"
        f"{report['at']}: {report['colour']} had {report['step_percent']} % of the traffic. {report['reason']}.\n\n"
        f"- The traffic was back at {report['back_to']} {report['weight_back_seconds']:.2f} s after the scrape that "
        "showed it.\n"
        f"- In this step {report['colour']} answered {seen.get('requests', 0)} requests, {seen.get('failed', 0)} of "
        f"them failed, and {seen.get('streams', 0)} streams.\n\n"
        "| rule | state | new colour against live colour |\n|---|---|---|\n" + rows
    )


def write(folder: Path, report: Mapping[str, Any]) -> Path:
    """Writes NAME.json and NAME.md and returns the latter's path."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"rollback-{report['release']}"
    write_whole(folder / f"{name}.json", json.dumps(report, indent=2) + "\n")
    write_whole(folder / f"{name}.md", markdown(report))
    return folder / f"{name}.md"
