"""Outside providers, their models and routing: what a stack file may say, what is refused, what gateways get."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from app.gateway.routing.config import Route
from infra.gateway_config import gateway_config
from infra.outside_config import gateway_files
from infra.parts import network_endpoints
from infra.settings import Settings
from tests.unit.settings_cases import VALUES, Values, problems

ANTHROPIC: dict[str, Any] = {
    "name": "anthropic",
    "kind": "anthropic",
    "baseUrl": None,
    "region": None,
    "insecureHttp": False,
    "mostRequests": 64,
    "connectSeconds": 5,
    "firstByteSeconds": 60,
    "betweenBytesSeconds": 60,
    "answerSeconds": 300,
    "mostRetryAfterSeconds": 60,
    "apiKey": True,
}
BEDROCK = ANTHROPIC | {"name": "aws", "kind": "bedrock", "region": "eu-central-1", "apiKey": False}
CLAUDE: dict[str, Any] = {
    "name": "claude",
    "aliases": ["big"],
    "provider": "anthropic",
    "upstream": "claude-sonnet-4-5",
    "embeddingDimensions": None,
    "contextTokens": 200_000,
    "maxOutputTokens": 8192,
    "inputUsdPerMillionTokens": 3,
    "outputUsdPerMillionTokens": 15,
    "limits": None,
}
ROUTE: dict[str, Any] = {
    "name": "smart",
    "to": "tiny",
    "rules": [],
    "tasks": [],
    "experiment": None,
    "when": [],
    "levels": [],
    "fallback": ["claude"],
    "cached": False,
    "knowledge": False,
    "canned": None,
    "checkOutput": True,
    "firstByteSeconds": 5,
    "answerSeconds": None,
}


def fill(
    values: Values,
    *,
    provider: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    **routing: Any,
) -> None:
    values["providers"] = [ANTHROPIC | (provider or {})]
    values["outsideModels"] = [CLAUDE | (model or {})]
    values["routing"] |= {"routes": [ROUTE | (route or {})], **routing}


def found(**changes: Any) -> dict[str, str]:
    return problems(lambda values: fill(values, **changes))


def settled(**changes: Any) -> Settings:
    values = copy.deepcopy(VALUES["local"])
    fill(values, **changes)
    return Settings.parse(values)


def test_the_stack_files_ask_nobody_outside_but_bedrock_for_embeddings_and_that_in_their_own_region():
    for stack, values in VALUES.items():
        settings = Settings.parse(values)
        assert settings.routing.routes == ()
        asked = [(one.kind, one.region, one.base_url, one.api_key) for one in settings.providers]
        assert asked == ([] if stack == "local" else [("bedrock", settings.aws.region, None, False)])
        assert all(model.makes_embeddings for model in settings.outside_models)


def test_what_a_stack_file_says_reaches_the_gateways():
    entry = {"phrases": ["refund"], "answer": "Five days."}
    settings = settled(
        route={"canned": "sorry", "knowledge": True}, templates={"sorry": "Try again."}, knowledge=[entry]
    )
    config = gateway_config(settings, "blue")
    (provider,) = config.providers
    assert (provider.kind, provider.key_secret, provider.key_file) == ("anthropic", True, None)
    (model,) = config.outside_models
    assert (model.name, model.upstream, model.context_tokens) == ("claude", "claude-sonnet-4-5", 200_000)
    (route,) = config.routing.routes
    assert type(route) is Route
    assert (route.to, route.fallback, route.canned, route.first_byte_seconds) == ("tiny", ("claude",), "sorry", 5)
    assert config.routing.knowledge_file == "/etc/penstock/config/knowledge.json"
    assert gateway_files(settings) == {
        "knowledge.json": '{"entries": [{"phrases": ["refund"], "answer": "Five days."}]}'
    }


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"provider": {"name": "other"}}, "outsideModels[0].provider", "no provider 'anthropic'; allowed: other"),
        ({"route": {"to": "none-such"}}, "routing.routes[0].to", "no model 'none-such'; allowed: claude, tiny"),
        ({"route": {"fallback": ["claude", "x"]}}, "routing.routes[0].fallback[1]", "no model 'x'"),
        ({"route": {"levels": [{"score": 0.5, "to": "x"}]}}, "routing.routes[0].levels[0].to", "no model 'x'"),
        ({"route": {"canned": "sorry"}}, "routing.routes[0].canned", "no template 'sorry'; there are none"),
        ({"route": {"knowledge": True}}, "routing.routes[0].knowledge", "routing.knowledge is empty"),
        ({"route": {"name": "big"}}, "routing.routes[0].name", "alias of a model"),
        ({"route": {"name": "other"}}, "routing.routes[0].name", "stands for no model"),
        ({"model": {"name": "tiny"}}, "outsideModels[0].name", r"taken by models\[0\]"),
        ({"model": {"maxOutputTokens": 300_000}}, "outsideModels[0].maxOutputTokens", "contextTokens, 200000, or less"),
        ({"provider": {"apiKey": False}}, "providers[0].apiKey", "without a key"),
        ({"provider": {"kind": "compatible"}}, "providers[0].baseUrl", "needs one"),
        ({"provider": {"kind": "bedrock"}}, "providers[0].region", "needs one"),
        ({"provider": {"baseUrl": "http://llm.example.com"}}, "providers[0].baseUrl", "in the clear"),
        ({"provider": {"baseUrl": "https://llm.example.com:8443"}}, "providers[0].baseUrl", "port 8443 is closed"),
        ({"provider": {"region": "us-east-1"}}, "providers[0].region", "aws.allowedRegions"),
        ({"provider": {"mostRequests": 0}}, "providers[0].mostRequests", "0 is too small; allowed: 1 or more"),
        ({"provider": {"connectSeconds": 0}}, "providers[0].connectSeconds", "allowed: more than 0, in seconds"),
        ({"provider": {"keyFile": "/x"}}, "providers[0].keyFile", "unknown key"),
        (
            {"route": {"rules": [{"template": "hi", "exact": [], "pattern": "(?=x)"}]}, "templates": {"hi": "Hi."}},
            "routing.routes[0].rules[0].pattern",
            "not a valid RE2 expression",
        ),
    ],
)
def test_what_a_gateway_would_refuse_is_refused_at_preview(changes: dict[str, Any], path: str, words: str):
    told = found(**changes)
    assert path in told, told
    assert re.search(words, told[path]), told[path]


def test_every_key_of_a_route_must_be_written():
    def edit(values: Values) -> None:
        fill(values)
        del values["routing"]["routes"][0]["checkOutput"]

    assert problems(edit) == {"routing.routes[0].checkOutput": "is missing"}


def test_bedrock_takes_ids_and_no_arns():
    def edit(values: Values) -> None:
        fill(values, model={"provider": "aws", "upstream": "arn:aws:bedrock:eu-central-1::foundation-model/x"})
        values["providers"] = [BEDROCK]

    assert "id of a foundation model" in problems(edit)["outsideModels[0].upstream"]


def private(values: Values, provider: dict[str, Any]) -> None:
    fill(values, model={"provider": provider["name"], "upstream": "anthropic.claude-3-haiku-20240307-v1:0"})
    values["providers"] = [provider]
    values["network"] |= {"natGateways": "none", "interfaceEndpoints": "needed"}


def test_a_private_network_reaches_bedrock_at_home_alone():
    assert "an endpoint inside" in problems(lambda values: private(values, ANTHROPIC))["providers[0]"]
    assert problems(lambda values: private(values, BEDROCK)) == {}
    values = copy.deepcopy(VALUES["local"])
    private(values, BEDROCK)
    assert "bedrock-runtime" in network_endpoints(Settings.parse(values))


def test_limits_of_an_outside_model_are_held_to_the_same_rules():
    limits = dict.fromkeys(
        ("requestsPerSecond", "requestsPerMinute", "burstRequests", "concurrentRequests", "usdPerDay", "usdPerMonth")
    ) | {"tokensPerMinute": 10}
    assert "8192 or more" in found(model={"limits": limits})["outsideModels[0].limits.tokensPerMinute"]


def test_a_stack_needs_a_model_somewhere():
    def nothing(values: Values) -> None:
        values["models"] = []

    assert "nothing would answer" in problems(nothing)["models"]
