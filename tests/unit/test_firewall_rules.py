"""The firewall's rules: what is refused, and what a prompt may hold."""

from __future__ import annotations

import json
from typing import Any, cast

from components import firewall
from components.firewall import PROMPT_RULES, RATE_WINDOW_SECONDS, SECRET_HEADERS, TOO_MANY


def rules(requests: int) -> list[Any]:
    """As plain values: the provider's types also allow what is only known later."""
    return cast("list[Any]", firewall.rules(requests))


def test_each_rule_has_its_own_place_and_the_limit_is_judged_first():
    made = rules(2000)
    assert [rule["priority"] for rule in made] == [0, 1, 2, 3]
    assert made[0]["statement"]["rate_based_statement"] == {
        "limit": 2000,
        "aggregate_key_type": "IP",
        "evaluation_window_sec": RATE_WINDOW_SECONDS,
    }


def test_an_address_beyond_the_limit_is_answered_as_clients_of_the_api_expect():
    response = rules(10)[0]["action"]["block"]["custom_response"]
    assert response["response_code"] == json.loads(TOO_MANY)["error"]["code"] == 429


def test_addresses_and_attacks_are_judged_by_the_rules_of_aws():
    groups = [rule["statement"]["managed_rule_group_statement"]["name"] for rule in rules(10)[1:]]
    assert groups == [
        "AWSManagedRulesAmazonIpReputationList",
        "AWSManagedRulesCommonRuleSet",
        "AWSManagedRulesKnownBadInputsRuleSet",
    ]
    assert all(rule["override_action"] == {"none": {}} for rule in rules(10)[1:])


def test_only_rules_on_the_body_are_eased_for_prompts():
    eased = {
        override["name"]
        for rule in rules(10)[1:]
        for override in rule["statement"]["managed_rule_group_statement"]["rule_action_overrides"]
        if override["action_to_use"] == {"count": {}}
    }
    assert eased == {rule for group in PROMPT_RULES.values() for rule in group}
    assert "SizeRestrictions_BODY" in eased
    assert all(rule.endswith("_BODY") for rule in eased)


def test_no_sample_and_no_log_shows_a_clients_key():
    assert not any(rule["visibility_config"]["sampled_requests_enabled"] for rule in rules(10))
    assert {"authorization", "x-api-key"} <= set(SECRET_HEADERS)
