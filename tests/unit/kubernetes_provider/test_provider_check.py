"""From the program's inputs to the object: names, namespaces, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.kubernetes.provider.values import UNKNOWN, Secret, at

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"


def test_api_version_and_kind_are_filled_in_from_the_type(engine: Any) -> None:
    assert engine.check("kubernetes:apps/v1:Deployment", {})["apiVersion"] == "apps/v1"
    assert engine.check("kubernetes:core/v1:Pod", {})["apiVersion"] == "v1"
    binding = engine.check("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", {})
    assert (binding["apiVersion"], binding["kind"]) == ("rbac.authorization.k8s.io/v1", "RoleBinding")


def test_a_kind_that_contradicts_the_type_is_refused(engine: Any) -> None:
    failures = engine.failures(CONFIG_MAP, {"kind": "Secret", "apiVersion": "v2"})
    assert dict(failures) == {
        "kind": "must be 'ConfigMap' for this resource type, not 'Secret'",
        "apiVersion": "must be 'v1' for this resource type, not 'v2'",
    }


def test_a_nameless_object_is_named_after_its_resource(engine: Any) -> None:
    inputs = engine.check(CONFIG_MAP, {"data": {}}, name="gateway")
    assert re.fullmatch(r"gateway-[0-9a-f]{8}", inputs["metadata"]["name"])
    assert inputs["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}


def test_the_engine_seed_decides_the_name_so_preview_and_update_agree(engine: Any) -> None:
    first, second = (engine.check(CONFIG_MAP, {}, randomSeed=b"seed") for _ in range(2))
    assert first == second
    assert engine.check(CONFIG_MAP, {}, randomSeed=b"other") != first


def test_an_autonamed_object_keeps_its_name(engine: Any) -> None:
    olds = engine.check(CONFIG_MAP, {"metadata": {"labels": {"a": "1"}}})
    news = engine.check(CONFIG_MAP, {"metadata": {"labels": {"a": "2"}}}, olds)
    assert news["metadata"]["name"] == olds["metadata"]["name"]
    assert news["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}


def test_an_object_whose_given_name_is_dropped_gets_a_new_one(engine: Any) -> None:
    olds = engine.check(CONFIG_MAP, {"metadata": {"name": "given"}})
    assert engine.check(CONFIG_MAP, {}, olds)["metadata"]["name"].startswith("thing-")


def test_the_name_that_the_engine_proposes_is_taken(engine: Any) -> None:
    options = provider_pb2.CheckRequest.AutonamingOptions
    proposed = options(proposed_name="exactly-this", mode=options.Mode.ENFORCE)
    assert engine.check(CONFIG_MAP, {}, autonaming=proposed)["metadata"]["name"] == "exactly-this"
    disabled = options(mode=options.Mode.DISABLE)
    assert engine.failures(CONFIG_MAP, {}, autonaming=disabled)[0][0] == "metadata.name"


def test_the_namespace_is_the_providers_then_default(engine: Any, cluster: Any) -> None:
    assert engine.check(CONFIG_MAP, {})["metadata"]["namespace"] == "default"
    engine.configure(kubeconfig=cluster.kubeconfig(), namespace="penstock")
    assert engine.check(CONFIG_MAP, {})["metadata"]["namespace"] == "penstock"
    assert engine.check(CONFIG_MAP, {"metadata": {"namespace": "own"}})["metadata"]["namespace"] == "own"


def test_cluster_wide_kinds_get_no_namespace_and_refuse_one(engine: Any) -> None:
    assert "namespace" not in engine.check("kubernetes:core/v1:Namespace", {})["metadata"]
    failures = engine.failures("kubernetes:core/v1:Namespace", {"metadata": {"namespace": "x"}})
    assert failures == [("metadata.namespace", "v1 Namespace objects are cluster-wide: leave the namespace out")]


def test_a_definition_in_the_program_tells_the_scope_of_its_custom_resources(engine: Any) -> None:
    custom = "kubernetes:penstock.dev/v1:Fleet"
    assert "namespace" not in engine.check(custom, {"metadata": {"name": "f"}})["metadata"]
    spec = {"group": "penstock.dev", "scope": "Namespaced", "names": {"kind": "Fleet"}}
    engine.check("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition", {"spec": spec})
    assert engine.check(custom, {"metadata": {"name": "f"}})["metadata"]["namespace"] == "default"


def test_secret_and_unknown_metadata_stay_what_they_are(engine: Any) -> None:
    hidden = engine.check(CONFIG_MAP, {"metadata": Secret({"name": "x"})})
    assert hidden["metadata"] == Secret({"name": "x", "namespace": "default"})
    assert engine.check(CONFIG_MAP, {"metadata": UNKNOWN})["metadata"] is UNKNOWN
    later = engine.check(CONFIG_MAP, {"metadata": {"name": UNKNOWN, "namespace": UNKNOWN}})
    assert at(later, "metadata", "name") is UNKNOWN
    assert at(later, "metadata", "namespace") is UNKNOWN


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        ("pulumi.com/timeoutSeconds", "soon", "must be a whole number of seconds, not 'soon'"),
        ("pulumi.com/deletionPropagationPolicy", "now", "must be background, foreground or orphan, not 'now'"),
        ("pulumi.com/waitFor", "condition=Ready", "is not supported by the local provider"),
    ],
)
def test_an_annotation_that_cannot_be_followed_is_named(engine: Any, annotation: str, value: str, reason: str) -> None:
    failures = engine.failures(CONFIG_MAP, {"metadata": {"name": "x", "annotations": {annotation: value}}})
    assert failures == [(f'metadata.annotations["{annotation}"]', reason)]


def test_generate_name_is_refused(engine: Any) -> None:
    assert engine.failures(CONFIG_MAP, {"metadata": {"generateName": "x-"}})[0][0] == "metadata.generateName"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("kubernetes:helm.sh/v3:Release", "Helm"),
        ("kubernetes:yaml/v2:ConfigGroup", "YAML"),
        ("kubernetes:yaml:ConfigFile", "YAML"),
        ("kubernetes:kustomize/v2:Directory", "Kustomize"),
        ("kubernetes:apps/v1:DeploymentPatch", "patch resources"),
        ("kubernetes:core/v1:ConfigMapList", "one by one"),
        ("kubernetes:apps/latest:Deployment", "'latest' is no API version"),
        ("kubernetes:Deployment", "not the type token of a Kubernetes object"),
    ],
)
def test_what_is_no_plain_object_is_refused_by_name(engine: Any, aborted: Any, token: str, words: str) -> None:
    with pytest.raises(aborted, match=words) as failure:
        engine.check(token, {})
    assert token in str(failure.value)


def test_a_patch_of_a_custom_resource_is_refused(engine: Any) -> None:
    failures = engine.failures("kubernetes:penstock.dev/v1:FleetPatch", {"kind": "Fleet", "metadata": {"name": "x"}})
    assert failures[0] == ("kind", "FleetPatch is not supported by the local provider: declare the object itself")


def test_functions_methods_and_components_are_refused_by_name(engine: Any, aborted: Any) -> None:
    for method, request in (
        ("Invoke", provider_pb2.InvokeRequest(tok="kubernetes:yaml:decode")),
        ("Call", provider_pb2.CallRequest(tok="kubernetes:x:y")),
        ("Construct", provider_pb2.ConstructRequest(type="kubernetes:helm.sh/v4:Chart")),
    ):
        with pytest.raises(aborted, match=r"kubernetes:\S+ is not supported by the local provider"):
            engine.call(method, request)
