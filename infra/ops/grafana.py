"""The Grafana dashboard, written from the one list of panels (`components/panels.py`). Pure.

Queries are PromQL over what gateways and engines show on `/metrics`; each is summed over pods, by colour or model. The
data source, the colours and the models are variables of the dashboard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.panels import Panel, Row, rows

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "grafana" / "penstock.json"
"""Written anew by `make docs`."""

WIDTH, HEIGHT, COLUMNS = 8, 8, 3
"""Grafana's grid is 24 units wide."""
SCHEMA_VERSION = 39


def shown(kinds: Sequence[str] = ("vllm",)) -> tuple[Row, ...]:
    """The rows that Prometheus has something for."""
    found = (Row(row.title, tuple(panel for panel in row.panels if panel.queries)) for row in rows(kinds))
    return tuple(row for row in found if row.panels)


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
        "panels": list(_panels(shown(kinds))),
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
