"""What the package tells users of other languages of each input, output and property."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from components.engines import ENGINES
from components.meanings import SHARED, fields, with_shared_meanings


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """As the plug-in hands it out."""
    from components.package import Package

    return json.loads(Package().schema or "{}")


def test_every_input_output_and_property_says_what_it_means_in_a_sentence(schema: dict[str, Any]):
    said = {f"{token}.{name}": field.get("description", "") for token, name, field in fields(schema)}
    assert [name for name, text in said.items() if not text.strip().endswith(".")] == []


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_shared_meaning_is_shared(schema: dict[str, Any], name: str):
    found = Counter(field["description"] for _, each, field in fields(schema) if each == name)
    assert found[SHARED[name]] > 1, "a meaning that one field alone has stands behind the field"


def test_a_fields_own_words_go_before_the_shared_ones():
    (name, shared), *_ = SHARED.items()
    own, silent = {"description": "Its own.", "type": "string"}, {"type": "string"}
    row = {"inputProperties": {name: own}, "properties": {name: silent, "other": silent}}
    told = with_shared_meanings({"resources": {"a": row}, "types": {}})["resources"]["a"]
    assert told["inputProperties"][name] == own
    assert told["properties"] == {name: {"description": shared, "type": "string"}, "other": silent}


def test_the_kinds_of_engines_are_named_where_one_is_chosen(schema: dict[str, Any]):
    text = schema["types"]["penstock:index:EngineShape"]["properties"]["kind"]["description"]
    assert [kind for kind in ENGINES if f"`{kind}`" not in text] == []
