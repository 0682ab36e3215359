import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Box

import pytest

from infra.ops import kube, scrape, status
from infra.ops.errors import NotRunningError, PenstockError
from infra.ops.stacks import State
from infra.ops.status import Status
from infra.ops.status_text import render
from infra.ops.tables import table
from infra.ops.traffic import TargetHealth
from infra.ops.weights import Weights

VLLM = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.125
"""
GATEWAY = """\
# TYPE penstock_requests counter
penstock_requests_total{model="tiny",code="200",stream="true"} 10.0
penstock_requests_total{model="tiny",code="503",stream="false"} 2.0
# TYPE penstock_tokens counter
penstock_tokens_total{model="tiny",direction="input"} 100.0
penstock_tokens_total{model="tiny",direction="cached"} 90.0
penstock_tokens_total{model="tiny",direction="output"} 50.0
# TYPE penstock_cost_usd counter
penstock_cost_usd_total{model="tiny"} 0.0015
"""


def pod(name: str, app: str, colour: str, zone: str, ready: bool = True, reason: str = "") -> kube.Pod:
    return kube.Pod(
        name=name,
        app=app,
        colour=colour,
        zone=zone,
        ip="127.9.16.2",
        phase="Running" if ready else "Pending",
        ready=ready,
        model="tiny" if app == "engine" else "",
        reason=reason,
    )


RECORDED = Status(
    stack="local",
    state="deployed",
    region="eu-central-1",
    urls={"gateway": "http://127.9.3.1:8080", "database": "127.9.1.1:5432"},
    models=("tiny",),
    weights_file=Weights(100, 0),
    weights_live=Weights(100, 0),
    targets={"blue": TargetHealth(2, 2), "green": TargetHealth(0, 1)},
    pods=(
        pod("gateway-blue-1", "gateway", "blue", "eu-central-1a"),
        pod("gateway-blue-2", "gateway", "blue", "eu-central-1b"),
        pod("engine-tiny-blue-1", "engine", "blue", "eu-central-1a"),
        pod("gateway-green-1", "gateway", "green", "", ready=False, reason="ErrImagePull"),
    ),
    engines={"engine-tiny-blue-1": scrape.engine(VLLM)},
    gateways={"gateway-blue-1": scrape.gateway(GATEWAY), "gateway-blue-2": scrape.gateway(GATEWAY)},
    missing={"metrics of gateway-green-1": "no answer within 15 s"},
)


def test_figures_are_read_from_recorded_metrics():
    assert scrape.engine(VLLM) == scrape.EngineFigures(running=3, waiting=2, kv_cache_usage=0.125)
    assert scrape.gateway(GATEWAY) == scrape.GatewayFigures(12, 2, 100, 50, 0.0015)
    assert scrape.total([]) == scrape.GatewayFigures()


def test_the_page_shows_everything_aligned():
    assert (
        render(RECORDED)
        == """\
stack     local (deployed, eu-central-1)
models    tiny
gateway   http://127.9.3.1:8080
database  127.9.1.1:5432

colour  live   stack file  targets      gateways  engines
blue    100 %  100 %       2/2 healthy  2/2       1/1
green   0 %    0 %         0/1 healthy  0/1       -

pods ready/total  (not placed)  eu-central-1a  eu-central-1b
engine tiny blue  -             1/1            -
gateway blue      -             1/1            1/1
gateway green     0/1           -              -
not ready: gateway-green-1 (Pending, ErrImagePull)

engine              running  waiting  KV cache
engine-tiny-blue-1        3        2  12.5%

since the gateways started: 24 requests, 4 failed, 200 input and 100 output tokens, 0.0030 USD

