"""Differences between inputs, and between inputs and what AWS reports."""

from __future__ import annotations

import json

import pytest

from infra.local.aws.provider.compare import Difference, agrees, differences, merged, observed
from infra.local.aws.provider.schema import (
    block,
    block_set,
    blocks,
    document,
    flag,
    from_api,
    integer,
    mapping,
    out,
    pascal,
    text,
    text_set,
    to_api,
)
from infra.local.aws.provider.values import UNKNOWN, Values

FIELDS = {
    "name": text(replace=True),
    "zone": text(computed=True, replace=True),
    "port": integer(default=80),
    "on": flag(default=True),
    "policy": document(),
    "groups": text_set(),
    "labels": mapping(),
    "network": block({"family": text(computed=True, replace=True), "public": flag(default=True)}, computed=True),
    "targets": block_set({"arn": text(required=True), "weight": integer(default=1)}),
    "steps": blocks({"type": text(required=True), "order": integer(computed=True)}),
    "arn": out(text()),
}


def changes(old: Values, new: Values, state: Values | None = None) -> list[tuple[str, str, bool]]:
    found: list[Difference] = list(differences(FIELDS, old, new, state or {}))
    return [(it.path, it.kind, it.replace) for it in found]


def test_equal_inputs_have_no_differences() -> None:
    same = {"name": "a", "groups": ["x", "y"], "policy": '{"a": 1}'}
    assert changes(same, {"name": "a", "groups": ["y", "x"], "policy": '{ "a":1 }'}) == []


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ({"name": "a"}, {"name": "b"}, ("name", "update", True)),
        ({"port": 80}, {"port": 81}, ("port", "update", False)),
        ({"groups": ["x"]}, {"groups": ["x", "y"]}, ("groups", "update", False)),
        ({"labels": {"a/b": "1"}}, {"labels": {"a/b": "2"}}, ('labels["a/b"]', "update", False)),
        ({"labels": {"a": "1"}}, {"labels": {}}, ("labels.a", "delete", False)),
        ({"port": 81}, {}, ("port", "delete", False)),
        ({}, {"port": 81}, ("port", "add", False)),
        ({}, {"zone": "b"}, ("zone", "add", True)),
        ({"name": "a"}, {"name": UNKNOWN}, ("name", "update", True)),
        ({"network": {"family": "4"}}, {"network": {"family": "6"}}, ("network.family", "update", True)),
        ({"network": {"public": True}}, {"network": {"public": False}}, ("network.public", "update", False)),
        ({"steps": [{"type": "a"}]}, {"steps": [{"type": "a"}, {"type": "b"}]}, ("steps[1]", "add", False)),
    ],
)
def test_a_difference_is_told_at_its_path(old: Values, new: Values, difference: tuple[str, str, bool]) -> None:
    assert changes(old, new) == [difference]


def test_a_shifted_weight_is_one_integer() -> None:
    old = {"targets": [{"arn": "blue", "weight": 100}, {"arn": "green", "weight": 0}]}
    new = {"targets": [{"arn": "blue", "weight": 95}, {"arn": "green", "weight": 5}]}
    assert changes(old, new) == [("targets[0].weight", "update", False), ("targets[1].weight", "update", False)]


def test_members_of_a_set_may_change_places() -> None:
    old = {"targets": [{"arn": "blue", "weight": 1}, {"arn": "green", "weight": 0}]}
    assert changes(old, {"targets": [{"arn": "green", "weight": 0}, {"arn": "blue"}]}) == []


def test_a_default_means_the_same_as_nothing() -> None:
    assert changes({"port": 80, "on": True}, {}) == []
    assert changes({}, {"port": 80, "on": True, "groups": []}) == []


def test_what_aws_chose_may_be_written_down_and_left_out_again() -> None:
    state = {"zone": "b", "network": {"family": "4", "public": True}}
    assert changes({}, {"zone": "b"}, state) == []
    assert changes({"zone": "b"}, {}, state) == []
    assert changes({"network": {"public": True}}, {"network": {"public": True, "family": "4"}}, state) == []


def test_a_block_asks_only_for_the_fields_it_names() -> None:
    network = FIELDS["network"]
    live = {"family": "4", "public": True}
    assert agrees(network, {"public": True}, live)
    assert merged(network, {"public": True}, live) == live
    assert observed(network, {"public": False}, live) == {"public": True}


def test_the_state_writes_values_as_the_inputs_do() -> None:
    policy = '{\n "a": 1\n}'
    assert merged(FIELDS["policy"], policy, '{"a":1}') == policy
    assert merged(FIELDS["groups"], ["b", "a"], ["a", "b"]) == ["b", "a"]
    drifted = json.loads(merged(FIELDS["policy"], policy, '{"a":2}'))
    assert drifted == {"a": 2}


def test_names_are_translated_both_ways() -> None:
    fields = {
        "groupId": text("Group.Id"),
        "size": integer(),
        "tests": blocks({"arn": text("TestArn")}),
        "own": text(False),
    }
    values = {"groupId": "g", "size": 3, "tests": [{"arn": "t"}], "own": "x"}
    request = to_api(fields, values, pascal)
    assert request == {"Group": {"Id": "g"}, "Size": 3, "Tests": [{"TestArn": "t"}]}
    assert from_api(fields, request, pascal) == {"groupId": "g", "size": 3, "tests": [{"arn": "t"}]}


WRITE_ONLY = {"force": flag(False, default=False, write_only=True)}


def test_an_input_that_aws_does_not_report_still_changes() -> None:
    assert list(differences(WRITE_ONLY, {"force": False}, {"force": True}, {})) == [
        Difference("force", "update", False)
    ]
    assert list(differences(WRITE_ONLY, {}, {"force": True}, {})) == [Difference("force", "add", False)]
    assert not list(differences(WRITE_ONLY, {}, {"force": False}, {}))
    assert agrees(WRITE_ONLY["force"], True, None), "and is never seen as drift"
