"""A record for people: Markdown for a review, HTML for a browser."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.ops.errors import PenstockError

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #8888;padding:.3rem .6rem;"
    "text-align:left}.bad{color:#c22;font-weight:600}.good{color:#283}"
)


def rows_of(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of the figures, in the order of HEADER."""
    return [
        (
            figure["name"],
            figure["metric"],
            number(figure["value"]),
            f"{number(figure['low'])} to {number(figure['high'])}",
            number(figure["limit"]),
            str(figure["samples"]),
            "yes" if figure["passed"] else "no",
        )
        for figure in record["figures"]
    ]


HEADER = ("task", "metric", "value", "surely", "limit", "samples", "good")


def number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    engine, spent = record.get("engine") or {}, record["spent"]
    compared = record.get("compared_with")
    return [
        ("version", f"{record['model']} {record.get('version') or 'not of the registry'}"),
        ("where", f"{record.get('stack', '')} {record.get('colour', '')}".strip() or str(record.get("url", ""))),
        ("engine", " ".join(str(engine[key]) for key in ("kind", "image", "quantisation") if engine.get(key))),
        ("suite", f"{record['suite']['name']}, {record['suite']['digest'][:12]}"),
        ("asked", f"{spent['requests']} samples, {spent['tokens']} tokens, {spent['usd']:.4f} USD"),
        ("took", f"{spent['seconds']:.0f} s"),
        ("compared with", f"{compared['version'][:19]} of {compared['ended_at']}" if compared else "nothing"),
        ("ended", str(record["ended_at"])),
    ]  # fmt: skip


def markdown(record: Mapping[str, Any]) -> str:
    lines = [f"# {record['model']}: {record['verdict']}", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in facts(record)]
    if record["reasons"]:
        lines += ["", "Not good enough:", "", *(f"- {_cell(reason)}" for reason in record["reasons"])]
    lines += ["", f"Bounds hold with {record['confidence_percent']} % each.", "", *_table(HEADER, rows_of(record))]
    if pairs := _pairs(record):
        lines += ["", "Against the version in production, on the same samples:", "", *_table(PAIRS, pairs)]
    if bad := _bad(record):
        lines += ["", f"Samples that were not right (the first {len(bad)}):", "", *_table(BAD, bad)]
    return "\n".join(lines) + "\n"


PAIRS = ("task", "difference", "surely", "better", "worse", "p")
BAD = ("task", "sample", "score", "answer or failure")


def _pairs(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            pair["task"],
            f"{pair['difference']:+.3f}",
            f"{pair['low']:+.3f} to {pair['high']:+.3f}",
            str(pair["better"]),
            str(pair["worse"]),
            f"{pair['p']:.3f}",
        )
        for pair in record["comparisons"]
        if pair["samples"]
    ]


def _bad(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (one["task"], one["sample"], number(one["score"]), one["failure"] or one["answer"])
        for one in record["failed_samples"][:20]
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return [*lines, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)]


def _cell(text: str) -> str:
    """An answer must not break the table or the page: it is a model's text."""
    return html.escape(" ".join(str(text).split()), quote=False).replace("|", "\\|").replace("`", "'")


def page(record: Mapping[str, Any]) -> str:
    """One file without outside assets."""

    def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    good = "good" if record["verdict"] == "passed" else "bad"
    title = html.escape(f"{record['model']}: {record['verdict']}")
    parts = [f"<h1 class={good}>{title}</h1>", table(("", ""), facts(record))]
    if record["reasons"]:
        parts.append("<h2>Not good enough</h2><ul>")
        parts += [f"<li>{html.escape(reason)}</li>" for reason in record["reasons"]]
        parts.append("</ul>")
    parts += [f"<h2>Figures, {record['confidence_percent']} % each</h2>", table(HEADER, rows_of(record))]
    if pairs := _pairs(record):
        parts += ["<h2>Against the version in production</h2>", table(PAIRS, pairs)]
    if bad := _bad(record):
        parts += ["<h2>Samples that were not right</h2>", table(BAD, bad)]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "".join(parts)
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def write(record: Mapping[str, Any], path: Path) -> None:
    """By the ending: .html, .json, or Markdown. Raises PenstockError."""
    import json

    text = {".html": page, ".json": lambda content: json.dumps(content, indent=2) + "\n"}.get(path.suffix, markdown)(
        record
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PenstockError(f"{path} cannot be written: {error.strerror or error}.") from None
