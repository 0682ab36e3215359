"""What a stack file may say of the gateways: limits, times, the ledger."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

import pytest

from app.gateway import config as gateway
from components import manifests
from infra.gateway_config import _route, gateway_config, key_file
from infra.settings import Settings
from infra.settings import gateway as shapes
from tests.unit.settings_cases import VALUES, Values, problems, put

NONE = {
    "requestsPerSecond": None,
    "requestsPerMinute": None,
    "burstRequests": None,
    "tokensPerMinute": None,
    "concurrentRequests": None,
    "usdPerDay": None,
    "usdPerMonth": None,
}
PLACES = ("gateway.limits", "gateway.tenantLimits", "gateway.tenants.acme", "models.0.limits")


def written(place: str) -> str:
    return place.replace("models.0", "models[0]")


@pytest.mark.parametrize("place", PLACES)
def test_limits_reach_the_gateways_from_every_place(place: str):
    def edit(values: Values) -> None:
        put(place, NONE | {"requestsPerMinute": 90, "usdPerDay": 2.5})(values)

    values = Settings.parse(_edited(edit))
    config = gateway_config(values, "blue")
    found = {
        "gateway.limits": config.limits,
        "gateway.tenantLimits": config.tenant_limits,
        "gateway.tenants.acme": config.tenants.get("acme"),
        "models.0.limits": config.models[0].limits,
    }
    assert found[place] == gateway.Limits(requests_per_minute=90, usd_per_day=2.5)
    assert all(limits is None for other, limits in found.items() if other != place)


def _edited(*edits: Callable[[Values], object]) -> Values:
    values = copy.deepcopy(VALUES["local"])
    for edit in edits:
        edit(values)
    return values


@pytest.mark.parametrize(
    ("kind", "asked"), [("vllm", True), ("sglang", True), ("tgi", False), ("openai-compatible", False)]
)
def test_only_engines_that_know_it_are_asked_for_their_usage_in_each_event(kind: str, asked: bool):
    (model, *_) = Settings.parse(VALUES["local"]).models
    assert _route(model.model_copy(update={"engine": kind}), "blue", model.name, ()).usage_in_events is asked


def test_the_stack_file_and_the_gateway_have_the_same_limits_and_times():
    assert set(shapes.Limits.model_fields) == set(gateway.Limits.model_fields)
    # How long a pooled connection may rest follows from vLLM, and is nobody's to set.
    # How often an unknown signing key may cause a read has a good value.
    assert set(shapes.Jwt.model_fields) == set(gateway.Jwt.model_fields) - {"refresh_floor_seconds"}
    assert set(shapes.Timeouts.model_fields) == set(gateway.Timeouts.model_fields) - {"idle_connection_seconds"}


def test_tokens_of_an_issuer_reach_the_gateways():
    jwt = {
        "issuer": "https://login.example.com",
        "audience": ["penstock"],
        "jwksUrl": "https://login.example.com/keys",
        "algorithms": ["RS256"],
        "subjectClaim": "sub",
        "tenantClaim": "org",
        "defaultTenant": None,
        "scopesClaim": "scope",
        "requiredScope": None,
        "priorityClaim": None,
        "limits": NONE | {"requestsPerMinute": 30},
        "clockSkewSeconds": 5,
        "refreshSeconds": 60,
    }
    config = gateway_config(Settings.parse(_edited(put("gateway.jwt", jwt))), "green")
    assert config.jwt is not None
    assert (config.jwt.tenant_claim, config.jwt.limits) == ("org", gateway.Limits(requests_per_minute=30))
    assert (config.jwt.clock_skew_seconds, config.jwt.refresh_seconds) == (5, 60)
    assert problems(put("gateway.jwt", jwt | {"clockSkewSeconds": 301})).keys() == {"gateway.jwt.clockSkewSeconds"}
    assert gateway_config(Settings.parse(_edited(put("gateway.jwt", None))), "green").jwt is None
    assert "gateway.jwt.algorithms[0]" in problems(put("gateway.jwt", jwt | {"algorithms": ["HS256"]}))
    assert problems(put("gateway.jwt", jwt | {"issuer": "login"})).keys() == {"gateway.jwt.issuer"}


def test_retries_resumption_and_probes_reach_the_gateways():
    config = gateway_config(
        Settings.parse(
            _edited(
                put("gateway.retries", {"attempts": 5, "budgetPercent": 10}),
                put("gateway.resume", {"attempts": 1, "maxKeptKib": 64}),
                put("gateway.health", {"silenceSeconds": 2, "timeoutSeconds": 0.5, "attempts": 3}),
            )
        ),
        "green",
    )
    assert (config.retries.attempts, config.retries.budget_ratio) == (5, 0.1)
    assert (config.resume.enabled, config.resume.attempts, config.resume.max_kept_bytes) == (True, 1, 65_536)
    health = config.health
    assert (health.enabled, health.silence_seconds, health.timeout_seconds, health.attempts) == (True, 2, 0.5, 3)


def test_resumption_and_probes_can_be_turned_off():
    config = gateway_config(Settings.parse(_edited(put("gateway.resume", None), put("gateway.health", None))), "blue")
    assert not config.resume.enabled
    assert not config.health.enabled


def test_retries_without_bound_are_refused():
    assert problems(put("gateway.retries.budgetPercent", 101)).keys() == {"gateway.retries.budgetPercent"}
    assert problems(put("gateway.health.attempts", 0)).keys() == {"gateway.health.attempts"}


def test_gateways_get_hashes_and_never_keys():
    content = key_file("pk-first", "pa-first")
    assert "pk-first" not in content
    assert "pa-first" not in content
    keys = gateway.KeyFile.model_validate_json(content)
    assert [key.sha256 for key in keys.keys] == [hashlib.sha256(b"pk-first").hexdigest()]
    assert [key.sha256 for key in keys.admins] == [hashlib.sha256(b"pa-first").hexdigest()]


def test_gateways_share_limits_among_those_of_their_colour():
    def scaled(values: Values) -> None:
        values["release"]["blue"]["gatewayReplicas"] = 5
        values["release"]["green"]["gatewayReplicas"] = 0

    before, after = Settings.parse(_edited(lambda values: None)), Settings.parse(_edited(scaled))
    for colour in ("blue", "green"):
        assert gateway_config(after, colour).peers == manifests.selector("gateway", colour)
        assert gateway_config(after, colour) == gateway_config(before, colour), "a change of scale restarts no gateway"


def test_scaling_one_colour_leaves_the_other_colours_settings_alone():
    before = gateway_config(Settings.parse(_edited(lambda values: None)), "blue")
    after = gateway_config(Settings.parse(_edited(put("release.green.gatewayReplicas", 9))), "blue")
    assert before == after


@pytest.mark.parametrize("place", PLACES)
def test_a_limit_that_is_wrong_is_named_by_its_whole_path(place: str):
    found = problems(put(place, NONE | {"requestsPerMinute": "many"}))
    assert found[f"{written(place)}.requestsPerMinute"] == "must be a number, not 'many'"
    unknown = problems(put(place, NONE | {"requestPerMinute": 1}))
    assert "did you mean requestsPerMinute?" in unknown[f"{written(place)}.requestPerMinute"]
    incomplete = problems(put(place, {key: None for key in NONE if key != "usdPerDay"}))
    assert incomplete[f"{written(place)}.usdPerDay"] == "is missing"


def test_a_name_that_is_no_tenants_is_refused():
    found = problems(put("gateway.tenants", {"Acme Ltd": NONE}))
    assert len(found) == 1
    assert next(iter(found)).startswith("gateway.tenants.Acme Ltd")


@pytest.mark.parametrize("place", PLACES)
def test_a_burst_needs_a_rate(place: str):
    assert f"{written(place)}.burstRequests" in problems(put(place, NONE | {"burstRequests": 5}))
    assert problems(put(place, NONE | {"burstRequests": 5, "requestsPerMinute": 1})) == {}


@pytest.mark.parametrize("place", PLACES)
def test_a_month_is_no_less_than_a_day(place: str):
    found = problems(put(place, NONE | {"usdPerDay": 10, "usdPerMonth": 9}))
    assert "10 (usdPerDay) or more" in found[f"{written(place)}.usdPerMonth"]
    assert problems(put(place, NONE | {"usdPerDay": 10, "usdPerMonth": 10})) == {}


@pytest.mark.parametrize("place", PLACES)
def test_a_limit_of_tokens_lets_the_largest_answer_pass(place: str):
    most = VALUES["local"]["models"][0]["maxOutputTokens"]
    assert f"{written(place)}.tokensPerMinute" in problems(put(place, NONE | {"tokensPerMinute": most - 1}))
    assert problems(put(place, NONE | {"tokensPerMinute": most})) == {}


def test_times_fit_each_other_and_the_load_balancer():
    assert "gateway.timeouts.firstByteSeconds" in problems(put("gateway.timeouts.totalSeconds", 59))
    assert "gateway.timeouts.betweenBytesSeconds" in problems(put("edge.idleTimeoutSeconds", 30))
    assert problems(put("edge.idleTimeoutSeconds", 61)) == {}


def test_production_verifies_its_database():
    assert "data.database.tls" in problems(put("data.database.tls", "require"), "prod")
    assert problems(put("data.database.tls", "require"), "dev") == {}
