"""Stacks that begin without a GPU: what they leave out, what they keep, and what an own engine adds."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import yaml

from infra.gateway_config import gateway_config
from infra.ops.cost.estimate import SECRETS, estimate
from infra.ops.cost.prices import Price, Table
from infra.policy.rules import RULES, STACK_RULES, Subject
from infra.rehearsal import Rehearsal, rehearse_stack
from infra.settings import Settings, capacity
from tests.program.example_stacks import EXAMPLES, example

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = ("managed", "grow")
GOLDEN = Path(__file__).resolve().parent / "golden" / "examples.json"
NODE_GROUP, ROLE, POLICY = "aws:eks/nodeGroup:NodeGroup", "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
SECRET, VERSION = "aws:secretsmanager/secret:Secret", "aws:secretsmanager/secretVersion:SecretVersion"


PRICED = ("eks:cluster-hour", "ec2:m7i.large", "ec2:g6.xlarge", "ebs:gp3-gib-month", "secret:month")


@cache
def run(name: str, preview: bool = False) -> Rehearsal:
    return rehearse_stack(EXAMPLES / f"Pulumi.{name}.yaml", preview=preview)


def names(rehearsal: Rehearsal, kind: str) -> set[str]:
    return {each.name for each in rehearsal.of_type(kind)}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_follows_the_stack_file_of_dev(name: str):
    written = (EXAMPLES / f"Pulumi.{name}.yaml").read_text()
    assert written == example(name), "`make golden`, and review the diff"
    config = yaml.safe_load(written)["config"]
    assert set(config) == set(yaml.safe_load((CHECKOUT / "Pulumi.prod.yaml").read_text())["config"])


@pytest.mark.parametrize("name", NAMES)
def test_an_example_previews_what_it_deploys_and_passes_the_policies(name: str):
    rehearsal, preview = run(name), run(name, preview=True)
    assert [(it.type, it.name) for it in rehearsal.registrations] == [
        (it.type, it.name) for it in preview.registrations
    ]
    subjects = [
        Subject(each.type, each.inputs, name, each.name, each.urn, each.dependencies, each.protect)
        for each in rehearsal.registrations
    ]
    violations = [f"{each.name}: {message}" for each in subjects for rule in RULES for message in rule(each)]
    violations += [message for rule in STACK_RULES for message in rule(subjects)]
    assert violations == []


@pytest.mark.parametrize("name", NAMES)
def test_the_resources_of_an_example_are_as_committed(name: str):
    counted = Counter(each.type for each in run(name).registrations)
    assert dict(counted) == json.loads(GOLDEN.read_text())[name], "the program changed: `make golden`, and review"


def test_a_stack_without_engines_has_nothing_that_serves_them():
    managed = run("managed")
    assert names(managed, NODE_GROUP) == {"nodes-system"}
    assert not [each.name for each in managed.registrations if each.name.startswith("engine-")]
    assert "engine" not in names(managed, ROLE)
    assert "budget-gpu" not in names(managed, "aws:budgets/budget:Budget")
    assert "watch-engine" not in names(managed, "aws:cloudwatch/logGroup:LogGroup")
    alarms = names(managed, "aws:cloudwatch/metricAlarm:MetricAlarm")
    assert not [name for name in alarms if "waiting-requests" in name or "full-engines" in name or "hot-gpu" in name]


def test_what_serves_engines_is_left_out_though_its_own_key_asks_for_it(tmp_path: Path):
    document = yaml.safe_load((EXAMPLES / "Pulumi.managed.yaml").read_text())
    for controller in ("karpenter", "keda", "devicePlugin"):
        document["config"]["penstock:controllers"][controller]["enabled"] = True
    path = tmp_path / "Pulumi.managed.yaml"
    path.write_text(yaml.safe_dump(document))
    found = {each.type for each in rehearse_stack(path).registrations}
    assert not found & {"penstock:index:Karpenter", "penstock:index:Keda", "penstock:index:DevicePlugin"}


def test_the_sums_of_a_stack_without_engines_are_naught():
    settings = Settings.from_stack_file(EXAMPLES / "Pulumi.managed.yaml")
    assert [(it.gpus, it.pods, it.left, it.room) for it in capacity.situations(settings)] == [(0, 0, 0, 0)] * 3
    assert list(capacity.shortfalls(settings)) == []


def test_a_month_without_engines_is_estimated_without_gpus():
    table = Table("eu-central-1", {key: Price(1.0, "test", "2026-01-01") for key in PRICED})
    managed, grow = (
        estimate(Settings.from_stack_file(EXAMPLES / f"Pulumi.{name}.yaml"), table, endpoints=0, keys=9)
        for name in NAMES
    )
    assert not [line.item for line in managed.lines if "gpu" in line.item]
    assert [line.amount for line in managed.lines if line.item == "secrets"] == [SECRETS + 2]
    assert managed.tokens == ()
    assert sum(line.usd or 0 for line in managed.lines) < sum(line.usd or 0 for line in grow.lines)


def test_an_own_engine_adds_resources_and_takes_none_away():
    def identities(name: str) -> set[tuple[str, str]]:
        return {(each.type, each.name) for each in run(name).registrations}

    assert identities("managed") < identities("grow")
    assert {"nodes-gpu", "nodes-gpu-spot-a"} <= names(run("grow"), NODE_GROUP)


def test_a_key_is_a_secret_without_a_value_that_only_gateways_read():
    managed = run("managed")
    assert "provider-key-anthropic" in names(managed, SECRET)
    assert "provider-key-anthropic" not in names(managed, VERSION)
    policy = json.loads(managed.one(POLICY, "gateway").inputs["policy"])
    readers = [it for it in policy["Statement"] if "secretsmanager:GetSecretValue" in it["Action"]]
    assert len(readers) == 1
    assert len(readers[0]["Resource"]) == 1
    assert set(managed.outputs["providerSecrets"]) == {"anthropic"}


def test_gateways_may_ask_bedrock_for_the_models_of_the_file_alone():
    policy = json.loads(run("managed").one(POLICY, "gateway").inputs["policy"])
    asked = [it["Resource"] for it in policy["Statement"] if "bedrock:InvokeModel" in it["Action"]]
    assert asked == [
        "arn:aws:bedrock:eu-central-1:111122223333:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:*::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0",
        ["arn:aws:bedrock:eu-central-1::foundation-model/amazon.titan-embed-text-v2:0"],
    ]
    embedding = next(it for it in policy["Statement"] if it["Sid"] == "AskModelsToEmbed")
    assert embedding["Action"] == ["bedrock:InvokeModel"], "embeddings are not streamed"


@pytest.mark.parametrize(
    ("name", "chain"), [("managed", ["haiku", "sonnet"]), ("grow", ["qwen3-0.6b", "haiku", "sonnet"])]
)
def test_the_route_asks_an_own_engine_first_and_providers_behind(name: str, chain: list[str]):
    config = gateway_config(Settings.from_stack_file(EXAMPLES / f"Pulumi.{name}.yaml"), "blue")
    (route,) = config.routing.routes
    assert [route.to, *route.fallback] == chain
    assert route.canned == "busy"


def test_gpu_nodes_without_an_engine_are_refused(tmp_path: Path):
    document = yaml.safe_load((EXAMPLES / "Pulumi.managed.yaml").read_text())
    document["config"]["penstock:nodeGroups"]["gpu"] |= {"maxNodes": 1, "desiredNodes": 1}
    path = tmp_path / "Pulumi.managed.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match=r"nodeGroups\.gpu\.desiredNodes: 1 would stand idle, for models is empty"):
        Settings.from_stack_file(path)
