"""A model's entry, as far as the objects that the program makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.gateway.config import GatewayConfig
from infra.policy.rules import RULES, STACK_RULES, Subject
from infra.rehearsal import Registration, Rehearsal
from tests.unit.settings_cases import of_one_model

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
SCALED = "kubernetes:keda.sh/v1alpha1:ScaledObject"
GROUP = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
SCALING = {"maxReplicas": 4, "targetPerReplica": 20, "toZero": False}

RehearsedWith = Callable[[str, Callable[[dict], None]], Rehearsal]


def model(**changes: Any) -> Callable[[dict], None]:
    def edit(config: dict) -> None:
        of_one_model({key.removeprefix("penstock:"): value for key, value in config.items()})
        config["penstock:models"][0] |= changes
        config["penstock:controllers"]["keda"]["enabled"] = "scaling" in changes

    return edit


def pod(deployment: Registration) -> dict[str, Any]:
    return deployment.inputs["spec"]["template"]["spec"]


def engines(rehearsal: Rehearsal) -> dict[str, Registration]:
    return {each.name: each for each in rehearsal.of_type(DEPLOYMENT) if each.name.startswith("engine-")}


def test_shared_memory_and_cache_are_as_large_as_the_entry_says(rehearsed_with: RehearsedWith):
    found = engines(rehearsed_with("local", model(sharedMemoryMib=256, compileCacheMib=2048)))
    volumes = {each["name"]: each["emptyDir"] for each in pod(found["engine-tiny-blue"])["volumes"]}
    assert volumes == {
        "cache": {"sizeLimit": "2048Mi"},
        "shared-memory": {"medium": "Memory", "sizeLimit": "256Mi"},
    }


def test_the_startup_probe_waits_for_the_weights(rehearsed_with: RehearsedWith):
    def probe(**changes: Any) -> dict[str, Any]:
        found = engines(rehearsed_with("local", model(**changes)))
        return pod(found["engine-tiny-blue"])["containers"][0]["startupProbe"]

    small, large = probe(weightsGib=0), probe(weightsGib=12)
    assert small["failureThreshold"] * small["periodSeconds"] == 420
    assert large["failureThreshold"] * large["periodSeconds"] == 420 + 2 * 100
    streamed = probe(weightsGib=12, source="weights://tiny/1")
    assert streamed["failureThreshold"] * streamed["periodSeconds"] == 420 + 2 * 24


def test_a_gpu_type_becomes_the_instance_types_that_have_it(rehearsed_with: RehearsedWith):
    found = engines(rehearsed_with("local", model(gpuType="L4")))
    affinity = pod(found["engine-tiny-blue"])["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    types = next(each for each in term["matchExpressions"] if each["key"] == "node.kubernetes.io/instance-type")
    assert "g6.xlarge" in types["values"]
    assert not {"g5.xlarge", "g6e.xlarge"} & set(types["values"])


def test_batch_engines_give_way(rehearsed_with: RehearsedWith):
    found = engines(rehearsed_with("local", model(priority="batch")))
    assert pod(found["engine-tiny-blue"])["priorityClassName"] == "penstock-batch"


def test_another_engine_brings_its_command_its_image_and_its_probes(rehearsed_with: RehearsedWith):
    def edit(config: dict) -> None:
        model(engine="sglang")(config)
        config["penstock:release"]["blue"]["engineImages"] = {"tiny": "sglang-1"}

    found = engines(rehearsed_with("local", edit))
    container = pod(found["engine-tiny-blue"])["containers"][0]
    assert [*container["command"], *container["args"]][:3] == ["python3", "-m", "sglang.launch_server"]
    assert container["image"].endswith(":sglang-1")
    assert pod(found["engine-tiny-green"])["containers"][0]["image"].endswith(":local")
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"


def test_an_adapter_is_a_name_of_the_engines_and_of_the_gateways(rehearsed_with: RehearsedWith):
    law = {"name": "law", "source": "weights://adapters/law", "rank": 16}
    rehearsal = rehearsed_with("local", model(loraAdapters=[law]))
    spec = pod(engines(rehearsal)["engine-tiny-blue"])
    (fetcher,) = spec["initContainers"]
    environment = {each["name"]: each["value"] for each in fetcher["env"]}
    assert json.loads(environment["ADAPTERS"]) == {"law": "adapters/law/"}
    assert environment["ADAPTERS_BUCKET"]
    assert "law=/var/adapters/law" in spec["containers"][0]["args"]
    (config_map,) = (each for each in rehearsal.of_type("kubernetes:core/v1:ConfigMap") if each.name == "gateway-blue")
    config = GatewayConfig.model_validate_json(config_map.inputs["data"]["gateway.json"])
    base, adapter = config.models
    assert (adapter.name, adapter.selector) == ("law", base.selector)
    assert config.cache.revisions["law"] != config.cache.revisions["tiny"]


def test_a_share_on_spot_makes_a_floor_on_demand_and_a_part_that_prefers_spot(rehearsed_with: RehearsedWith):
    rehearsal = rehearsed_with("local", model(spotShare=50))
    found = engines(rehearsal)
    assert {name: each.inputs["spec"]["replicas"] for name, each in found.items()} == {
        "engine-tiny-floor-blue": 2,
        "engine-tiny-spot-blue": 1,
        "engine-tiny-floor-green": 2,
        "engine-tiny-spot-green": 1,
    }

    def pools(name: str) -> tuple[list[str], bool]:
        affinity = pod(found[name])["affinity"]["nodeAffinity"]
        (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        prefers = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
        return term["matchExpressions"][0]["values"], bool(prefers)

    assert pools("engine-tiny-floor-blue") == (["gpu"], False)
    assert pools("engine-tiny-spot-blue") == (["gpu", "gpu-spot"], True)
    selectors = [
        found[f"engine-tiny-{part}-blue"].inputs["spec"]["selector"]["matchLabels"] for part in ("floor", "spot")
    ]
    assert selectors[0] != selectors[1]
    (service,) = (each for each in rehearsal.of_type("kubernetes:core/v1:Service") if each.name == "engine-tiny-blue")
    for selector in selectors:
        assert service.inputs["spec"]["selector"].items() <= selector.items(), "gateways find both"
    budgets = [each.name for each in rehearsal.of_type("kubernetes:policy/v1:PodDisruptionBudget")]
    assert sorted(each for each in budgets if "engine" in each) == ["engine-tiny-blue", "engine-tiny-green"]


def test_what_keda_owns_no_update_changes(rehearsed_with: RehearsedWith):
    fixed = rehearsed_with("local", model(scaling=None))
    assert all(not each.ignore_changes for each in engines(fixed).values())
    assert list(fixed.of_type(SCALED)) == []

    rehearsal = rehearsed_with("local", model(scaling=SCALING))
    assert all(each.ignore_changes == ("spec.replicas",) for each in engines(rehearsal).values())
    objects = {each.name: each for each in rehearsal.of_type(SCALED)}
    assert objects.keys() == {"engine-tiny-blue", "engine-tiny-green"}
    keda = {each.urn for each in rehearsal.registrations if each.parent_name == "keda"}
    assert keda & objects["engine-tiny-blue"].dependencies, "a destroy ends KEDA after what it scales"

    def down(config: dict) -> None:
        model(scaling=SCALING)(config)
        config["penstock:release"]["green"]["engineReplicas"]["tiny"] = 0

    held = {each.name: each for each in rehearsed_with("local", down).of_type(SCALED)}
    assert held["engine-tiny-green"].inputs["metadata"]["annotations"] == {"autoscaling.keda.sh/paused-replicas": "0"}
    assert "annotations" not in held["engine-tiny-blue"].inputs["metadata"]
    assert held["engine-tiny-blue"].inputs == objects["engine-tiny-blue"].inputs, "the live colour is not touched"


def test_a_shift_of_weight_moves_no_ceiling_and_no_floor(rehearsed_with: RehearsedWith):
    def shifted(config: dict) -> None:
        model(scaling=SCALING)(config)
        config["penstock:release"]["blue"]["weight"] = 50
        config["penstock:release"]["green"]["weight"] = 50

    def objects(edit: Callable[[dict], None]) -> dict[str, Any]:
        return {each.name: each.inputs for each in rehearsed_with("local", edit).of_type(SCALED)}

    assert objects(shifted) == objects(model(scaling=SCALING))


def test_an_engine_of_two_nodes_is_a_group_with_one_answering_pod(rehearsed_with: RehearsedWith):
    def edit(config: dict) -> None:
        model(nodes=2, tensorParallel=2)(config)
        for colour in ("blue", "green"):
            config["penstock:release"][colour]["engineReplicas"]["tiny"] = 2

    rehearsal = rehearsed_with("local", edit)
    assert engines(rehearsal) == {}
    (group,) = (each for each in rehearsal.of_type(GROUP) if each.name == "engine-tiny-blue")
    template = group.inputs["spec"]["leaderWorkerTemplate"]
    assert (template["size"], group.inputs["spec"]["replicas"]) == (2, 2)
    leader, worker = template["leaderTemplate"], template["workerTemplate"]
    (service,) = (each for each in rehearsal.of_type("kubernetes:core/v1:Service") if each.name == "engine-tiny-blue")
    selector = service.inputs["spec"]["selector"].items()
    assert selector <= leader["metadata"]["labels"].items()
    assert not selector <= worker["metadata"]["labels"].items()
    first, second = leader["spec"]["containers"][0], worker["spec"]["containers"][0]
    assert second["args"] == [*first["args"], "--headless"]
    assert "readinessProbe" in first
    assert "readinessProbe" not in second
    policies = {
        each.inputs["metadata"]["name"] for each in rehearsal.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
    }
    assert {"engine-group", "engine-worker"} <= policies
    definitions = rehearsal.of_type("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition")
    assert "leader-worker-sets" in {each.name for each in definitions}


def test_a_stack_with_all_of_it_passes_its_own_policies(rehearsed_with: RehearsedWith):
    def edit(config: dict) -> None:
        first, second = config["penstock:models"]
        law = {"name": "law", "source": "weights://adapters/law", "rank": 16}
        first |= {"scaling": SCALING | {"maxReplicas": 8}, "spotShare": 50, "loraAdapters": [law]}
        second |= {"nodes": 2, "tensorParallel": 2, "engine": "sglang", "aliases": []}
        config["penstock:controllers"]["keda"]["enabled"] = True
        digest = "sha256:" + "5" * 64
        for colour in ("blue", "green"):
            config["penstock:release"][colour]["engineImages"] = {second["name"]: digest}

    subjects = [
        Subject(each.type, each.inputs, "prod", each.name, each.urn, each.dependencies, each.protect)
        for each in rehearsed_with("prod", edit).registrations
    ]
    assert {GROUP, SCALED, DEPLOYMENT} <= {each.type for each in subjects}
    found = [f"{each.name}: {message}" for each in subjects for rule in RULES for message in rule(each)]
    assert found + [message for rule in STACK_RULES for message in rule(subjects)] == []
