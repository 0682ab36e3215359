"""The pods that the program describes: how they are placed, started, drained, and what they know."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine.flags import parse
from infra.rehearsal import SECRET, Registration, Rehearsal
from infra.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOYMENT = "kubernetes:apps/v1:Deployment"

Rehearsed = Callable[..., Rehearsal]


def pods(rehearsal: Rehearsal, app: str) -> Iterator[tuple[Registration, dict[str, Any]]]:
    for each in rehearsal.of_type(DEPLOYMENT):
        if each.name.startswith(f"{app}-"):
            yield each, each.inputs["spec"]["template"]["spec"]


@pytest.fixture
def settings(stack: str) -> Settings:
    return Settings.from_stack_file(CHECKOUT / f"Pulumi.{stack}.yaml")


def test_a_pod_has_time_to_leave_before_it_is_killed(stack: str, settings: Settings, rehearsed: Rehearsed):
    for app, shutdown in (
        ("gateway", settings.drain.gateway_shutdown_seconds),
        ("engine", settings.drain.engine_shutdown_seconds),
    ):
        for _, pod in pods(rehearsed(stack), app):
            sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert sleep + shutdown < pod["terminationGracePeriodSeconds"]


def test_an_engine_is_started_with_flags_that_it_has(stack: str, settings: Settings, rehearsed: Rehearsed):
    contexts = {model.name: model.max_model_len for model in settings.models}
    for each, pod in pods(rehearsed(stack), "engine"):
        container = pod["containers"][0]
        flags = parse([argument.replace("$(POD_IP)", "10.0.0.1") for argument in container["args"][1:]])
        model = each.inputs["metadata"]["labels"]["penstock.dev/model"]
        assert flags.served_model_name[0] == model
        assert flags.max_model_len == contexts[model]
        assert flags.shutdown_timeout == settings.drain.engine_shutdown_seconds
        assert flags.host == "10.0.0.1"


def test_engines_ask_for_gpus_and_stay_on_gpu_nodes(stack: str, rehearsed: Rehearsed):
    for _, pod in pods(rehearsed(stack), "engine"):
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_engines_have_no_token_of_the_cluster(stack: str, rehearsed: Rehearsed):
    assert all(pod["automountServiceAccountToken"] is False for _, pod in pods(rehearsed(stack), "engine"))


def test_replicas_for_all_zones_must_be_spread_over_them(stack: str, settings: Settings, rehearsed: Rehearsed):
    zones = len(settings.network.zones)
    for app in ("gateway", "engine"):
        for each, pod in pods(rehearsed(stack), app):
            spread = pod["topologySpreadConstraints"][0]
            assert spread["topologyKey"] == "topology.kubernetes.io/zone"
            expected = "DoNotSchedule" if each.inputs["spec"]["replicas"] >= zones else "ScheduleAnyway"
            assert spread["whenUnsatisfiable"] == expected


def test_a_single_pod_has_no_disruption_budget(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    budgets = rehearsal.of_type("kubernetes:policy/v1:PodDisruptionBudget")
    held, several = [], []
    for each in rehearsal.of_type(DEPLOYMENT):
        spec, namespace = each.inputs["spec"], each.inputs["metadata"]["namespace"]
        labels = spec["template"]["metadata"]["labels"].items()
        held += [
            each.name
            for budget in budgets
            if budget.inputs["metadata"]["namespace"] == namespace
            and budget.inputs["spec"]["selector"]["matchLabels"].items() <= labels
        ]
        several += [each.name] if spec["replicas"] >= 2 else []
    assert sorted(held) == sorted(several)


def test_every_workload_has_a_service_of_its_name(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    serving = [each for each in rehearsal.of_type(DEPLOYMENT) if each.parent_name in ("blue", "green")]
    services = [
        each.inputs for each in rehearsal.of_type("kubernetes:core/v1:Service") if each.parent_name in ("blue", "green")
    ]
    reached = {service["metadata"]["name"]: 0 for service in services}
    for each in serving:
        labels = each.inputs["spec"]["template"]["metadata"]["labels"].items()
        (name,) = (each["metadata"]["name"] for each in services if each["spec"]["selector"].items() <= labels)
        # A model with a share on spot is two workloads behind one service.
        assert name == re.sub("-(floor|spot)-(blue|green)$", r"-\2", each.inputs["metadata"]["name"])
        reached[name] += 1
    assert all(reached.values()), "a service of nobody"


def test_secrets_are_secret_and_config_maps_are_not(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    for each in rehearsal.of_type("kubernetes:core/v1:Secret"):
        assert each.inputs["data"] == SECRET
    for each in rehearsal.of_type("kubernetes:core/v1:ConfigMap"):
        assert SECRET not in str(each.inputs)
    assert rehearsal.one("aws:secretsmanager/secretVersion:SecretVersion", "api-key").inputs["secretString"] == SECRET


def test_the_kubernetes_provider_follows_the_cluster_and_not_its_address(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack, preview=True)
    provider = rehearsal.one("pulumi:providers:kubernetes", "kubernetes")
    assert provider.inputs["clusterIdentifier"] == rehearsal.outputs["clusterArn"]
    assert provider.inputs["kubeconfig"] == SECRET


def test_pods_are_made_after_the_nodes(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    groups = {each.urn for each in rehearsal.of_type("aws:eks/nodeGroup:NodeGroup")}
    assert len(groups) == 2 + 3, "system, gpu, and gpu-spot in each zone"
    assert groups <= rehearsal.one("pulumi:providers:kubernetes", "kubernetes").dependencies
