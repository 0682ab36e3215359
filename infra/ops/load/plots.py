"""The report's pictures, drawn by matplotlib. Imported only where a report is asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infra.ops.load.buckets import Buckets
from infra.ops.load.knee import Step, knee_in_words, reached
from infra.ops.load.records import Records, Stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"blue": "#2563eb", "green": "#16a34a", "": "#6b7280"}
FAILED, KNEE, FAINT, DIM = "#dc2626", "#b45309", "#9ca3af", "#4b5563"
SHADES = {"p50": "#1e3a8a", "p95": "#0d9488", "p99": "#9333ea"}
MS = 1000.0
HEADROOM = 1.25
"""Above the highest point, where the legend stands."""
CROWDED = 0.2
"""Of the highest rate: below it there is no room for words beside the points."""
LEAST_FAILED_PERCENT = 5.0
"""The scale of failures ends there or higher, so that few do not look like many."""


def over_rates(title: str, steps: Sequence[Step], knee: float | None) -> bytes:
    """PNG: TTFT, gaps between tokens, throughput and failures against the rate, with the knee."""
    figure = _figure(f"{title}: {knee_in_words(steps)}", 8)
    (first, gaps), (through, failed) = figure.subplots(2, 2)
    rates = [step.rate for step in steps]
    _lines(first, rates, {"p50": [step.ttft_p50 for step in steps], "p95": [step.ttft_p95 for step in steps]})
    first.set(title="Time to first token", ylabel="ms")
    itl = {
        "p50": [step.itl_p50 for step in steps],
        "p95": [step.itl_p95 for step in steps],
        "p99": [step.itl_p99 for step in steps],
    }
    _lines(gaps, rates, itl)
    gaps.set(title="Between tokens", ylabel="ms")
    through.plot(rates, rates, linestyle=":", color=FAINT, label="offered")
    answered = [step.answered_per_second for step in steps]
    through.plot(rates, answered, marker="o", color=SHADES["p50"], label="answered")
    for step in steps:
        if step.rate < CROWDED * max(rates):
            continue
        through.annotate(
            f"{step.tokens_per_second:.0f} tokens/s", (step.rate, step.answered_per_second), fontsize=8, color=DIM,
            xytext=(8, -8), textcoords="offset points",
        )  # fmt: skip
    through.set(title="Throughput", ylabel="requests a second")
    _legend(through, max([*rates, *answered]))
    shares = [100 * step.failed / max(1, step.sent) for step in steps]
    failed.plot(rates, shares, marker="o", color=FAILED)
    for step, share in zip(steps, shares, strict=True):
        if step.failed:
            failed.annotate(
                f"{step.failed} of {step.sent}", (step.rate, share), fontsize=8, ha="center",
                xytext=(0, 6), textcoords="offset points",
            )  # fmt: skip
    if not any(shares):
        sent = sum(step.sent for step in steps)
        failed.text(0.75, 0.5, f"none of {sent}", transform=failed.transAxes, ha="center", color=DIM)
    failed.set(title="Failed", ylabel="% of the requests", ylim=(0, HEADROOM * max(LEAST_FAILED_PERCENT, *shares)))
    for axes in (first, gaps, through, failed):
        axes.set_xlabel("requests a second")
        axes.set_xlim(0, 1.2 * max(rates))
        if knee is not None and reached(steps):
            axes.axvline(knee, color=KNEE, linestyle="--")
            axes.annotate(
                "knee", (knee, 0.8), xycoords=("data", "axes fraction"), color=KNEE, xytext=(4, 0),
                textcoords="offset points",
            )  # fmt: skip
    return _png(figure)


def over_time(title: str, records: Records) -> bytes:
    """PNG: answers of each colour and failures in each second, and TTFT of each stream."""
    figure = _figure(title, 6.5)
    answers, first = figure.subplots(2, 1, sharex=True)
    rows = records.by_second()
    seconds = [row["second"] for row in rows]
    base = [0] * len(rows)
    shown = {"blue": COLOURS["blue"], "green": COLOURS["green"], "failed": FAILED}
    for name, shade in shown.items():
        counts = [row.get(name, 0) for row in rows]
        if any(counts):
            answers.bar(seconds, counts, bottom=base, width=0.9, align="edge", color=shade, label=name)
            base = [low + count for low, count in zip(base, counts, strict=True)]
    answers.set(title="Answers by colour", ylabel="a second")
    _legend(answers, max(base, default=0))
    most = 0.0
    for colour, streams in by_colour(records.streams).items():
        points = [(each.start, each.ttft * MS) for each in streams if each.ttft is not None]
        first.scatter(*zip(*points, strict=True), s=6, color=COLOURS.get(colour, COLOURS[""]), label=colour or "?")
        most = max(most, *(point for _, point in points))
    first.set(title="Time to first token of each stream", ylabel="ms", xlabel="seconds into the run")
    first.set_ylim(0, HEADROOM * most or None)
    return _png(figure)


def side_by_side(title: str, records: Records) -> bytes:
    """PNG: for each colour, which share of its first tokens, of the gaps between its tokens, and of its whole answers
    came within a time, with the 95th percentile."""
    figure = _figure(title, 4.2)
    first, between, whole = figure.subplots(1, 3, sharey=True)
    for colour, streams in by_colour(records.streams).items():
        shade = COLOURS.get(colour, COLOURS[""])
        times = [each.ttft * MS for each in streams if each.ttft is not None]
        first.ecdf(times, color=shade, label=f"{colour or '?'}: {len(times)} streams")
        between.plot(*within(records.gaps.get(colour, Buckets())), color=shade, drawstyle="steps-post")
        whole.ecdf([each.duration for each in streams], color=shade)
    first.set(title="Time to first token", xlabel="ms", ylabel="share that came within")
    between.set(title="Between tokens", xlabel="ms (logarithmic)", xscale="log")
    whole.set(title="Whole answer", xlabel="s")
    for axes in (first, between, whole):
        axes.axhline(0.95, color=FAINT, linestyle=":")
        axes.set_ylim(0, 1.03)
    first.set_xlim(left=0)
    whole.set_xlim(left=0)
    first.annotate("p95", (0.02, 0.95), xycoords=("axes fraction", "data"), color=FAINT, va="top")
    first.legend(loc="lower right")
    return _png(figure)


def within(gaps: Buckets) -> tuple[list[float], list[float]]:
    """Milliseconds, and which share of the gaps is that long at most."""
    times: list[float] = []
    shares: list[float] = []
    seen = 0
    for index in sorted(gaps.counts):
        seen += gaps.counts[index]
        times.append(min(gaps.end_of(index), gaps.largest) * MS)
        shares.append(seen / gaps.total)
    return times, shares


def by_colour(streams: Sequence[Stream]) -> dict[str, list[Stream]]:
    """Those that had a first token and ended whole, by the colour that answered."""
    found: dict[str, list[Stream]] = {}
    for each in streams:
        if not each.failure and each.ttft is not None:
            found.setdefault(each.colour, []).append(each)
    return dict(sorted(found.items()))


def _lines(axes: Axes, rates: Sequence[float], series: Mapping[str, Sequence[float | None]]) -> None:
    most = 0.0
    for name, values in series.items():
        points = [(rate, value * MS) for rate, value in zip(rates, values, strict=True) if value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", color=SHADES[name], label=name)
            most = max(most, *(value for _, value in points))
    _legend(axes, most)


def _legend(axes: Axes, most: float) -> None:
    """In a row above the highest point."""
    axes.set_ylim(0, HEADROOM * most or None)
    names = axes.get_legend_handles_labels()[1]
    if names:
        axes.legend(loc="upper left", ncols=len(names), frameon=False)


def _figure(title: str, height: float) -> Figure:
    figure = Figure(figsize=(11, height), layout="constrained")
    figure.suptitle(title, fontsize=13)
    return figure


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.grid(visible=True, color="#e5e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
