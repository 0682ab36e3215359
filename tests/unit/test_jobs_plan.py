"""The workers' manifests: where they run, what they may reach, what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.jobs.config import JobsConfig
from components import jobs_manifests, migration
from infra.jobs_config import jobs_config
from infra.settings import Settings

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


def test_nobody_reaches_a_worker_and_workers_reach_gateways_and_the_database():
    policies = jobs_manifests.network_policies("10.0.0.0/16")
    workers, gateways = policies["jobs"], policies["gateway-from-jobs"]
    assert workers["ingress"] == []
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


def test_the_queues_depth_is_what_waits_and_what_is_under_way():
    trigger = jobs_manifests.queue_trigger(200, "jobs")
    assert trigger["metadata"]["targetQueryValue"] == "200"
    assert "state IN (0, 1)" in trigger["metadata"]["query"]
