"""Every resource type: created, read back without drift, updated in place, deleted; against the embedded AWS."""

from __future__ import annotations

import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.aws.provider.table import all_rows
from tests.unit.aws_provider.cases import Case
from tests.unit.aws_provider.cases_cluster import CLUSTER_CASES
from tests.unit.aws_provider.cases_data import DATA_CASES
from tests.unit.aws_provider.cases_edge import EDGE_CASES
from tests.unit.aws_provider.cases_events import EVENT_CASES
from tests.unit.aws_provider.cases_network import NETWORK_CASES
from tests.unit.aws_provider.cases_nodes import NODE_CASES
from tests.unit.aws_provider.cases_traffic import TRAFFIC_CASES
from tests.unit.aws_provider.conftest import Plugin
from tests.unit.aws_provider.world import World

EVERY_CASE = (
    *CLUSTER_CASES,
    *DATA_CASES,
    *EDGE_CASES,
    *EVENT_CASES,
    *NETWORK_CASES,
    *NODE_CASES,
    *TRAFFIC_CASES,
)
NONE, SOME = provider_pb2.DiffResponse.DIFF_NONE, provider_pb2.DiffResponse.DIFF_SOME


@pytest.fixture(scope="module")
def world(plugin: Plugin) -> World:
    return World(plugin)


def test_every_type_of_the_table_has_a_life_cycle_here() -> None:
    assert {case.kind for case in EVERY_CASE} == {row.kind for row in all_rows()}


@pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: case.kind.rsplit(":", 1)[-1])
def test_a_resource_lives_without_drift(case: Case, plugin: Plugin, world: World) -> None:
    inputs = case.inputs(world)
    made = plugin.create(case.kind, "main", inputs)
    assert made.id

    seen = plugin.read(made)
    assert seen is not None
    assert seen.id == made.id
    assert seen.state == made.state, "a refresh directly after the creation must show no change"
    assert seen.inputs == made.inputs, "AWS must have what was asked for"
    assert plugin.diff(made, inputs).changes == NONE, "a second preview must be empty"

    if case.change is not None:
        changed = {**inputs, **case.change(world)}
        diff = plugin.diff(made, changed)
        assert diff.changes == SOME
        assert not list(diff.replaces), f"this change must be made in place: {list(diff.replaces)}"
        made = plugin.update(made, changed)
        seen = plugin.read(made)
        assert seen is not None
        assert seen.state == made.state
        assert seen.inputs == made.inputs, "the update must have reached AWS"
        assert plugin.diff(made, changed).changes == NONE

    plugin.delete(made)
    assert (plugin.read(made) is None) == case.gone
