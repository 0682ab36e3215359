"""What every engine pod has, whatever its model's entry says: where it may run, what it may do, when it goes."""

from __future__ import annotations

from typing import Any

import pytest

from components import engine_manifests, pods
from components.manifests import CAPACITY_LABEL, GPU_POOLS, ZONE_LABEL
from tests.unit.engine_cases import DRAIN, PROBES, shape


def pod_specs(zones: int = 3, **changes: Any) -> list[dict[str, Any]]:
    engine = shape(**changes)
    found = [
        engine_manifests.deployment(
            engine, part, namespace="penstock", image="image", zones=zones, drain=DRAIN, probes=PROBES
        )
        for part in engine_manifests.parts(engine, "blue")
    ]
    return [each["spec"]["template"]["spec"] for each in found]


def spreads(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["topologyKey"]: each for each in spec["topologySpreadConstraints"]}


@pytest.mark.parametrize(("replicas", "domains"), [(1, None), (2, None), (3, 2), (9, 2)])
def test_engines_for_all_zones_wait_for_all_zones_but_one(replicas: int, domains: int | None):
    (spec,) = pod_specs(replicas=replicas)
    zone = spreads(spec)[ZONE_LABEL]
    assert zone.get("minDomains") == domains, "with all zones asked for, a lost one would hold its pods back"
    assert zone["whenUnsatisfiable"] == ("DoNotSchedule" if domains else "ScheduleAnyway")
    assert zone["matchLabelKeys"] == ["pod-template-hash"], "pods of an older version do not count"


def test_engines_are_spread_over_kinds_of_capacity_unless_they_belong_to_one():
    (either,) = pod_specs(spot_share=None)
    assert spreads(either)[CAPACITY_LABEL]["whenUnsatisfiable"] == "ScheduleAnyway"
    for share in (0, 100, 50):
        for spec in pod_specs(spot_share=share, replicas=4):
            assert CAPACITY_LABEL not in spreads(spec)


def test_an_engine_runs_without_privileges_and_may_write_for_the_runtimes_hook():
    (spec,) = pod_specs()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False


def test_an_engine_leaves_before_it_is_told_and_is_told_before_it_is_killed():
    (spec,) = pod_specs()
    (container,) = spec["containers"]
    slept = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    shutdown = int(container["args"][container["args"].index("--shutdown-timeout") + 1])
    assert slept == DRAIN["pre_stop_seconds"]
    assert shutdown == DRAIN["engine_shutdown_seconds"]
    assert spec["terminationGracePeriodSeconds"] == DRAIN["grace_seconds"] > slept + shutdown


def test_probes_start_with_what_only_a_loaded_model_answers():
    (spec,) = pod_specs(startup_seconds=900)
    (container,) = spec["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 900
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_a_pod_asks_for_its_gpus_and_memory_and_gives_shared_memory_a_bound():
    (spec,) = pod_specs(gpus=4, memory_mib=9000, shared_memory_mib=700, compile_cache_mib=800)
    (container,) = spec["containers"]
    assert container["resources"]["limits"] == {"memory": "9000Mi", "nvidia.com/gpu": "4"}
    volumes = {each["name"]: each["emptyDir"] for each in spec["volumes"]}
    assert volumes["shared-memory"] == {"medium": "Memory", "sizeLimit": "700Mi"}
    assert volumes["cache"] == {"sizeLimit": "800Mi"}
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert {"/dev/shm", "/var/cache/penstock"} <= mounts


@pytest.mark.parametrize(
    ("batch", "name"), [(False, pods.INTERACTIVE_PRIORITY_CLASS), (True, pods.BATCH_PRIORITY_CLASS)]
)
def test_interactive_engines_go_before_batch(batch: bool, name: str):
    assert pod_specs(batch=batch)[0]["priorityClassName"] == name


def test_engines_stay_on_gpu_pools_and_on_the_types_that_have_the_wanted_gpu():
    (spec,) = pod_specs(instance_types=("g6e.xlarge",))
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    wanted = {each["key"]: each["values"] for each in term["matchExpressions"]}
    assert wanted == {pods.POOL_LABEL: list(GPU_POOLS), engine_manifests.TYPE_LABEL: ["g6e.xlarge"]}
    assert [each["key"] for each in spec["tolerations"]] == ["nvidia.com/gpu"]
