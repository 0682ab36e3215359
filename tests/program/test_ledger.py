"""How the ledger reaches deployed gateways: a migration before they start, a login of their own, a spool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.rehearsal import Registration, Rehearsal

JOB = "kubernetes:batch/v1:Job"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"

Rehearsed = Callable[..., Rehearsal]
RehearsedWith = Callable[[str, Callable[[dict], None]], Rehearsal]


def pod_of(each: Registration) -> dict[str, Any]:
    return each.inputs["spec"]["template"]["spec"]


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def gateways(rehearsal: Rehearsal) -> list[Registration]:
    return [each for each in rehearsal.of_type(DEPLOYMENT) if each.name.startswith("gateway-")]


def test_gateways_wait_for_the_migration_of_their_release(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    for gateway in gateways(rehearsal):
        colour = gateway.name.removeprefix("gateway-")
        jobs = [each for each in rehearsal.of_type(JOB) if each.name == f"migration-{colour}"]
        assert len(jobs) == (1 if gateway.inputs["spec"]["replicas"] else 0)
        assert {job.urn for job in jobs} <= gateway.dependencies
        for job in jobs:
            assert pod_of(job)["containers"][0]["image"] == pod_of(gateway)["containers"][0]["image"]


def test_a_migration_shows_in_the_preview_and_comes_beside_the_old_one(stack: str, rehearsed: Rehearsed):
    for job in rehearsed(stack, preview=True).of_type(JOB):
        assert "name" not in job.inputs["metadata"], "a Job cannot change: another name lets the new one come first"
        assert job.inputs["spec"]["backoffLimit"] >= 1
        assert job.inputs["spec"]["activeDeadlineSeconds"] <= 3600


def test_the_owners_password_is_neither_in_the_program_nor_in_the_cluster(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    arn = rehearsal.one("aws:iam/rolePolicy:RolePolicy", "migration").inputs["policy"]
    assert '"Action":"secretsmanager:GetSecretValue"' in arn
    assert '"Resource":"*"' not in arn
    for job in rehearsal.of_type(JOB):
        pod = pod_of(job)
        assert pod["serviceAccountName"] == "migration"
        assert pod["automountServiceAccountToken"] is False
        given = variables(pod["containers"][0])
        assert given["PENSTOCK_DATABASE_SECRET_ARN"].startswith("arn:aws:secretsmanager:")
        assert "PENSTOCK_DATABASE_PASSWORD" not in given
        assert "envFrom" not in pod["containers"][0]
    taken = rehearsal.one("aws:eks/podIdentityAssociation:PodIdentityAssociation", "migration").inputs
    assert (taken["namespace"], taken["serviceAccount"]) == ("penstock", "migration")


def test_a_migration_waits_for_its_role_its_policies_and_its_namespace(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    association = rehearsal.one("aws:eks/podIdentityAssociation:PodIdentityAssociation", "migration")
    policies = {
        each.urn
        for each in rehearsal.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
        if each.parent_name == "isolation"
    }
    for job in rehearsal.of_type(JOB):
        assert {association.urn, *policies} <= job.dependencies


def test_only_what_keeps_tables_reaches_the_database(stack: str, rehearsed: Rehearsed):
    reach = {
        each.inputs["metadata"]["name"]
        for each in rehearsed(stack).of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
        for rule in each.inputs["spec"].get("egress") or []
        if any(port["port"] == 5432 for port in rule.get("ports") or [])
        and any(peer.get("ipBlock") for peer in rule["to"])
    }
    assert reach - {"retention", "jobs"} == {"gateway", "migration"}


def test_a_spool_has_a_bound_below_the_volumes(stack: str, rehearsed: Rehearsed):
    for gateway in gateways(rehearsed(stack)):
        pod = pod_of(gateway)
        (container,) = pod["containers"]
        (volume,) = [each for each in pod["volumes"] if each["name"] == "spool"]
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "spool"]
        given = variables(container)
        assert mount["mountPath"] == given["PENSTOCK_LEDGER_FOLDER"]
        limit = int(volume["emptyDir"]["sizeLimit"].removesuffix("Mi")) * 1024 * 1024
        assert int(given["PENSTOCK_LEDGER_SPOOL_BYTES"]) < limit, "a pod over its limit is evicted, spool and all"
        assert container["resources"]["requests"]["ephemeral-storage"] == volume["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_both_connect_to_the_database_as_the_stack_says(mode: str, rehearsed_with: RehearsedWith):
    def say(config: dict) -> None:
        config["penstock:data"]["database"]["tls"] = mode

    rehearsal = rehearsed_with("dev", say)
    for each in (*gateways(rehearsal), *rehearsal.of_type(JOB)):
        given = variables(pod_of(each)["containers"][0])
        assert given["PENSTOCK_DATABASE_TLS"] == mode
        assert ("PENSTOCK_DATABASE_CA_FILE" in given) == (mode == "verify-full")


def test_the_gateways_have_a_login_of_their_own(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    secret = rehearsal.one("aws:secretsmanager/secretVersion:SecretVersion", "gateway-login")
    assert secret.ignore_changes == ("secretString",), "made once"
    for job in rehearsal.of_type(JOB):
        container = pod_of(job)["containers"][0]
        login = variables(container)["PENSTOCK_DATABASE_LOGIN_PASSWORD"]["secretKeyRef"]
        assert login["key"] == "PENSTOCK_DATABASE_PASSWORD"
        assert container["args"][:3] == ["migrate", "--login", "gateway"]
        for gateway in gateways(rehearsal):
            sources = pod_of(gateway)["containers"][0]["envFrom"]
            assert {"secretRef": {"name": login["name"]}} in sources, "the password that the migration sets"
