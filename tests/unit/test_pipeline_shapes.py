"""The JSON Schema of validate steps, and templates: linear, bounded, and never looked at twice."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.pipelines import template
from app.pipelines.shape import faults, problem

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 3}}},
    {"type": "array", "items": {"type": ["string", "null"]}, "minItems": 1, "maxItems": 2},
    {"enum": [1, "a", None, True]},
    {"const": 1},
    {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "string", "maxLength": 2}}},
    {"type": "string", "minLength": 1, "pattern": "a|b"},
    {"type": "number", "minimum": 0},
    {"items": {"items": {"type": "boolean"}}},
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-3, 3) | st.sampled_from(["", "a", "ab", "abc", "c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.sampled_from(SCHEMAS), VALUES)
def test_a_value_is_right_exactly_where_the_library_says_so(schema: dict[str, Any], value: Any) -> None:
    right = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (problem(value, schema) == "") == right


def test_every_keyword_of_the_cases_is_known() -> None:
    assert [list(faults(schema)) for schema in SCHEMAS] == [[]] * len(SCHEMAS)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"$ref": "#"}, "$ref"),
        ({"type": "text"}, "type"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "properties.a.pattern"),
        ({"items": []}, "items"),
        ({"required": "a"}, "required"),
        ({"minimum": "1"}, "minimum"),
        ({"enum": []}, "enum"),
        ({"additionalProperties": {}}, "additionalProperties"),
    ],
)
def test_what_is_no_schema_is_named(schema: dict[str, Any], path: str) -> None:
    assert [where for where, _ in faults(schema)] == [path]


def test_a_schema_that_nests_for_ever_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}
    assert "nest at most" in next(iter(faults(deep)))[1]


def test_a_fault_says_where() -> None:
    schema = {"properties": {"a": {"items": {"type": "string"}}}}
    assert problem({"a": ["x", 1]}, schema) == "a[1] must be string"


@given(st.text(max_size=50), st.text(max_size=50))
def test_what_fills_a_hole_is_never_looked_at_again(one: str, two: str) -> None:
    values = {"input": one, "b": two}
    assert template.fill("<{{input}}|{{ b }}|{{c}}>", values) == f"<{one}|{two}|>"


def test_a_filled_template_has_a_longest_length() -> None:
    text = "x" * (template.MOST_CHARACTERS // 2 + 1)
    assert len(template.fill("{{input}}", {"input": text})) == len(text)
    with pytest.raises(template.TooLongError):
        template.fill("{{input}}{{input}}", {"input": text})
