"""The whole program under each stack file, without engine or cloud."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra.local.aws.provider.check import Request, check
from infra.local.aws.provider.table import find_row
from infra.ops import rehearsal_plan
from infra.ops.move.data import BUCKETS
from infra.policy.rules import RULES, STACK_RULES, Subject
from infra.rehearsal import SECRET, Rehearsal
from infra.resource_table import committed_table, render
from infra.settings import NAMESPACE, Settings
from infra.settings.parse import top_level_keys

CHECKOUT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).resolve().parent / "golden"
OUTPUTS = {
    "gatewayUrl",
    "apiKey",
    "adminKey",
    "providerSecrets",
    "kubeconfig",
    "clusterName",
    "clusterArn",
    "namespace",
    "region",
    "weights",
    "models",
    "databaseAddress",
    "cacheAddress",
    "eventsQueueUrl",
}

AT_THE_EDGES = {
    "aws:eks/addon:Addon",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:lb/listenerRule:ListenerRule",
}
"""Telemetry and the collector with their roles, and the rules by which a colour is probed."""

Rehearsed = Callable[..., Rehearsal]


def identities(rehearsal: Rehearsal) -> list[tuple[str, str, str]]:
    return [(found.type, found.name, found.parent) for found in rehearsal.registrations]


def test_a_preview_lists_the_same_resources_as_an_update(stack: str, rehearsed: Rehearsed):
    assert identities(rehearsed(stack, preview=True)) == identities(rehearsed(stack, preview=False))


def test_no_two_resources_share_an_identity(stack: str, rehearsed: Rehearsed):
    twice = [urn for urn, count in Counter(each.urn for each in rehearsed(stack).registrations).items() if count > 1]
    assert twice == []


def test_the_resource_table_is_as_committed(stack: str, rehearsed: Rehearsed):
    committed = (GOLDEN / f"{stack}.txt").read_text()
    assert render(rehearsed(stack), stack) == committed, "the program changed: `make golden`, and review the diff"


def test_a_shift_of_weight_leaves_the_committed_table_alone(stack_file: Callable[..., Path]):
    def halve(config: dict) -> None:
        config["penstock:release"]["blue"]["weight"] = 50
        config["penstock:release"]["green"]["weight"] = 50

    assert committed_table(stack_file("local", halve)) == (GOLDEN / "local.txt").read_text()


def test_every_resource_has_an_explicit_provider(stack: str, rehearsed: Rehearsed):
    ambient = [
        each.urn
        for each in rehearsed(stack).registrations
        if each.custom and not each.type.startswith("pulumi:") and "::pulumi:providers:" not in each.provider
    ]
    assert ambient == [], "a resource without a provider would use whatever credentials lie around"


def test_every_resource_below_the_top_belongs_to_a_component(stack: str, rehearsed: Rehearsed):
    components = {each.urn for each in rehearsed(stack).registrations if not each.custom}
    for each in rehearsed(stack).registrations:
        assert each.parent in components or "::pulumi:pulumi:Stack::" in each.parent, each.urn


def test_the_cloud_knows_every_property(stack: str, rehearsed: Rehearsed):
    """Pulumi's SDK passes a misspelt key of a dictionary on without a word; the local provider's tables do not."""
    wrong = []
    for each in rehearsed(stack).registrations:
        if each.custom and each.type.startswith("aws:"):
            _, failures = check(Request(find_row(each.type), each.name, each.urn, {}, each.inputs))
            wrong += [f"{each.type} {each.name}: {failure.property} {failure.reason}" for failure in failures]
    assert wrong == []


def test_the_stack_passes_its_own_policies(stack: str, rehearsed: Rehearsed):
    subjects = [
        Subject(each.type, each.inputs, stack, each.name, each.urn, each.dependencies, each.protect)
        for each in rehearsed(stack).registrations
    ]
    violations = [f"{each.name}: {message}" for each in subjects for rule in RULES for message in rule(each)]
    violations += [message for rule in STACK_RULES for message in rule(subjects)]
    assert violations == []


def test_outputs_are_complete_and_credentials_are_secret(stack: str, rehearsed: Rehearsed):
    outputs = rehearsed(stack).outputs
    assert outputs.keys() == OUTPUTS
    assert {key for key, value in outputs.items() if value == SECRET} == {"apiKey", "adminKey", "kubeconfig"}


def test_only_secrets_that_the_program_makes_are_left_to_the_first_deployment(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    ignored = {each.type: each.ignore_changes for each in rehearsal.registrations if each.ignore_changes}
    certificate = ignored.pop("kubernetes:core/v1:Secret", None)
    # KEDA writes the number of what it scales, and its operator the certificate of its own API.
    scaler = {
        "kubernetes:apiregistration.k8s.io/v1:APIService": ("spec.caBundle",),
        "kubernetes:apps/v1:Deployment": ("spec.replicas",),
    }
    assert ignored == {
        "aws:secretsmanager/secretVersion:SecretVersion": ("secretString",),
        **(scaler if stack == "prod" else {}),
    }
    assert certificate == (None if stack == "local" else ("data",))


def test_what_holds_data_is_protected_in_production_alone(rehearsed: Rehearsed):
    def protected(stack: str) -> set[str]:
        return {each.type for each in rehearsed(stack).registrations if each.protect}

    assert protected("local") == protected("dev") == set()
    assert protected("prod") == {
        "aws:cloudtrail/trail:Trail",
        "aws:eks/cluster:Cluster",
        "aws:kms/key:Key",
        "aws:lb/listenerRule:ListenerRule",
        "aws:rds/instance:Instance",
        "aws:s3/bucket:Bucket",
        "penstock:index:Guard",
    }


def test_nothing_that_answers_or_holds_data_goes_while_a_stack_is_protected(rehearsed: Rehearsed):
    """A destroy deletes what nothing protected depends on. What is left to it here comes back with the next update."""
    everything = {each.urn: each for each in rehearsed("prod").registrations}
    kept, ahead = set[str](), [each.urn for each in everything.values() if each.protect]
    while ahead:
        urn = ahead.pop()
        if urn not in kept and urn in everything:
            kept.add(urn)
            ahead += [
                *everything[urn].dependencies,
                everything[urn].parent,
                everything[urn].provider.rsplit("::", 1)[0],
            ]
    lost = [each for each in everything.values() if each.custom and each.urn not in kept]
    assert {each.type for each in lost if each.type.startswith("aws:")} <= AT_THE_EDGES
    pods = {each.name for each in lost if each.type in ("kubernetes:apps/v1:Deployment", "kubernetes:batch/v1:CronJob")}
    assert pods <= {"collector", "jobs", "retention"}
    assert rehearsal_plan.wrongly_gone(each.urn for each in lost) == []


def test_a_move_carries_each_bucket_of_clients_and_weights(stack: str, rehearsed: Rehearsed):
    """Logs stay in the region that they are of; a copy in a second region is made anew from the weights."""
    made = {each.name for each in rehearsed(stack).registrations if each.type == "aws:s3/bucket:Bucket"}
    assert made - set(BUCKETS) <= {"access-logs", "trail", "copies-weights"}
    assert set(BUCKETS) <= made


def test_stack_files_differ_in_values_and_never_in_keys():
    declared = {key for key in yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["config"] if ":" in key}
    ours = {f"{NAMESPACE}:{key}" for key in top_level_keys()}
    assert ours <= declared
    for path in sorted(CHECKOUT.glob("Pulumi.*.yaml")):
        assert set(yaml.safe_load(path.read_text())["config"]) == ours, path.name


def test_every_key_is_declared_with_a_type_and_described():
    config = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["config"]
    for key in top_level_keys():
        assert config[f"{NAMESPACE}:{key}"].get("type"), key
        assert config[f"{NAMESPACE}:{key}"].get("description"), key


def test_default_providers_are_switched_off():
    config = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["config"]
    assert config["pulumi:disable-default-providers"] == {"value": ["*"]}


def test_both_readers_of_the_configuration_agree(stack: str, rehearsed: Rehearsed, stack_file: Callable[..., Path]):
    settings = Settings.from_stack_file(stack_file(stack))
    outputs = rehearsed(stack).outputs
    assert (outputs["weights"], outputs["models"]) == (settings.weights, settings.model_names)
    assert (outputs["region"], outputs["namespace"]) == (settings.aws.region, settings.namespace)


def test_unusable_configuration_stops_the_program_before_any_resource(rehearsed_with: Callable[..., Rehearsal]):
    def break_it(config: dict) -> None:
        config["penstock:release"]["green"]["weight"] = 5

    with pytest.raises(Exception, match=r"penstock:release\.green\.weight: blue 100 and green 5 make 105"):
        rehearsed_with("prod", break_it)


MOST_WAYS = 10_000_000
"""Down from one resource through all that it depends on. Where a delete is refused, Pulumi 3.259 walks each of them
(`markAsDependency` in its dependency_graph.go does not stop at what it has seen): 200 million do not
end within half an hour."""


def test_a_refused_destroy_ends_within_minutes(stack: str, rehearsed: Rehearsed):
    found = {each.urn: each for each in rehearsed(stack).registrations}

    @functools.cache
    def ways(urn: str) -> int:
        each = found[urn]
        provider = each.provider.rpartition("::")[0]
        return 1 + sum(ways(one) for one in [*each.dependencies, *filter(None, [provider])] if one in found)

    name, most = max(((urn.rpartition("::")[2], ways(urn)) for urn in found), key=operator.itemgetter(1))
    assert most < MOST_WAYS, f"{name} has {most:.2g} ways: let it wait for the last of a component, not for the whole"
