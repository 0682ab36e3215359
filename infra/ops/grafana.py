"""The Grafana dashboard, written from one list of panels over the platform's own metrics. Pure.

Queries are PromQL over what gateways and engines show on `/metrics`; each is summed over pods, by colour or model. The
data source, the colours and the models are variables of the dashboard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.engines import ENGINES

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "grafana" / "penstock.json"
"""Written anew by `make docs`."""

WIDTH, HEIGHT, COLUMNS = 8, 8, 3
"""Grafana's grid is 24 units wide."""
WINDOW = "$__rate_interval"
PICKED = 'model=~"$model",colour=~"$colour"'
OF_COLOUR = 'colour=~"$colour"'
SCHEMA_VERSION = 39


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    """Grafana's name of a unit: reqps, s, percentunit, short, currencyUSD, bytes."""
    queries: tuple[tuple[str, str], ...]
    """PromQL and its legend, with Grafana's `{{label}}`."""
    about: str = ""


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "colour", where: str = PICKED) -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[{WINDOW}]))"


def quantile(share: float, histogram: str, by: str = "colour", where: str = PICKED) -> str:
    return f"histogram_quantile({share:g}, sum by (le, {by}) (rate({histogram}_bucket{{{where}}}[{WINDOW}])))"


def ratio(part: str, whole: str) -> str:
    return f"({part}) / ({whole})"


def spread(histogram: str) -> tuple[tuple[str, str], ...]:
    return tuple((quantile(share, histogram), f"p{share * 100:g} {{{{colour}}}}") for share in (0.5, 0.95, 0.99))


CLIENTS = Row(
    "What clients see",
    (
        Panel("Requests", "reqps", ((rate("penstock_requests_total"), "{{colour}}"),)),
        Panel(
            "Errors on our side",
            "percentunit",
            (
                (
                    ratio(
                        rate("penstock_requests_total", where=f'{PICKED},code=~"5.."'), rate("penstock_requests_total")
                    ),
                    "{{colour}}",
                ),
            ),
            "Share of the requests that ended with 5xx.",
        ),
        Panel("Answers by status", "reqps", ((rate("penstock_requests_total", "code"), "{{code}}"),)),
        Panel("Time to the first token", "s", spread("penstock_ttft_seconds")),
        Panel("Between tokens", "s", spread("penstock_itl_seconds")),
        Panel("Whole requests", "s", spread("penstock_request_seconds")),
        Panel(
            "Streams",
            "short",
            (
                (rate("penstock_interrupted_streams_total"), "cut {{colour}}"),
                (rate("penstock_resumed_streams_total", "outcome", OF_COLOUR), "{{outcome}}"),
            ),
            "Cut: ended with an error event. The others lost their engine and went on, or why not.",
        ),
        Panel("Stall of resumed streams", "s", ((quantile(0.99, "penstock_stream_stall_seconds"), "p99 {{colour}}"),)),
        Panel("Refused", "reqps", ((rate("penstock_refused_requests_total", "reason", OF_COLOUR), "{{reason}}"),)),
    ),
)

WORK = Row(
    "Engines and waiting",
    (
        Panel(
            "Demand", "short", ((f"sum by (model) (penstock_demand{{{PICKED}}})", "{{model}}"),), "What scaling sees."
        ),
        Panel("Waiting at gateways", "short", ((f"sum by (model) (penstock_queue_waiting{{{PICKED}}})", "{{model}}"),)),
        Panel("Time in the waiting room", "s", ((quantile(0.95, "penstock_queue_seconds", "model"), "{{model}}"),)),
        Panel(
            "Engines",
            "short",
            ((f"max by (model, state, colour) (penstock_engines{{{PICKED}}})", "{{model}} {{state}} {{colour}}"),),
        ),
        Panel(
            "At engines, by zone", "short", ((f"sum by (zone) (penstock_engine_in_flight{{{PICKED}}})", "{{zone}}"),)
        ),
        Panel(
            "Moved",
            "reqps",
            (
                (rate("penstock_retries_total", "reason", OF_COLOUR), "retry: {{reason}}"),
                (rate("penstock_fallbacks_total", "reason", OF_COLOUR), "fallback: {{reason}}"),
                (rate("penstock_engine_hangs_total", "model", PICKED), "hung: {{model}}"),
            ),
        ),
    ),
)

MONEY = Row(
    "Tokens and money",
    (
        Panel("Tokens", "short", ((rate("penstock_tokens_total", "direction"), "{{direction}} a second"),)),
        Panel("Cost an hour", "currencyUSD", ((f"3600 * {rate('penstock_cost_usd_total', 'model')}", "{{model}}"),)),
        Panel(
            "Answers from the cache",
            "percentunit",
            (
                (
                    ratio(
                        rate("penstock_cache_requests_total", "outcome", OF_COLOUR),
                        f"scalar(sum(rate(penstock_cache_requests_total{{{OF_COLOUR}}}[{WINDOW}])))",
                    ),
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Refused by limits", "reqps", ((rate("penstock_limit_refusals_total", "limit", OF_COLOUR), "{{limit}}"),)
        ),
        Panel("Ledger: rows not stored yet", "s", ((f"max(penstock_ledger_lag_seconds{{{OF_COLOUR}}})", "oldest"),)),
        Panel(
            "What guards found", "short", ((rate("penstock_guard_findings_total", "guard", OF_COLOUR), "{{guard}}"),)
        ),
    ),
)


def engine_row(kind: str) -> Row:
    """What engines of one kind say of themselves; what they do not tell is left out."""
    names = ENGINES[kind].metrics
    panels = [
        Panel(title, unit, ((f"max by (colour) ({name}{{{OF_COLOUR}}})", "{{colour}}"),))
        for title, name, unit in (
            ("Waiting inside the fullest engine", names.waiting, "short"),
            ("Running in the busiest engine", names.running, "short"),
            ("Key-value cache of the fullest engine", names.kv_cache_usage, "percentunit"),
        )
        if name is not None
    ]
    panels += [
        Panel(title, "s", ((quantile(0.95, name, where=OF_COLOUR), "p95 {{colour}}"),))
        for title, name in (("Engine's time to the first token", names.ttft), ("Engine's time a token", names.itl))
        if name is not None
    ]
    if names.preemptions is not None:
        panels.append(Panel("Preemptions", "short", ((rate(names.preemptions, where=OF_COLOUR), "{{colour}}"),)))
    return Row(f"Engines of the kind {kind}", tuple(panels))


def rows(kinds: Sequence[str] = ("vllm",)) -> tuple[Row, ...]:
    return (CLIENTS, WORK, *(engine_row(kind) for kind in kinds), MONEY)


def dashboard(kinds: Sequence[str] = ("vllm",)) -> dict[str, Any]:
    """The document that Grafana imports."""
    return {
        "uid": "penstock",
        "title": "Penstock",
        "tags": ["penstock"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _picked("colour", "label_values(penstock_build_info, colour)"),
                _picked("model", "label_values(penstock_engines, model)"),
            ]
        },
        "panels": list(_panels(rows(kinds))),
    }


def _picked(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(wanted: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in wanted:
        number += 1
        yield {"id": number, "type": "row", "title": row.title, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}}
        top += 1
        for index, panel in enumerate(row.panels):
            number += 1
            place = {"x": index % COLUMNS * WIDTH, "y": top + index // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield _panel(panel, number, place)
        top += -(-len(row.panels) // COLUMNS) * HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"showLegend": True}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    COMMITTED.parent.mkdir(exist_ok=True)
    COMMITTED.write_text(text())
