"""Reports of usage from the gateway's ledger, and how they are printed."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from infra.ops.endpoint import Endpoint, GatewayError, normalised, request
from infra.ops.errors import NotRunningError, UsageError
from infra.ops.tables import table

PATH = "/admin/v1/usage"
READ_SECONDS = 30.0
"""A gateway ends a report after 20 s."""
SUMS = ("requests", "failed", "input_tokens", "output_tokens", "cached_tokens", "cost_usd")


@dataclass(frozen=True)
class Report:
    since: str
    until: str
    by: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    truncated: bool
    """The gateway has more rows than it was asked for."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "since": self.since,
            "until": self.until,
            "by": list(self.by),
            "rows": [dict(row) for row in self.rows],
            "truncated": self.truncated,
        }


def admin_of(outputs: Mapping[str, Any]) -> Endpoint:
    """The gateway with its admin's key. Raises NotRunningError where the stack has none."""
    missing = [name for name in ("gatewayUrl", "adminKey") if not outputs.get(name)]
    if missing:
        raise NotRunningError(f"The stack has no output {' or '.join(missing)}.", "Deploy it anew (`penstock up`).")
    return Endpoint(normalised(outputs["gatewayUrl"]), outputs["adminKey"])


def day_of(text: str, today: dt.date) -> dt.date:
    """`2026-11-01`, or `7d`: so many days before today. Raises UsageError."""
    if found := re.fullmatch(r"([0-9]{1,4})d", text):
        return today - dt.timedelta(days=int(found[1]))
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a day.", "Write 2026-11-01, or 7d for a week ago.") from None


def ask(endpoint: Endpoint, since: dt.date | None, until: dt.date | None, by: Sequence[str], limit: int) -> Report:
    """Raises GatewayError, with the gateway's own words where it refuses."""
    query: dict[str, str] = {"by": ",".join(by), "limit": str(limit)}
    query |= {name: day.isoformat() for name, day in (("since", since), ("until", until)) if day is not None}
    with request(endpoint, "GET", f"{PATH}?{urllib.parse.urlencode(query)}", read_seconds=READ_SECONDS) as response:
        try:
            content = json.loads(response.read())
            return Report(
                content["since"],
                content["until"],
                tuple(content["by"]),
                tuple(content["rows"]),
                content["truncated"],
            )
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            raise GatewayError(f"The gateway's report cannot be read: {error!r}.") from None


def as_csv(report: Report) -> str:
    """One line for each row, with a header. Names come from clients: none can begin a formula."""
    columns = [*report.by, *(key for key in (report.rows[0] if report.rows else SUMS) if key not in report.by)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(row.get(column)) for column in columns] for row in report.rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    """A spreadsheet runs what begins so; an apostrophe makes it text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_text(report: Report) -> str:
    """A table with the sum below it."""
    header = [*report.by, "requests", "failed", "input", "output", "cached", "USD"]
    rows: list[list[object]] = [
        [*(_shown(row.get(group)) for group in report.by), *(row[name] for name in SUMS[:-1]), f"{row['cost_usd']:.4f}"]
        for row in report.rows
    ]
    lines = [f"usage {report.since} to {report.until} (UTC), tokens", ""]
    lines += table(header, rows, indent="") if rows else ["no requests"]
    if len(rows) > 1:
        sums = {name: sum(row[name] for row in report.rows) for name in SUMS}
        lines += ["", f"sum: {sums['requests']} requests, {sums['input_tokens']} input and {sums['output_tokens']} "]
        lines[-1] += f"output tokens, {sums['cost_usd']:.4f} USD"
    if report.truncated:
        lines += ["", "There are more rows: the dearest are shown. Ask for more by --limit."]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
