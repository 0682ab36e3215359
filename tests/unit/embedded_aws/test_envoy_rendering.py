"""Load balancer state as Envoy's configuration: pure, file by file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.aws.planes.balancer_model import Balancer, HealthCheck, Listener, Rule, Snapshot, Target, TargetGroup
from infra.local.aws.planes.envoy import ranges, render
from infra.local.aws.planes.envoy_routes import matcher, route, routes

ARN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012"
FOLDER = Path("/state/envoy")
BLUE, GREEN = f"{ARN}:targetgroup/blue/b1", f"{ARN}:targetgroup/green/g1"
CHECK = HealthCheck("/readyz", "200-299,304", 10, 5, 3, 2)


def forward(**weights: int) -> dict[str, Any]:
    arns = {"blue": BLUE, "green": GREEN}
    groups = [{"TargetGroupArn": arns[colour], "Weight": weight} for colour, weight in weights.items()]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}


def snapshot(blue: int = 100, green: int = 0, targets: tuple[Target, ...] = (Target("127.9.16.2", 8080),)) -> Snapshot:
    listener = Listener(
        arn=f"{ARN}:listener/app/penstock/l1/x1",
        port=8080,
        protocol="HTTP",
        rules=(
            Rule(({"Field": "path-pattern", "Values": ["/v1/*"]},), (forward(blue=blue, green=green),)),
            Rule((), ({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}},)),
        ),
    )
    balancer = Balancer(f"{ARN}:loadbalancer/app/penstock/l1", "127.9.3.1", (listener,), idle_seconds=120)
    groups = (TargetGroup(BLUE, CHECK, targets), TargetGroup(GREEN, CHECK))
    return Snapshot((balancer,), groups)


def changed(before: Snapshot, after: Snapshot) -> set[str]:
    first, second = render(before, FOLDER), render(after, FOLDER)
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}


def test_a_change_of_weights_touches_the_routes_alone() -> None:
    assert changed(snapshot(100, 0), snapshot(95, 5)) == {"rds/eu-central-1-app-penstock-l1-x1.json"}


def test_a_change_of_targets_touches_the_endpoints_of_that_group_alone() -> None:
    grown = (Target("127.9.16.2", 8080), Target("127.9.17.2", 8080))
    assert changed(snapshot(), snapshot(targets=grown)) == {"eds/eu-central-1-blue-b1.json"}


def test_the_order_of_targets_does_not_matter() -> None:
    targets = (Target("127.9.16.2", 8080), Target("127.9.17.2", 8080))
    assert changed(snapshot(targets=targets), snapshot(targets=targets[::-1])) == set()


def test_files_come_in_an_order_in_which_nothing_is_named_before_it_is_there() -> None:
    kinds = [name.split("/")[0] for name in render(snapshot(), FOLDER)]
    assert kinds == sorted(kinds, key=["eds", "cds", "rds", "lds"].index)


@given(blue=st.integers(0, 999), green=st.integers(0, 999))
def test_a_weight_of_zero_gets_nothing_and_others_their_share(blue: int, green: int) -> None:
    made = route(Rule((), (forward(blue=blue, green=green),)))
    given_weights = {"eu-central-1-blue-b1": blue, "eu-central-1-green-g1": green}
    wanted = {name: weight for name, weight in given_weights.items() if weight}
    if not wanted:
        assert made["direct_response"]["status"] == 503
    elif len(wanted) == 1:
        assert made["route"]["cluster"] in wanted
        assert "weighted_clusters" not in made["route"]
    else:
        clusters = made["route"]["weighted_clusters"]["clusters"]
        assert {item["name"]: item["weight"] for item in clusters} == wanted


def test_a_response_may_last_as_long_as_it_moves() -> None:
    made = route(Rule((), (forward(blue=1),)))
    assert made["route"]["timeout"] == "0s"
    listener = render(snapshot(), FOLDER)["lds/listeners.json"]["resources"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["stream_idle_timeout"] == "120s"


def test_nothing_is_retried() -> None:
    made = route(Rule((), (forward(blue=1, green=1),)))
    assert "retry_policy" not in made["route"]


def test_a_removed_target_loses_new_requests_at_once_and_keeps_those_it_has() -> None:
    cluster = render(snapshot(), FOLDER)["cds/clusters.json"]["resources"][0]
    assert cluster["ignore_health_on_host_removal"] is True
    assert "close_connections_on_host_set_change" not in cluster["common_lb_config"]


def test_a_health_check_is_that_of_the_target_group() -> None:
    cluster = render(snapshot(), FOLDER)["cds/clusters.json"]["resources"][0]
    check = cluster["health_checks"][0]
    assert (check["interval"], check["no_traffic_interval"], check["timeout"]) == ("10s", "10s", "5s")
    assert (check["healthy_threshold"], check["unhealthy_threshold"]) == (3, 2)
    assert check["http_health_check"]["path"] == "/readyz"
    assert check["http_health_check"]["expected_statuses"] == [{"start": 200, "end": 300}, {"start": 304, "end": 305}]


def test_a_health_check_port_of_its_own_is_on_the_endpoint() -> None:
    group = TargetGroup(BLUE, replace(CHECK, port=9090), (Target("127.9.16.2", 8080),))
    assignment = render(Snapshot((), (group,)), FOLDER)["eds/eu-central-1-blue-b1.json"]["resources"][0]
    endpoint = assignment["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["health_check_config"] == {"port_value": 9090}


def test_single_codes_and_ranges_become_half_open_ranges() -> None:
    assert ranges("200") == [{"start": 200, "end": 201}]


@pytest.mark.parametrize(
    ("condition", "name", "fits", "misses"),
    [
        ({"Field": "path-pattern", "Values": ["/v1/*"]}, None, ["/v1/", "/v1/chat"], ["/v1", "/v2/chat", "/V1/a"]),
        ({"Field": "path-pattern", "Values": ["/a?c", "/x.y"]}, None, ["/abc", "/x.y"], ["/ac", "/xzy"]),
        (
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}},
            ":authority", ["api.example.com", "API.Example.com:8080"], ["example.com", "example.com.evil.org"],
        ),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Tenant", "Values": ["acme*"]}},
            "x-tenant", ["acme", "ACME-eu"], ["not-acme"],
        ),
        (
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "POST"]}},
            ":method", ["GET", "POST"], ["PUT", "GETS"],
        ),
        (
            {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "2*"}]}},
            ":path", ["/a?v=2", "/a?x=1&v=21&y=3"], ["/a", "/a?v=1", "/a?w=v=3", "/v=2"],
        ),
    ],
)  # fmt: skip
def test_conditions_match_what_aws_matches(
    condition: dict[str, Any], name: str | None, fits: list[str], misses: list[str]
) -> None:
    header, expression = matcher(condition)
    assert header == name
    for value in fits:
        assert re.fullmatch(expression, value), value
    for value in misses:
        assert not re.fullmatch(expression, value), value


def test_conditions_of_one_rule_hold_together() -> None:
    made = route(
        Rule(
            (
                {"Field": "path-pattern", "Values": ["/v1/*"]},
                {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "a", "Values": ["b"]}},
            ),
            (forward(blue=1),),
        )
    )
    assert "safe_regex" in made["match"]
    assert [header["name"] for header in made["match"]["headers"]] == ["a"]


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (
            Rule(({"Field": "source-ip", "Values": ["10.0.0.0/8"]},), (forward(blue=1),)),
            "source-ip",
        ),
        (Rule((), ({"Type": "authenticate-oidc"}, forward(blue=1))), "authenticate-oidc"),
        (Rule((), ({"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Host": "a.#{host}"}},)), "Host"),
    ],
)
def test_what_the_local_balancer_cannot_do_answers_501_and_names_it(rule: Rule, named: str) -> None:
    made = route(rule)
    assert made["direct_response"]["status"] == 501
    assert named in made["direct_response"]["body"]["inline_string"]


@pytest.mark.parametrize(
    ("ranges", "open_to_this_machine"),
    [(["127.0.0.0/8"], True), (["10.0.0.0/8", "0.0.0.0/0"], True), (["10.0.0.0/8"], False), (["fd00::/8"], False)],
)
def test_a_condition_on_the_source_holds_for_this_machine_or_the_rule_is_left_out(
    ranges: list[str], open_to_this_machine: bool
) -> None:
    source = {"Field": "source-ip", "SourceIpConfig": {"Values": ranges}}
    rule = Rule(({"Field": "path-pattern", "Values": ["/admin/*"]}, source), (forward(blue=1),))
    made = routes(Listener("arn:aws:elasticloadbalancing:eu-central-1:1:listener/app/a/b", 80, "HTTP", (rule,)))
    assert [route["match"] for route in made] == (
        [{"safe_regex": {"regex": "/admin/.*"}}] if open_to_this_machine else []
    )


def test_a_redirect_changes_what_it_names_and_keeps_the_rest() -> None:
    redirect = {
        "StatusCode": "HTTP_301", "Protocol": "HTTPS", "Port": "443", "Host": "#{host}", "Path": "/#{path}",
        "Query": "#{query}",
    }  # fmt: skip
    made = route(Rule((), ({"Type": "redirect", "RedirectConfig": redirect},)))["redirect"]
    assert made == {"response_code": "MOVED_PERMANENTLY", "scheme_redirect": "https", "port_redirect": 443}


def test_only_a_group_that_mitigates_anomalies_leaves_targets_out_for_their_failures() -> None:
    before = snapshot()
    blue, green = before.target_groups
    lots = replace(before, target_groups=(replace(blue, algorithm="weighted_random", mitigates_anomalies=True), green))
    first, second = render(lots, FOLDER)["cds/clusters.json"]["resources"]
    assert (first["lb_policy"], second["lb_policy"]) == ("RANDOM", "ROUND_ROBIN")
    assert "outlier_detection" not in second
    detection = first["outlier_detection"]
    assert detection["enforcing_failure_percentage_local_origin"] == 100
    assert not any(value for key, value in detection.items() if key.startswith("enforcing_consecutive"))
