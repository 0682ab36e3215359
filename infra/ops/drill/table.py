"""The published table of failures: results in docs/failures.json, the page docs/failures.md made from them."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local.files import write_whole
from infra.ops.drill.catalogue import CATALOGUE
from infra.ops.drill.figures import Result
from infra.ops.errors import PenstockError
from infra.ops.load.retry import USUAL_RETRIES

RESULTS, PAGE = Path("docs", "failures.json"), Path("docs", "failures.md")
HEAD = (
    "drill", "requests", "retried", "failed", "streams", "cut", "resumed",
    "worst stall", "full capacity after", "verdict",
)  # fmt: skip
INTRODUCTION = """\
# What happens when something fails

Made by `penstock drill` from measured results (`docs/failures.json`); `make drills` runs them all and writes this page
anew. What each drill does, and what its columns mean, is in [drills](drills.md).
"""


def record(checkout: Path, found: Result, load: str) -> None:
    """Keeps a drill's latest result and writes the page anew. Raises PenstockError."""
    results = read(checkout)
    results[found.drill] = {
        **found.as_dict(),
        "load": load,
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "commit": commit(checkout),
    }
    ordered = {name: results[name] for name in CATALOGUE if name in results}
    try:
        write_whole(checkout / RESULTS, json.dumps(ordered, indent=2) + "\n")
        write_whole(checkout / PAGE, page(ordered))
    except OSError as problem:
        raise PenstockError(f"{PAGE} cannot be written: {problem.strerror}.") from None


def published(found: Result, load: str, revision: str) -> dict[str, Any]:
    """What the admin API takes of a result."""
    figures = found.as_dict()
    names = ("passed", "missed", "done", "requests", "retried", "failed", "streams", "cut", "resumed", "worst_stall",
             "full_capacity_seconds")  # fmt: skip
    return {name: figures[name] for name in names} | {"load": load, "commit": revision}


def read(checkout: Path) -> dict[str, dict[str, Any]]:
    """Raises PenstockError for a file that is not of results."""
    path = checkout / RESULTS
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise PenstockError(f"{RESULTS} cannot be read: {problem}.") from None


def machine() -> str:
    """Cores and memory: nothing that names the machine."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores, {gib:.0f} GiB"


def commit(checkout: Path) -> str:
    """Empty outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def write_page(checkout: Path) -> None:
    """docs/failures.md from docs/failures.json. Raises PenstockError, OSError."""
    write_whole(checkout / PAGE, page(read(checkout)))


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/failures.md."""
    rows = [row(name, results[name]) for name in CATALOGUE if name in results]
    missing = [name for name in CATALOGUE if name not in results]
    parts = [INTRODUCTION, markdown(HEAD, rows)]
    if missing:
        parts.append(f"Not run yet: {', '.join(missing)}.\n")
    parts += [section(name, results[name]) for name in CATALOGUE if name in results]
    return "\n".join(parts)


def row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (str(found[key]) for key in ("requests", "retried", "failed", "streams", "cut", "resumed"))
    verdict = "held" if found["passed"] else "missed"
    return (name, *numbers, seconds(found["worst_stall"]), seconds(found["full_capacity_seconds"]), verdict)


def section(name: str, found: Mapping[str, Any]) -> str:
    drill = CATALOGUE[name]
    lines = [f"## {name}", "", drill.about, ""]
    lines.append(f"- Done: {escaped(found['done'])}.")
    lines += [
        f"- {'Missed' if aim.words in found['missed'] else 'Held'}: {aim.words} ({told(aim.figure, found)})."
        if aim.figure in found
        else f"- Not asked then: {aim.words}."
        for aim in drill.aims
    ]
    lines.append(f"- Worst stall in the seconds before the fault: {seconds(found['stall_before'])}.")
    if "client_late" in found:
        lines.append(f"- The client itself waited for the machine for {seconds(found['client_late'])} at most.")
    if found["failed"] or found["cut"] or found["retried"]:
        lines.append(f"- Failures: {failures(found)}.")
    if found["degraded"]:
        lines.append(f"- Seen in metrics: {', '.join(f'`{key}` {value}' for key, value in found['degraded'].items())}.")
    lines.append(
        f"- {found['load']}; {found['machine']}, load average {found['load_average']:g}; {found['date']}"
        + (f"; {found['commit']}." if found["commit"] else ".")
    )
    return "\n".join(lines) + "\n"


def failures(found: Mapping[str, Any]) -> str:
    inside = found["failed_in_gateway"]
    where = f"{inside} answered by a gateway, {found['failed'] - inside} by the load balancer or nobody"
    span = f" within {seconds(found['outage_seconds'])}" if found["outage_seconds"] else ""
    more = f" ({found['retried_more']} more than {USUAL_RETRIES} times)" if found.get("retried_more") else ""
    again = f"{found['retried']} sent again by the client{more}, "
    return f"{again}{found['failed']} failed for good ({where}), {found['cut']} streams cut{span}"


def told(figure: str, found: Mapping[str, Any]) -> str:
    value = found.get(figure)
    if value is None:
        return "not measured"
    timed = figure == "worst_stall" or figure.endswith("_seconds")
    return seconds(value) if timed else f"{value:g}"


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").rstrip(".")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    write_page(Path(__file__).resolve().parents[3])