could not be had: metrics of gateway-green-1: no answer within 15 s"""
    )


def test_weights_that_differ_are_said():
    text = render(replace(RECORDED, weights_live=Weights(50, 50)))
    assert "The stack file says blue=100 green=0, the load balancer says blue=50 green=50" in text


def test_a_page_without_anything_but_the_stack_still_shows():
    empty = Status(stack="dev", state="deployed", urls={}, models=())
    assert render(empty).startswith("stack   dev (deployed)")
    assert "unknown" in render(empty)


def test_json_has_the_documented_keys():
    content = json.loads(json.dumps(RECORDED.as_dict()))
    assert set(content) == {
        "stack", "state", "region", "urls", "models", "weights", "targets", "pods", "engines", "gateways", "totals",
        "missing",
    }  # fmt: skip
    assert content["weights"] == {"file": {"blue": 100, "green": 0}, "live": {"blue": 100, "green": 0}, "differ": False}
    assert content["totals"]["cost_usd"] == pytest.approx(0.003)


def test_columns_of_numbers_are_to_the_right():
    assert table(["a", "n"], [["x", 5], ["yy", 10]], indent="") == ["a    n", "x    5", "yy  10"]


def exported(**outputs: object) -> State:
    return State.parse(
        {
            "deployment": {
                "resources": [
                    {"urn": "urn::penstock-local", "type": "pulumi:pulumi:Stack", "outputs": outputs},
                    {"urn": "u::traffic", "type": "aws:lb/listenerRule:ListenerRule", "id": "arn:rule"},
                    {"urn": "u::blue", "type": "aws:lb/targetGroup:TargetGroup", "id": "arn:blue"},
                    {"urn": "u::green", "type": "aws:lb/targetGroup:TargetGroup", "id": "arn:green"},
                    {"urn": "u::old", "type": "aws:lb/targetGroup:TargetGroup", "id": "arn:old", "delete": True},
                ]
            }
        }
    )


def test_sources_that_fail_are_named_and_the_rest_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> dict:
        raise PenstockError("127.9.0.1:4566 did not answer: refused.")

    def unreachable(*_: object) -> kube.Cluster:
        raise PenstockError("the cluster is asleep")

    monkeypatch.setattr(kube, "connect", unreachable)
    state = exported(gatewayUrl="http://127.9.3.1:8080", clusterName="penstock", region="eu-central-1", models=["tiny"])
    access = Box(
        name="local",
        stack_file=tmp_path / "Pulumi.local.yaml",
        state=lambda: state,
        aws=lambda service: Box(describe_rules=broken, describe_target_health=broken),
    )
    found = status.collect(access)  # ty: ignore[invalid-argument-type]
    assert found.models == ("tiny",)
    assert found.missing["cluster"] == "the cluster is asleep"
    assert set(found.missing) == {
        "cluster", "target health", "weights in the load balancer", "weights in the stack file",
    }  # fmt: skip


def test_a_stack_that_is_not_deployed_is_said_at_once():
    access = Box(name="local", state=lambda: State.parse({"deployment": None}))
    with pytest.raises(NotRunningError, match="not deployed"):
        status.collect(access)  # ty: ignore[invalid-argument-type]


def test_a_resource_that_waits_for_deletion_is_not_in_the_state():
    assert len(exported(x=1).of_type(":TargetGroup")) == 2


def test_a_pod_is_read_from_the_api():
    item = {
        "metadata": {"name": "engine-tiny-blue-x", "labels": {
            "app.kubernetes.io/name": "engine", "penstock.dev/colour": "blue", "penstock.dev/model": "tiny",
            "topology.kubernetes.io/zone": "eu-central-1a"}},
        "status": {"phase": "Running", "podIP": "127.9.16.2", "conditions": [{"type": "Ready", "status": "True"}],
                   "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
    }  # fmt: skip
    found = kube.Pod.parse(item)
    assert (found.app, found.colour, found.zone, found.ready) == ("engine", "blue", "eu-central-1a", True)
    assert found.reason == "CrashLoopBackOff"
    item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert kube.Pod.parse(item).phase == "Terminating"
    assert not kube.Pod.parse(item).ready
    assert kube.Pod.parse({"metadata": {"name": "new"}}).phase == "Unknown"
