"""A report of a load run: one HTML page that needs nothing beside it, and its pictures as PNG files."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.ops.errors import PenstockError
from infra.ops.load.knee import Step, knee, knee_in_words
from infra.ops.load.records import Records, percentile

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#111}"
    "img{max-width:100%}table{border-collapse:collapse;display:block;overflow-x:auto}"
    "td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child{text-align:left}"
    ".bad{color:#b91c1c}"
)


@dataclass(frozen=True)
class Told:
    """What a report tells of: when, where and what was sent, as pairs of words."""

    title: str
    facts: Mapping[str, str]


def write(folder: Path, told: Told, records: Records, steps: Sequence[Step] = ()) -> Path:
    """Writes `report.html`, the pictures and `report.json` into the folder, which may exist; returns the page's path.
    Raises PenstockError where it cannot."""
    from infra.ops.load import plots

    pictures: dict[str, bytes] = {}
    if steps:
        pictures["rates"] = plots.over_rates(told.title, steps, knee(steps))
    pictures["seconds"] = plots.over_time(_of_last(told.title, steps), records)
    if plots.by_colour(records.streams):
        pictures["colours"] = plots.side_by_side(_of_last(told.title, steps), records)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            (folder / f"{name}.png").write_bytes(content)
        (folder / "report.json").write_text(json.dumps(data(told, records, steps), indent=1) + "\n")
        path = folder / "report.html"
        path.write_text(page(told, records, steps, pictures), encoding="utf-8")
    except OSError as problem:
        raise PenstockError(f"The report cannot be written: {problem}", "Name another folder with --report.") from None
    return path


def data(told: Told, records: Records, steps: Sequence[Step]) -> dict[str, Any]:
    swept = {"steps": [step.as_dict() for step in steps], "knee": knee(steps)} if steps else {}
    return {"title": told.title, "facts": dict(told.facts), **records.figures().as_dict(), **swept}


def page(told: Told, records: Records, steps: Sequence[Step], pictures: Mapping[str, bytes]) -> str:
    figures = records.figures()
    parts = [f"<h1>{html.escape(told.title)}</h1>", _table(("", ""), list(told.facts.items()))]
    if steps:
        end = html.escape(knee_in_words(steps))
        parts += [f"<h2>Over rates</h2><p><b>{end}</b>.</p>", _picture("rates", pictures), _steps(steps)]
    parts += [f"<h2>{html.escape(_of_last('Over time', steps))}</h2>", _picture("seconds", pictures)]
    if "colours" in pictures:
        parts += ["<h2>Colours side by side</h2>", _picture("colours", pictures), _colours(records)]
    parts.append("<h2>Failures</h2>")
    if figures.reasons:
        rows = [(str(count), reason) for reason, count in figures.reasons.items()]
        parts.append(f'<div class="bad">{_table(("times", "reason"), rows)}</div>')
    else:
        parts.append(f"<p>None of {figures.requests + figures.streams}.</p>")
    head = f'<meta charset="utf-8"><title>{html.escape(told.title)}</title><style>{STYLE}</style>'
    wide = '<meta name="viewport" content="width=device-width">'
    return f'<!doctype html><html lang="en"><head>{head}{wide}</head><body>{"".join(parts)}</body></html>\n'


def _of_last(title: str, steps: Sequence[Step]) -> str:
    """The records of a sweep are those of its last rate."""
    return f"{title}, {steps[-1].rate:g} requests a second" if steps else title


def _picture(name: str, pictures: Mapping[str, bytes]) -> str:
    content = base64.b64encode(pictures[name]).decode("ascii")
    return f'<p><img alt="{name}; the figures are in the tables" src="data:image/png;base64,{content}"></p>'


def _steps(steps: Sequence[Step]) -> str:
    head = ("rate", "sent", "failed", "answered/s", "tokens/s", "TTFT p50", "TTFT p95", "ITL p50", "ITL p95", "ITL p99")
    rows = [
        (
            f"{step.rate:g}",
            str(step.sent),
            str(step.failed),
            f"{step.answered_per_second:.1f}",
            f"{step.tokens_per_second:.0f}",
            *(_ms(value) for value in (step.ttft_p50, step.ttft_p95, step.itl_p50, step.itl_p95, step.itl_p99)),
        )
        for step in steps
    ]
    return _table(head, rows)


def _colours(records: Records) -> str:
    from infra.ops.load.plots import by_colour

    rows = []
    for colour, streams in by_colour(records.streams).items():
        first = [each.ttft for each in streams if each.ttft is not None]
        gaps = records.gaps.get(colour)
        rows.append(
            (
                colour or "not named",
                str(len(streams)),
                _ms(percentile(first, 50)),
                _ms(percentile(first, 95)),
                _ms(gaps.percentile(50) if gaps else None),
                _ms(gaps.percentile(99) if gaps else None),
                _ms(gaps.largest if gaps else None),
            )
        )
    return _table(("colour", "streams", "TTFT p50", "TTFT p95", "ITL p50", "ITL p99", "worst stall"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"
