"""The routes of the checks before a release: they exist on every stack, and nobody without the secret takes them."""

from __future__ import annotations

from collections.abc import Callable

from infra.rehearsal import Rehearsal

RULE = "aws:lb/listenerRule:ListenerRule"

Rehearsed = Callable[..., Rehearsal]


def test_a_request_with_the_secret_reaches_the_colour_it_names_before_the_weights_count(
    stack: str, rehearsed: Rehearsed
):
    weighted = rehearsed(stack).one(RULE, "traffic").inputs
    for colour in ("blue", "green"):
        rule = rehearsed(stack).one(RULE, f"traffic-probe-{colour}").inputs
        assert rule["priority"] < weighted["priority"]
        (action,) = rule["actions"]
        assert action["type"] == "forward"
        assert action["targetGroupArn"].endswith(f"-{colour}")


def test_the_route_asks_for_a_secret_that_is_kept_under_a_key_of_ours(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    for colour in ("blue", "green"):
        conditions = rehearsal.one(RULE, f"traffic-probe-{colour}").inputs["conditions"]
        headers = {
            condition["httpHeader"]["httpHeaderName"]: condition["httpHeader"]["values"]
            for condition in conditions
            if "httpHeader" in condition
        }
        assert headers == {"x-penstock-colour": [colour], "x-penstock-probe": ["[secret]"]}
        assert [c["pathPattern"]["values"] for c in conditions if "pathPattern" in c] == [["/v1/*"]]
    assert rehearsal.one("aws:secretsmanager/secret:Secret", "release-probe").inputs["kmsKeyId"]
    version = rehearsal.one("aws:secretsmanager/secretVersion:SecretVersion", "release-probe")
    assert version.inputs["secretString"] == "[secret]"


def test_a_traffic_component_without_the_secret_offers_no_choice(rehearsed: Rehearsed):
    from components.edge import TrafficArgs

    assert "probe_token" not in TrafficArgs.__required_keys__
