"""An ignored field is somebody else's once somebody else has set it."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.kubernetes.provider.ignoring import left_to_others

INPUTS = {"metadata": {"name": "engine"}, "spec": {"replicas": 3, "paused": False}}


def live(*managers: str) -> dict[str, Any]:
    fields = {"f:spec": {"f:replicas": {}}}
    return {"metadata": {"managedFields": [{"manager": manager, "fieldsV1": fields} for manager in managers]}}


def test_what_another_manager_has_set_is_left_out():
    found = left_to_others(INPUTS, live("us", "keda"), ["spec.replicas"], "us")
    assert found == {"metadata": {"name": "engine"}, "spec": {"paused": False}}
    assert INPUTS["spec"]["replicas"] == 3, "a copy"


@pytest.mark.parametrize(
    ("seen", "ignored"),
    [
        (live("us"), ["spec.replicas"]),
        (live("us", "keda"), []),
        (live("us", "keda"), ["spec.paused"]),
        (live("us", "keda"), ["spec.replicas.more", 'spec["replicas"]', "absent.key"]),
        (None, ["spec.replicas"]),
        ({}, ["spec.replicas"]),
    ],
)
def test_all_else_is_applied(seen: dict[str, Any] | None, ignored: list[str]):
    assert left_to_others(INPUTS, seen, ignored, "us") == INPUTS
