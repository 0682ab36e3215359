"""What a refresh reads back: the fields that the inputs set, as they are now."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.outputs import refreshed_inputs
from infra.local.kubernetes.provider.project import applied, parse_quantity, project
from infra.local.kubernetes.provider.values import Secret

DEPLOYMENT, SECRET, ROLE = Kind("apps", "v1", "Deployment"), Kind("", "v1", "Secret"), Kind("rbac", "v1", "Role")


def pod(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers), **more}}}}


def test_defaults_and_other_peoples_fields_are_not_looked_at() -> None:
    wanted = pod({"name": "a", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": ""}]})
    live = pod(
        {
            "name": "a",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "env": [{"name": "E"}, {"name": "INJECTED", "value": "1"}],
            "terminationMessagePath": "/dev/termination-log",
        },
        {"name": "sidecar"},
        dnsPolicy="ClusterFirst",
    )
    assert project(DEPLOYMENT, live, wanted) == wanted


def test_items_are_matched_by_name_not_by_place() -> None:
    wanted = pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"})
    live = pod({"name": "first", "image": "x"}, {"name": "a", "image": "2"})
    assert project(DEPLOYMENT, live, wanted) == pod({"name": "a", "image": "2"})


def test_quantities_are_compared_by_size() -> None:
    wanted = pod({"name": "a", "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}})
    live = pod({"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}})
    assert project(DEPLOYMENT, live, wanted) == wanted
    live = pod({"name": "a", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}})
    requests = project(DEPLOYMENT, live, wanted)["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert requests == {"cpu": "2", "memory": "1024Mi"}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500m", "0.5"),
        ("1Gi", "1073741824"),
        ("2e3", "2000"),
        ("1.5k", "1500"),
        ("abc", None),
        ("", None),
        ("1X", None),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, size: str | None) -> None:
    assert parse_quantity(text) == (None if size is None else Decimal(size))


def test_a_label_that_looks_like_a_quantity_is_text() -> None:
    wanted = {"metadata": {"labels": {"version": "1000m"}}}
    assert project(DEPLOYMENT, {"metadata": {"labels": {"version": "1"}}}, wanted) != wanted


def test_lists_that_nobody_shares_are_compared_whole() -> None:
    wanted = {"rules": [{"verbs": ["get"], "resources": ["pods"]}]}
    assert project(ROLE, {"rules": [{"verbs": ["get", "list"], "resources": ["pods"]}]}, wanted) == {
        "rules": [{"verbs": ["get", "list"], "resources": ["pods"]}]
    }
    live = {"rules": [*wanted["rules"], {"verbs": ["*"], "resources": ["secrets"]}]}
    assert project(ROLE, live, wanted) == live


def test_empty_fields_that_the_api_server_drops_are_no_drift() -> None:
    wanted = {"spec": {"hostNetwork": False, "labels": {}, "list": [], "text": "", "number": 0}}
    assert project(DEPLOYMENT, {"spec": {}}, wanted) == wanted


def test_a_field_that_somebody_removed_is_drift() -> None:
    assert project(DEPLOYMENT, {"spec": {}}, {"spec": {"replicas": 3}}) == {"spec": {}}


def test_string_data_is_compared_with_what_was_stored() -> None:
    inputs = {"stringData": Secret({"a": "hi", "b": "there"})}
    same = {"data": {"a": "aGk=", "b": "dGhlcmU="}}
    assert refreshed_inputs(SECRET, same, inputs) == inputs
    assert refreshed_inputs(SECRET, {"data": {"a": "b2g="}}, inputs) == {"stringData": Secret({"a": "oh"})}
    binary = refreshed_inputs(SECRET, {"data": {"a": "/w=="}}, inputs)
    assert binary["stringData"] == Secret({"a": "/w=="})


def test_data_and_string_data_are_sent_together() -> None:
    body = applied(SECRET, {"data": {"a": "eA==", "b": "eA=="}, "stringData": Secret({"b": "hi"}), "status": {"x": 1}})
    assert body == {"data": {"a": "eA==", "b": "aGk="}}


def test_refreshed_inputs_stay_open_where_they_were_open() -> None:
    inputs = {"data": {"a": "eA=="}}
    assert refreshed_inputs(SECRET, {"data": {"a": "eA=="}}, inputs) == inputs
