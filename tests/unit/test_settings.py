"""What the parser of stack configuration takes, and what it says about the rest."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from infra.settings import Settings, SettingsError
from tests.unit.settings_cases import CHECKOUT, STACKS, VALUES, problems, put


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_file_is_accepted(stack: str):
    settings = Settings.from_stack_file(CHECKOUT / f"Pulumi.{stack}.yaml")
    assert sum(settings.weights.values()) == 100
    assert settings.model_names


@pytest.mark.parametrize("stack", STACKS)
def test_a_weight_is_a_plain_integer_on_a_line_of_its_own(stack: str):
    """The release command edits that one line."""
    text = (CHECKOUT / f"Pulumi.{stack}.yaml").read_text()
    assert len(re.findall(r"^      weight: [0-9]{1,3}$", text, re.MULTILINE)) == 2


def test_an_unknown_key_is_named_with_its_path_and_the_keys_that_are_allowed():
    found = problems(put("release.green.wieght", 5))
    assert found == {
        "release.green.wieght": "unknown key; did you mean weight? "
        "allowed here: weight, gatewayImage, gatewayReplicas, engineImage, engineImages, sources, engineReplicas"
    }


def test_an_unknown_top_level_key_is_named():
    found = problems(put("relase", {}))
    assert found["relase"].startswith("unknown key; did you mean release? allowed here: schemaVersion, aws, namespace")


def test_a_missing_key_is_named():
    assert problems(lambda values: values["data"]["cache"].pop("tls")) == {"data.cache.tls": "is missing"}


@pytest.mark.parametrize(
    ("path", "given", "message"),
    [
        ("data.database.storageGib", "20Gi", "must be a whole number, not '20Gi', in GiB"),
        ("drain.preStopSeconds", "3s", "must be a whole number, not '3s', in seconds"),
        ("budget.monthlyUsd", "50 USD", "must be a whole number, not '50 USD', in US dollars"),
        ("release.green.weight", "5%", "must be a whole number, not '5%', in per cent"),
        ("release.green.weight", 0.5, "must be a whole number, not 0.5, in per cent"),
        ("gateway.memoryMib", True, "must be a whole number, not True, in MiB"),
        ("models.0.inputUsdPerMillionTokens", "cheap", "must be a number, not 'cheap', in tokens"),
        ("protected", "yes", "must be true or false, not 'yes'"),
        ("release.green.weight", 101, "101 is too large; allowed: 100 or less, in per cent"),
        ("network.natGateways", "two", "'two' is not allowed; allowed: 'one', 'perZone' or 'none'"),
        ("network.cidr", "10.0.0.0", "10.0.0.0/32 is too small; allowed: /16 to /20"),
        ("cluster.version", 1.36, "must be text, not 1.36; write it in quotes"),
        ("release", 5, "must be a mapping of keys, not 5"),
        ("models", "tiny", "must be a list, not 'tiny'"),
        ("network.zones", [], "has 0 entries; allowed: 2 or more"),
    ],
)
def test_a_wrong_value_is_named_with_its_unit_and_what_is_allowed(path: str, given: Any, message: str):
    written = path.replace(".0.", "[0].")
    assert problems(put(path, given))[written] == message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("release.blue.weight", "100"),
        ("budget.monthlyUsd", "50"),
        ("protected", "false"),
        ("aws.accountId", 123456789012),
    ],
)
def test_what_the_command_line_stores_as_text_or_number_is_taken(path: str, value: Any):
    assert problems(put(path, value)) == {}


def test_an_account_id_of_another_length_is_refused():
    assert "aws.accountId" in problems(put("aws.accountId", 12345))


def test_the_error_text_has_a_line_for_each_problem_with_the_key_as_written():
    values = copy.deepcopy(VALUES["local"])
    values["release"]["green"]["weight"] = "x"
    values["edge"]["port"] = 0
    with pytest.raises(SettingsError) as caught:
        Settings.parse(values, "Pulumi.local.yaml")
    assert str(caught.value).splitlines() == [
        "Pulumi.local.yaml: 2 problem(s) in the configuration",
        "  penstock:release.green.weight: must be a whole number, not 'x', in per cent",
        "  penstock:edge.port: 0 is too small; allowed: 1 or more",
    ]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path):
    text = (CHECKOUT / "Pulumi.local.yaml").read_text()
    broken = tmp_path / "Pulumi.local.yaml"
    broken.write_text(re.sub(r"^(      weight: )(.*)$", r"\1\2\n\g<1>5", text, count=1, flags=re.MULTILINE))
    with pytest.raises(SettingsError, match="the key 'weight' stands twice"):
        Settings.from_stack_file(broken)


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "not readable as YAML"), ("a: 1", "no mapping named `config`")]
)
def test_a_file_that_is_no_stack_file_is_refused(tmp_path: Path, content: str, message: str):
    broken = tmp_path / "Pulumi.local.yaml"
    broken.write_text(content)
    with pytest.raises(SettingsError, match=message):
        Settings.from_stack_file(broken)


def test_keys_of_other_namespaces_are_left_to_pulumi(tmp_path: Path):
    text = (CHECKOUT / "Pulumi.local.yaml").read_text()
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(text + "  pulumi:tags:\n    team: platform\nencryptionsalt: v1:x\n")
    assert Settings.from_stack_file(file).namespace == "penstock"


def test_settings_cannot_be_changed_after_they_were_checked():
    settings = Settings.parse(VALUES["local"])
    with pytest.raises(ValueError, match="frozen"):
        settings.namespace = "other"  # ty: ignore[invalid-assignment] - that is the point
