"""The JSON Schema of the stack files says what the parser says, as far as one key at a time can be judged."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.settings import schema
from infra.settings.kinds import Cidr, Strict
from infra.settings.migrations import SCHEMA_COMMENT, SCHEMA_PATH
from infra.settings.parse import Settings
from tests.unit.settings_cases import CHECKOUT, VALUES, put

FILES = sorted([*CHECKOUT.glob("Pulumi.*.yaml"), *(CHECKOUT / "examples" / "stacks").glob("Pulumi.*.yaml")])
VALIDATOR = jsonschema.Draft202012Validator(schema.schema())


def gone(path: str) -> Callable[[dict[str, Any]], object]:
    def edit(values: dict[str, Any]) -> None:
        *way, last = path.split(".")
        here: Any = values
        for part in way:
            here = here[int(part)] if part.isdigit() else here[part]
        del here[last]

    return edit


REFUSED = {
    "an unknown key": put("release.green.wieght", 5),
    "an unknown key at the top": put("relase", {}),
    "a missing key": gone("data.cache.tls"),
    "a missing key at the top": gone("budget"),
    "a missing key of a list's item": gone("models.0.weightsGib"),
    "a unit in a number": put("data.database.storageGib", "20Gi"),
    "a broken number": put("release.green.weight", 0.5),
    "true for a number": put("gateway.memoryMib", True),
    "a word for a number": put("models.0.inputUsdPerMillionTokens", "cheap"),
    "yes for true": put("protected", "yes"),
    "a number too large": put("release.green.weight", 101),
    "a number too small": put("data.database.storageGib", 1),
    "a word that is not allowed": put("network.natGateways", "two"),
    "a number for text": put("cluster.version", 1.36),
    "a number for a mapping": put("release", 5),
    "text for a list": put("models", "tiny"),
    "too few items": put("network.zones", []),
    "a zone that is no letter": put("network.zones", ["a", "z9"]),
    "an account of eleven digits": put("aws.accountId", "11112222333"),
    "a region of China": put("aws.region", "cn-north-1"),
    "an address that is none": put("edge.allowedCidrs", ["203.0.113.0/33"]),
    "a retention that the service has not": put("watch.logRetentionDays.gateway", 15),
    "null where a value is needed": put("namespace", None),
    "an image that is none": put("release.blue.gatewayImage", "no image"),
    "another version": put("schemaVersion", 1),
    "a version to come": put("schemaVersion", 99),
}


def as_file(values: dict[str, Any]) -> dict[str, Any]:
    return {"config": {f"penstock:{key}": value for key, value in values.items()}}


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_stack_file_fits_the_schema_and_names_it(path: Path):
    text = path.read_text()
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))] == []
    (line,) = [line for line in text.splitlines() if line.startswith(SCHEMA_COMMENT)]
    assert (path.parent / line.removeprefix(SCHEMA_COMMENT)).resolve() == CHECKOUT / SCHEMA_PATH


@pytest.mark.parametrize("edit", REFUSED.values(), ids=REFUSED)
def test_what_the_parser_refuses_the_schema_refuses(edit: Callable[[dict[str, Any]], object]):
    values = copy.deepcopy(VALUES["dev"])
    edit(values)
    with pytest.raises(ValueError, match="problem"):
        Settings.parse(values)
    assert not VALIDATOR.is_valid(as_file(values))


class _Place(Strict):
    range: Cidr


@given(
    st.tuples(*[st.integers(0, 300)] * 4).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(["", "/0", "/8", "/24", "/32", "/33", "/", "/ 8"]),
)
def test_an_address_that_the_schema_refuses_is_refused_by_the_parser_too(address: str, length: str):
    written = address + length
    fits = jsonschema.Draft202012Validator(_Place.model_json_schema()).is_valid({"range": written})
    try:
        _Place(range=written)
    except ValidationError:
        return
    assert fits


def test_keys_of_other_namespaces_and_pulumis_own_are_not_judged():
    values = as_file(VALUES["dev"])
    values["config"]["aws:region"] = "eu-central-1"
    assert VALIDATOR.is_valid({**values, "encryptionsalt": "v1:x", "secretsprovider": "awskms://alias/state"})


def test_the_schema_is_one_and_current():
    jsonschema.Draft202012Validator.check_schema(schema.schema())
    assert schema.FILE.read_text() == schema.text(), f"run `make docs` and commit {SCHEMA_PATH}"


def test_the_schema_has_no_word_that_validators_pass_over():
    words = set()

    def walk(value: Any) -> None:
        for key, each in value.items() if isinstance(value, dict) else ():
            if key in schema.NAMED:
                for child in each.values():
                    walk(child)
            else:
                words.add(key)
                walk(each)
        for each in value if isinstance(value, list) else ():
            walk(each)

    walk(schema.schema())
    known = set(jsonschema.Draft202012Validator.VALIDATORS) | {"$schema", "title", "description", "$defs", "default"}
    assert words - known == set()


def test_each_key_that_has_a_meaning_brings_it_to_the_editor():
    found = json.dumps(schema.schema())
    assert "Share of new requests, in per cent" in found
    assert "\\n" not in found
