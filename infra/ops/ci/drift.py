"""`make drift STACK=prod`: whether a stack's resources are as its state has them, as a report for an issue.

Exits with 0 where they are, with 4 where they are not, with 1 where nobody could look. The report names resources and
operations and no values: an issue has more readers than an account.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra.ops.errors import ExitCode

CHECKOUT = Path(__file__).resolve().parents[3]
SECONDS = 1800.0
LOOK = ("refresh", "--preview-only", "--json", "--non-interactive", "--stack")
SHOWN = 200
UNCHANGED = frozenset({"same", "read"})


def report(stack: str, output: str, failed: bool) -> tuple[ExitCode, str]:
    """From the answer of `pulumi refresh --preview-only --json`. Pure."""
    marker = f"<!-- penstock drift {stack} -->"
    try:
        steps = json.loads(output)["steps"]
    except (ValueError, KeyError, TypeError):
        steps = None
    if failed or steps is None:
        said = "The refresh failed; the log of the run says why. Nobody knows whether the stack has drifted."
        return ExitCode.FAILURE, f"{marker}\n{said}\n"
    rows = [(row["op"], row["urn"]) for row in steps if row["op"] not in UNCHANGED and _differs(row)]
    if not rows:
        return ExitCode.OK, f"<!-- penstock drift {stack} clean -->\nNo drift in {stack}.\n"
    lines = [marker, f"{len(rows)} resources of {stack} are not as its state has them:", ""]
    for operation, urn in sorted(rows)[:SHOWN]:
        kind, _, name = urn.split("::", 2)[2].rpartition("::")
        lines.append(f"- {operation} `{kind.rpartition('$')[2]}` `{name.replace('`', '')}`")
    if len(rows) > SHOWN:
        lines.append(f"- and {len(rows) - SHOWN} more")
    lines += [
        "",
        f"Look: `pulumi refresh --preview-only --diff --stack {stack}`. Undo it there, or bring it into the code.",
    ]
    return ExitCode.REFUSED, "\n".join(lines) + "\n"


def _differs(row: dict[str, Any]) -> bool:
    """A refresh lists every resource that it read; those whose outputs stay have not drifted."""
    if row["op"] != "refresh":
        return True
    before, after = (row.get(side) or {} for side in ("oldState", "newState"))
    return not after or before.get("outputs") != after.get("outputs")


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: python -m infra.ops.ci.drift STACK FILE", file=sys.stderr)
        return ExitCode.USAGE
    stack, file = sys.argv[1], Path(sys.argv[2])
    command = [sys.executable, "-m", "infra.ops.ci.run_pulumi", *LOOK, stack]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=SECONDS, check=False)
        output, failed, errors = done.stdout, done.returncode != 0, done.stderr
    except subprocess.TimeoutExpired:
        output, failed, errors = "", True, f"pulumi did not end in {SECONDS:.0f} s"
    code, text = report(stack, output, failed)
    if failed:
        print(errors or output[-2000:], file=sys.stderr)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(text.partition("\n")[2], end="")
    return code


if __name__ == "__main__":
    sys.exit(main())
