"""What leaves the cluster as metrics and logs: few series, no secrets, each log to its own group."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.gateway.metrics import Metrics
from components import collector_manifests as manifests
from components import controller_policies
from components.alarms import SERVER_ERRORS, engine_alarms
from components.telemetry import configuration as addon_configuration
from infra.policy.evaluate import Decision, Request, evaluate
from tests.unit.settings_cases import problems, put

GROUP = "arn:aws:logs:eu-central-1:123456789012:log-group:/penstock/prod/metrics"
WORKSPACE = "arn:aws:aps:eu-central-1:123456789012:workspace/ws-1"
HERE = {"aws:RequestedRegion": "eu-central-1"}


def settings_of(remote_write: str | None = None, *, signed: bool = False) -> dict[str, Any]:
    text = manifests.configuration(
        namespace="penstock",
        region="eu-central-1",
        log_group="/penstock/prod/metrics",
        remote_write=remote_write,
        signed=signed,
    )
    assert "$" not in text, "the collector would read it as a variable"
    return json.loads(text)


def declared() -> dict[str, set[tuple[str, ...]]]:
    """Dimensions of each metric in CloudWatch."""
    found = settings_of()["exporters"]["awsemf"]["metric_declarations"]
    return {
        name: {tuple(each) for each in declaration["dimensions"]}
        for declaration in found
        for name in (*manifests.PER_COLOUR, *manifests.PER_CODE)
        if re.search(declaration["metric_name_selectors"][0], name)
    }


def test_an_alarm_reads_what_the_collector_sends_under_the_same_dimensions():
    for alarm in engine_alarms(["blue"], 10, 3.0):
        sent = declared()[alarm.metric]
        for dimensions in [alarm.dimensions, *alarm.terms.values()]:
            assert tuple(sorted(dimensions, key=["colour", "code"].index)) in sent, alarm.name


def test_the_gateways_metrics_have_the_names_and_labels_that_are_collected():
    metrics = Metrics(["tiny"], "blue")
    metrics.models["tiny"].count(int(SERVER_ERRORS[0]), stream=True)
    metrics.interrupted.labels("tiny").inc()
    families = {sample.name: sample.labels for family in metrics.registry.collect() for sample in family.samples}
    wanted = [name for name in (*manifests.PER_COLOUR, *manifests.PER_CODE) if name.startswith("penstock_")]
    assert wanted
    for name in wanted:
        assert name in families or f"{name}_count" in families, name
    assert "code" in families["penstock_requests_total"]


def test_no_series_has_the_name_of_a_pod_or_of_a_tenant():
    assert {label for each in declared().values() for dimensions in each for label in dimensions} == {"colour", "code"}
    (job,) = settings_of()["receivers"]["prometheus"]["config"]["scrape_configs"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": ["penstock"]}}]


@pytest.mark.parametrize(
    ("url", "signed", "extensions"),
    [
        (None, False, ["health_check"]),
        ("https://metrics.example.com/write", False, ["health_check"]),
        ("https://aps-workspaces.eu-central-1.amazonaws.com/x", True, ["health_check", "sigv4auth"]),
    ],
)
def test_a_prometheus_endpoint_gets_all_and_is_signed_for_where_it_is_aws(
    url: str, signed: bool, extensions: list[str]
):
    found = settings_of(url, signed=signed)
    assert found["service"]["extensions"] == extensions
    assert ("metrics/prometheus" in found["service"]["pipelines"]) is bool(url)
    assert ("auth" in found["exporters"].get("prometheusremotewrite", {})) is signed
    used = {part for line in found["service"]["pipelines"].values() for part in line["processors"] + line["exporters"]}
    assert used == found["processors"].keys() | found["exporters"].keys()


def test_logs_of_gateways_and_engines_go_to_their_own_groups_and_none_is_made_on_the_way():
    found = json.loads(addon_configuration("penstock", {"gateway": "/p/gateway", "engine": "/p/engine"}))
    text = found["containerLogs"]["fluentBit"]["config"]["extraFiles"]["application-log.conf"]
    assert re.findall(r"log_group_name (\S+)", text) == [
        "/aws/containerinsights/${CLUSTER_NAME}/application",
        "/p/engine",
        "/p/gateway",
    ]
    assert text.count("auto_create_group false") == 3
    assert "Path /var/log/containers/gateway-*_penstock_*.log" in text
    # What has a group of its own is left out of the common one, and nothing else is: a migration's log is there.
    (left_out,) = re.findall(r"Exclude_Path (.+)", text)
    assert left_out.split(", ") == [
        "/var/log/containers/engine-*_penstock_*.log",
        "/var/log/containers/gateway-*_penstock_*.log",
    ]
    assert len(set(re.findall(r"DB (\S+)", text))) == 3
    assert found["applicationSignals"] == {"enabled": False}


METRICS = controller_policies.write_metrics(GROUP, [WORKSPACE])
TELEMETRY = controller_policies.write_telemetry([GROUP], "eu-central-1")


@pytest.mark.parametrize(
    ("allowed", "policy", "action", "resource", "context"),
    [
        (True, METRICS, "logs:PutLogEvents", f"{GROUP}:log-stream:collector", {}),
        (True, METRICS, "aps:RemoteWrite", WORKSPACE, {}),
        (False, METRICS, "aps:QueryMetrics", WORKSPACE, {}),
        (False, METRICS, "aps:RemoteWrite", f"{WORKSPACE}2", {}),
        (False, METRICS, "logs:PutLogEvents", f"{GROUP}-other:log-stream:x", {}),
        (False, METRICS, "logs:GetLogEvents", f"{GROUP}:log-stream:collector", {}),
        (False, METRICS, "cloudwatch:PutMetricData", "*", {}),
        (True, TELEMETRY, "logs:PutLogEvents", f"{GROUP}:log-stream:x", {}),
        (True, TELEMETRY, "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "ContainerInsights"}),
        (True, TELEMETRY, "ec2:DescribeVolumes", "*", HERE),
        (False, TELEMETRY, "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/Billing"}),
        (False, TELEMETRY, "logs:CreateLogGroup", "arn:aws:logs:eu-central-1:123456789012:log-group:new", {}),
        (False, TELEMETRY, "logs:DeleteLogGroup", GROUP, {}),
        (False, TELEMETRY, "ssm:GetParameter", "*", HERE),
    ],
)
def test_writers_write_to_their_own_and_read_nothing(
    allowed: bool, policy: dict[str, Any], action: str, resource: str, context: dict[str, Any]
):
    assert (evaluate([policy], Request(action, resource, context=context)) is Decision.ALLOWED) is allowed


@pytest.mark.parametrize(
    ("value", "said"), [("managed", "would stay empty"), ("http://plain.example.com", "must match")]
)
def test_a_prometheus_that_nobody_writes_to_or_that_is_not_encrypted_is_refused(value: str, said: str):
    assert said in problems(put("watch.prometheus", value))["watch.prometheus"]
