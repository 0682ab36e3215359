"""That what a stack file says of guards and traces reaches the gateways."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.gateway_config import gateway_config
from infra.settings import Settings, SettingsError
from tests.unit.settings_cases import VALUES

GUARDS: dict[str, Any] = {
    "piiInput": "mask",
    "piiOutput": "refuse",
    "piiKinds": ["email", "secret"],
    "injection": "flag",
    "injectionThreshold": 7,
    "topicsMode": "refuse",
    "topics": [{"name": "war", "words": ["tank"], "patterns": []}],
    "lengths": "refuse",
    "maxMessages": 100,
    "maxTurns": None,
    "maxCharacters": 50_000,
    "classifierMode": "flag",
    "classifier": {
        "url": "https://judge.example.com/v1/moderations",
        "model": None,
        "timeoutSeconds": 0.5,
        "onFailure": "allow",
        "sampleRatio": 0.1,
    },
    "tenants": {
        "acme": dict.fromkeys(("piiOutput", "injection", "topics", "lengths", "classifier")) | {"piiInput": "off"}
    },
}


def stack(**gateway: Any) -> Settings:
    values = copy.deepcopy(VALUES["local"])
    values["gateway"] |= gateway
    return Settings.parse(values)


def test_the_stack_files_switch_nothing_on():
    config = gateway_config(stack(), "blue")
    assert (config.guards, config.traces) == (None, None)


def test_guards_reach_the_gateways():
    guards = gateway_config(stack(guards=GUARDS), "blue").guards
    assert guards is not None
    modes = guards.modes
    assert (modes.pii_input, modes.pii_output, modes.injection) == ("mask", "refuse", "flag")
    assert (modes.topics, modes.lengths, modes.classifier) == ("refuse", "refuse", "flag")
    assert (guards.pii_kinds, guards.injection_threshold) == (("email", "secret"), 7)
    assert (guards.max_messages, guards.max_turns, guards.max_characters) == (100, None, 50_000)
    assert guards.classifier is not None
    assert guards.classifier.sample_ratio == 0.1
    assert guards.of_tenant("acme").pii_input == "off"
    assert guards.of_tenant("acme").pii_output == "refuse"


def test_traces_reach_the_gateways():
    traces = gateway_config(stack(traces={"endpoint": "https://otlp.example.com", "ratio": 0.05}), "blue").traces
    assert traces is not None
    assert (traces.endpoint, traces.ratio) == ("https://otlp.example.com", 0.05)


def test_off_without_quotes_is_refused_with_the_key():
    with pytest.raises(SettingsError, match="piiInput"):
        stack(guards=GUARDS | {"piiInput": False})
