"""Both dashboards are of one list of panels, ask for metrics that exist, and lie on their grids."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from components.collector_manifests import PER_CODE, PER_COLOUR
from components.dashboards import body, engine_panels, node_panels, platform_panels
from components.engines import ENGINES
from components.panels import Panel, rows
from infra.ops.grafana import COMMITTED, dashboard, shown, text

ROOT = Path(__file__).parents[3]
RECORDED = ROOT / "tests" / "contracts" / "fixtures"
HISTOGRAM_ENDS = ("_bucket", "_sum", "_count")
EVERY = [panel for row in rows(tuple(ENGINES)) for panel in row.panels]
PANELS = [panel for row in shown(tuple(ENGINES)) for panel in row.panels]


def known() -> set[str]:
    """The gateway's metrics, as the page lists them (another test holds the page to the code), and the engines'."""
    page = (ROOT / "docs" / "observability.md").read_text()
    gateway = set(re.findall(r"^\| `(penstock_\w+)`", page, re.MULTILINE))
    assert len(gateway) > 50
    engines = {name for engine in ENGINES.values() for name in vars(engine.metrics).values() if name}
    return gateway | engines


def asked(panel: Panel) -> set[str]:
    return {name for query, _ in panel.queries for name in re.findall(r"([a-z][\w:]+)\{", query)}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_asks_for_metrics_that_exist(panel: Panel):
    names, there = asked(panel), known()

    assert names
    for name in names:
        stem = next((name.removesuffix(end) for end in HISTOGRAM_ENDS if name.endswith(end)), name)
        assert name in there or stem in there, name


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_query_closes_what_it_opens_and_names_what_it_shows(panel: Panel):
    for query, legend in panel.queries:
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            assert re.search(rf"by \([^)]*\b{label}\b", query), f"{label} is summed away in {query}"


def test_names_of_vllm_are_those_of_its_recorded_metrics():
    text = "\n".join(path.read_text() for path in RECORDED.rglob("metrics*.txt"))
    names = [name for name in vars(ENGINES["vllm"].metrics).values() if name]

    assert text
    assert [name for name in names if name not in text] == []


def test_panels_do_not_overlap_and_have_numbers_of_their_own():
    panels = dashboard(tuple(ENGINES))["panels"]
    places = {(x, y) for panel in panels for x in _across(panel["gridPos"]) for y in _down(panel["gridPos"])}

    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)
    assert all(first < second for first, second in pairwise(panel["id"] for panel in panels))


def _across(place: dict[str, int]) -> range:
    return range(place["x"], place["x"] + place["w"])


def _down(place: dict[str, int]) -> range:
    return range(place["y"], place["y"] + place["h"])


def test_the_committed_dashboard_is_the_one_that_is_written():
    assert COMMITTED.read_text() == text(), "the dashboard changed: `make docs`"


def _on_cloudwatch() -> list[str]:
    """Titles of what a stack with everything shows."""
    platform = platform_panels(
        balancer="b", target_groups={"blue": "t"}, database="d", cache_members=["c"], dead_queue="q"
    )
    every = [*platform, *engine_panels("Penstock", ["blue"], tuple(ENGINES)), *node_panels("k")]
    return [widget["properties"]["title"] for widget in json.loads(body(every, "eu-central-1"))["widgets"]]


def test_every_panel_of_the_list_is_on_a_board_and_no_board_has_another():
    grafana = {panel["title"] for panel in dashboard(tuple(ENGINES))["panels"] if panel["type"] != "row"}
    cloudwatch = set(_on_cloudwatch())
    for panel in EVERY:
        assert bool(panel.queries) == (panel.title in grafana), panel.title
        named = panel.collected.title or panel.title if panel.collected else panel.title
        assert bool(panel.collected or panel.counted) == (named in cloudwatch), panel.title
    assert grafana == {panel.title for panel in EVERY if panel.queries}
    assert len(_on_cloudwatch()) == sum(bool(panel.collected or panel.counted) for panel in EVERY)


@pytest.mark.parametrize("panel", [one for one in EVERY if one.collected], ids=lambda panel: panel.title)
def test_cloudwatch_shows_only_what_the_collector_sends_and_what_the_same_panel_asks_prometheus_for(panel: Panel):
    assert panel.collected is not None
    assert panel.collected.metric in PER_COLOUR + PER_CODE
    assert panel.collected.metric in known()
    assert any(panel.collected.metric in name for name in asked(panel))
