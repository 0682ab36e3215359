"""The report's pictures, drawn by matplotlib. Imported only where a report is asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infra.ops.load.knee import Step
from infra.ops.load.records import Records, Stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"blue": "#2563eb", "green": "#16a34a", "": "#6b7280"}
FAILED = "#dc2626"
MS = 1000.0


def over_rates(steps: Sequence[Step], knee: float | None) -> bytes:
    """PNG: TTFT, gaps between tokens, throughput and failures against the rate, with the knee."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    (first, gaps), (through, failed) = figure.subplots(2, 2)
    rates = [step.rate for step in steps]
    _lines(first, rates, {"p50": [step.ttft_p50 for step in steps], "p95": [step.ttft_p95 for step in steps]})
    first.set(title="Time to first token", ylabel="ms")
    _lines(
        gaps,
        rates,
        {
            "p50": [step.itl_p50 for step in steps],
            "p95": [step.itl_p95 for step in steps],
            "p99": [step.itl_p99 for step in steps],
        },
    )
    gaps.set(title="Between tokens", ylabel="ms")
    through.plot(rates, [step.answered_per_second for step in steps], marker="o", label="answered a second")
    through.plot(rates, rates, linestyle=":", color="#9ca3af", label="offered")
    through.set(title="Throughput", ylabel="requests a second")
    through.legend()
    failed.bar([f"{rate:g}" for rate in rates], [100 * step.failed / max(1, step.sent) for step in steps], color=FAILED)
    failed.set(title="Failed", ylabel="% of the requests", ylim=(0, None))
    for axes in (first, gaps, through):
        axes.set_xlabel("requests a second")
        if knee is not None:
            axes.axvline(knee, color="#f59e0b", linestyle="--", label="knee")
    return _png(figure)


def over_time(records: Records) -> bytes:
    """PNG: answers of each colour and failures in each second, and TTFT of each stream."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    answers, first = figure.subplots(2, 1, sharex=True)
    rows = records.by_second()
    seconds = [row["second"] for row in rows]
    base = [0] * len(rows)
    for colour in ("blue", "green"):
        counts = [row.get(colour, 0) for row in rows]
        answers.bar(seconds, counts, bottom=base, width=1.0, color=COLOURS[colour], label=colour)
        base = [low + count for low, count in zip(base, counts, strict=True)]
    answers.bar(seconds, [row["failed"] for row in rows], bottom=base, width=1.0, color=FAILED, label="failed")
    answers.set(title="Answers by colour", ylabel="a second")
    answers.legend()
    for colour, streams in by_colour(records.streams).items():
        points = [(each.start, each.ttft * MS) for each in streams if each.ttft is not None]
        first.scatter(*zip(*points, strict=True), s=6, color=COLOURS.get(colour, COLOURS[""]), label=colour or "?")
    first.set(title="Time to first token", ylabel="ms", xlabel="seconds into the run", ylim=(0, None))
    return _png(figure)


def side_by_side(records: Records) -> bytes:
    """PNG: for each colour, which share of its streams had their first token, and their end, within a time."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    first, whole = figure.subplots(1, 2)
    for colour, streams in by_colour(records.streams).items():
        shade = COLOURS.get(colour, COLOURS[""])
        times = [each.ttft * MS for each in streams if each.ttft is not None]
        first.ecdf(times, color=shade, label=f"{colour or '?'} ({len(times)})")
        whole.ecdf([each.duration for each in streams], color=shade)
    first.set(title="Time to first token", xlabel="ms", ylabel="share of the streams")
    first.legend()
    whole.set(title="Whole answer", xlabel="s")
    return _png(figure)


def by_colour(streams: Sequence[Stream]) -> dict[str, list[Stream]]:
    """Those that had a first token and ended whole, by the colour that answered."""
    found: dict[str, list[Stream]] = {}
    for each in streams:
        if not each.failure and each.ttft is not None:
            found.setdefault(each.colour, []).append(each)
    return dict(sorted(found.items()))


def _lines(axes: Axes, rates: Sequence[float], series: dict[str, list[float | None]]) -> None:
    for name, values in series.items():
        points = [(rate, value * MS) for rate, value in zip(rates, values, strict=True) if value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_ylim(bottom=0)
    axes.legend()


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
