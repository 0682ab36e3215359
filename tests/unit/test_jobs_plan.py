"""The workers' manifests: where they run, what they may reach, what they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from app.jobs.config import JobsConfig
from app.jobs.health import DEPTH_METRIC, Health, Work
from components import jobs_manifests, migration
from components.collector_manifests import MARKS as COLLECTOR_MARKS
from components.collector_manifests import configuration
from components.network_policies import WORKER_PORT, collector_egress, scaler, scaler_egress
from infra.jobs_config import jobs_config
from infra.settings import Settings
from tests.unit.settings_cases import Values, problems, put

ROOT = Path(__file__).parents[2]
SHAPE: jobs_manifests.WorkersShape = {
    "image": "gateway@sha256:1",
    "replicas": 2,
    "cpu_millicores": 100,
    "memory_mib": 256,
    "config": "{}",
    "secret": "jobs-1",
    "database_tls": "verify-full",
    "vpc_cidr": "10.0.0.0/16",
}


def pod() -> dict[str, Any]:
    return jobs_manifests.deployment(SHAPE, "penstock")["spec"]["template"]["spec"]


def test_workers_prefer_spot_and_give_way_to_interactive_pods():
    affinity = pod()["affinity"]["nodeAffinity"]
    (preferred,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["preference"]["matchExpressions"][0]["values"] == ["gpu-spot"]
    required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]["matchExpressions"]
    assert required[0]["values"] == ["system", "gpu-spot"]
    assert pod()["priorityClassName"] == "penstock-batch"
    assert pod()["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_a_worker_hands_its_rows_back_before_it_is_killed():
    (container,) = pod()["containers"]
    grace = int(container["args"][container["args"].index("--grace") + 1])
    assert grace < pod()["terminationGracePeriodSeconds"] <= 110, "spot gives two minutes"


def test_workers_have_their_own_secret_and_no_other():
    (container,) = pod()["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "jobs-1"}}]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "PENSTOCK_DATABASE_CA_FILE", "value": migration.DATABASE_CERTIFICATES} in container["env"]


def test_nobody_but_the_collector_reaches_a_worker_and_workers_reach_gateways_and_the_database():
    policies = jobs_manifests.network_policies("10.0.0.0/16")
    workers, gateways = policies["jobs"], policies["gateway-from-jobs"]
    (let_in,) = workers["ingress"]
    assert let_in["from"] == [{"podSelector": {"matchLabels": COLLECTOR_MARKS}}]
    ports = {port["port"] for rule in workers["egress"] for port in rule["ports"]}
    assert ports == {53, 80, 443, 5432, 8080}
    (database,) = [rule for rule in workers["egress"] if rule["ports"][0]["port"] == 5432]
    assert database["to"] == [{"ipBlock": {"cidr": "10.0.0.0/16"}}]
    assert gateways["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "gateway"
    assert gateways["ingress"][0]["from"] == [{"podSelector": workers["podSelector"]}]


def test_the_migration_makes_the_workers_login_where_there_are_jobs():
    shape: migration.MigrationShape = {
        "database_address": "db:5432",
        "database_tls": "require",
        "owner_secret_arn": "arn",
        "login_secret": "addresses",
        "keep_days": 30,
        "semantic_cache": False,
    }
    for given, wanted in ((shape, False), (shape | {"jobs_secret": "jobs-1"}, True)):
        job = migration.migration_job(given, namespace="n", image="i", pool="system")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert ("--jobs" in container["args"]) is wanted
        assert ("PENSTOCK_DATABASE_JOBS_PASSWORD" in [one["name"] for one in container["env"]]) is wanted


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_gateways_and_workers_of_a_stack_are_told_the_same(stack: str):
    settings = Settings.from_stack_file(ROOT / f"Pulumi.{stack}.yaml")
    config = jobs_config(settings)
    assert config is not None
    assert config.max_file_bytes == settings.jobs.max_file_mib * 2**20
    assert JobsConfig.model_validate_json(config.model_dump_json()) == config
    off = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"enabled": False})})
    assert jobs_config(off) is None


SCALED: jobs_manifests.WorkersShape = {**SHAPE, "scaling": {"max_workers": 10, "rows_per_worker": 200}}


def test_workers_scale_on_what_they_tell_of_the_queue_and_not_on_the_sum_of_it():
    found = jobs_manifests.scaled_object(SCALED, "penstock")
    assert found is not None
    (trigger,) = found["spec"]["triggers"]
    assert trigger["metadata"]["valueLocation"] == DEPTH_METRIC
    assert trigger["metadata"]["url"] == "http://jobs.penstock.svc:8080/metrics"
    assert trigger["metadata"]["aggregationType"] == "max", "each worker tells the depth of the whole queue"
    assert (found["spec"]["minReplicaCount"], found["spec"]["maxReplicaCount"]) == (2, 10)
    assert "idleReplicaCount" not in found["spec"], "nobody would tell of new work"
    assert "authenticationRef" not in trigger, "no login for the scaler"
    assert jobs_manifests.scaled_object(SHAPE, "penstock") is None


def test_the_scaler_and_the_collector_reach_workers_and_are_let_in():
    (let_in,) = jobs_manifests.network_policies("10.0.0.0/16", scaled=True)["jobs"]["ingress"]
    ports = [{"port": WORKER_PORT, "protocol": "TCP"}]
    assert let_in["ports"] == ports
    assert scaler() in let_in["from"]
    for egress in (scaler_egress(), collector_egress()):
        assert [each for each in egress if each["ports"] == ports and "jobs" in str(each["to"])]
    assert (
        json.loads(configuration(namespace="n", region="r", log_group="g", remote_write=None, signed=False))[
            "receivers"
        ]["prometheus"]["config"]["scrape_configs"][0]["relabel_configs"][0]["regex"]
        == "gateway|engine|jobs"
    )


def test_a_worker_is_asked_whether_it_lives_and_whether_it_can_work():
    (container,) = pod()["containers"]
    assert container["args"][-2:] == ["--listen", f"$(POD_IP):{WORKER_PORT}"]
    assert container["ports"] == [{"name": "http", "containerPort": WORKER_PORT, "protocol": "TCP"}]
    paths = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert paths == {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    served = {
        route.resource.canonical for route in Health(cast("Work", None)).application().router.routes() if route.resource
    }
    assert set(paths.values()) <= served


def with_workers(**scaling: Any) -> dict[str, str]:
    def edit(values: Values) -> None:
        put("jobs.enabled", True)(values)
        put("jobs.workers", 3)(values)
        put("jobs.scaling", {"maxWorkers": 10, "rowsPerWorker": 100} | scaling)(values)
        put("controllers.keda.enabled", True)(values)

    return problems(edit)


def test_workers_that_cannot_scale_are_refused():
    assert with_workers() == {}
    assert "allowed: 3 or more" in with_workers(maxWorkers=2)["jobs.scaling.maxWorkers"]
    assert "jobs.scaling.rowsPerWorker" in with_workers(rowsPerWorker=0)
    without = problems(put("jobs.scaling", {"maxWorkers": 10, "rowsPerWorker": 100}))
    assert "controllers.keda.enabled: true" in without["jobs.scaling"]
