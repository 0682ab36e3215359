"""What changes in place and what replaces the object."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.kubernetes.provider.diff import property_path
from infra.local.kubernetes.provider.values import UNKNOWN, Secret

KIND = provider_pb2.PropertyDiff
SOME, NONE = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
NAMED = {"metadata": {"name": "x", "namespace": "n"}}
AUTONAMED = {"metadata": {"name": "x-1", "namespace": "n", "annotations": {"pulumi.com/autonamed": "true"}}}
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
SERVICE = "kubernetes:core/v1:Service"
POD = "kubernetes:core/v1:Pod"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
BINDING = "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding"
REPLACING = (KIND.ADD_REPLACE, KIND.UPDATE_REPLACE, KIND.DELETE_REPLACE)


def test_equal_inputs_are_no_change_whatever_is_secret_or_null(engine: Any) -> None:
    old = {**NAMED, "data": {"a": "1"}, "extra": None}
    response = engine.diff(CONFIG_MAP, old, {**NAMED, "data": Secret({"a": "1"})})
    assert response.changes == NONE


def test_each_changed_field_is_named_by_its_path(engine: Any) -> None:
    old = {**NAMED, "spec": {"replicas": 3, "old": 1, "template": {"containers": [{"image": "a"}, {"image": "b"}]}}}
    new = {
        "metadata": {**NAMED["metadata"], "labels": {"app.kubernetes.io/name": "x"}},
        "spec": {"replicas": 2, "template": {"containers": [{"image": "c"}]}},
    }
    response = engine.diff(DEPLOYMENT, old, new)
    assert {path: entry.kind for path, entry in response.detailedDiff.items()} == {
        "metadata.labels": KIND.ADD,
        "spec.replicas": KIND.UPDATE,
        "spec.old": KIND.DELETE,
        "spec.template.containers[0].image": KIND.UPDATE,
        "spec.template.containers[1]": KIND.DELETE,
    }
    assert (response.changes, list(response.replaces)) == (SOME, [])


def test_keys_with_dots_are_quoted_in_paths() -> None:
    path = ("metadata", "labels", "app.kubernetes.io/name")
    assert property_path(path) == 'metadata.labels["app.kubernetes.io/name"]'
    assert property_path(("data", 'say "x"')) == r'data["say \"x\""]'


@pytest.mark.parametrize(
    ("token", "old", "new"),
    [
        (DEPLOYMENT, {"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"a": "2"}}}),
        ("kubernetes:apps/v1:StatefulSet", {"spec": {"serviceName": "a"}}, {"spec": {"serviceName": "b"}}),
        ("kubernetes:apps/v1:DaemonSet", {"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"a": "2"}}}),
        ("kubernetes:batch/v1:Job", {"spec": {"template": {"a": 1}}}, {"spec": {"template": {"a": 2}}}),
        ("kubernetes:core/v1:Secret", {"type": "a"}, {"type": "b"}),
        ("kubernetes:core/v1:Secret", {"data": {"a": "1"}}, {"data": {"a": "2"}}),
        ("kubernetes:core/v1:Secret", {"stringData": {"a": "1"}}, {}),
        (CONFIG_MAP, {"data": {"a": "1"}}, {"data": {"a": "1", "b": "2"}}),
        (SERVICE, {"spec": {"clusterIP": "10.0.0.1"}}, {"spec": {"clusterIP": "None"}}),
        ("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", {"roleRef": {"name": "a"}}, {"roleRef": {"name": "b"}}),
        ("kubernetes:core/v1:Pod", {"spec": {"nodeName": "a"}}, {"spec": {"nodeName": "b"}}),
        ("kubernetes:scheduling.k8s.io/v1:PriorityClass", {"value": 1}, {"value": 2}),
        ("kubernetes:storage.k8s.io/v1:StorageClass", {"provisioner": "a"}, {"provisioner": "b"}),
        (CLAIM, {"spec": {"accessModes": ["a"]}}, {"spec": {"accessModes": ["b"]}}),
    ],
)  # fmt: skip
def test_immutable_fields_replace_the_object(engine: Any, token: str, old: Any, new: Any) -> None:
    response = engine.diff(token, {**NAMED, **old}, {**NAMED, **new})
    assert response.replaces
    assert response.deleteBeforeReplace, "the name was given, so the old object must go first"
    assert all(entry.kind in REPLACING for entry in response.detailedDiff.values())


@pytest.mark.parametrize(
    ("token", "old", "new"),
    [
        (DEPLOYMENT, {"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}),
        (SERVICE, {"spec": {"clusterIP": "10.0.0.1", "type": "ClusterIP"}}, {"spec": {"type": "NodePort"}}),
        (POD, {"spec": {"containers": [{"image": "1"}]}}, {"spec": {"containers": [{"image": "2"}]}}),
        ("kubernetes:policy/v1:PodDisruptionBudget", {"spec": {"minAvailable": 1}}, {"spec": {"minAvailable": 2}}),
        ("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", {"subjects": []}, {"subjects": [{"name": "a"}]}),
        (BINDING, {"spec": {"targetGroupARN": "a"}}, {"spec": {"targetGroupARN": "b"}}),
        (CLAIM, {"spec": {"resources": {"requests": "1Gi"}}}, {"spec": {"resources": {"requests": "2Gi"}}}),
    ],
)  # fmt: skip
def test_other_fields_change_in_place(engine: Any, token: str, old: Any, new: Any) -> None:
    response = engine.diff(token, {**NAMED, **old}, {**NAMED, **new})
    assert (response.changes, list(response.replaces)) == (SOME, [])


@pytest.mark.parametrize("key", ["name", "namespace"])
def test_another_place_replaces_and_the_new_object_comes_first(engine: Any, key: str) -> None:
    response = engine.diff(CONFIG_MAP, NAMED, {"metadata": {**NAMED["metadata"], key: "other"}})
    assert list(response.replaces) == [f"metadata.{key}"]
    assert not response.deleteBeforeReplace


def test_an_autonamed_object_is_created_anew_before_the_old_one_goes(engine: Any) -> None:
    response = engine.diff(CONFIG_MAP, {**AUTONAMED, "data": {"a": "1"}}, {**AUTONAMED, "data": {"a": "2"}})
    assert list(response.replaces) == ["data.a"]
    assert not response.deleteBeforeReplace


def test_mutable_config_maps_and_secrets_change_in_place_unless_marked_immutable(engine: Any, cluster: Any) -> None:
    engine.configure(kubeconfig=cluster.kubeconfig(), enableConfigMapMutable="true", enableSecretMutable="true")
    for token in (CONFIG_MAP, "kubernetes:core/v1:Secret"):
        old, new = {**NAMED, "data": {"a": "1"}}, {**NAMED, "data": {"a": "2"}}
        assert not engine.diff(token, old, new).replaces
        assert engine.diff(token, old, {**new, "immutable": True}).replaces


def test_a_cluster_ip_that_the_api_server_chose_may_be_written_down_later(engine: Any) -> None:
    outputs = {**NAMED, "spec": {"clusterIP": "10.0.0.1"}}
    new = {**NAMED, "spec": {"clusterIP": "10.0.0.1"}}
    assert not engine.diff(SERVICE, {**NAMED, "spec": {}}, new, outputs).replaces
    other = {**NAMED, "spec": {"clusterIP": "10.0.0.2"}}
    assert engine.diff(SERVICE, {**NAMED, "spec": {}}, other, outputs).replaces


def test_a_namespace_that_was_found_out_later_is_no_change(engine: Any) -> None:
    custom, outputs = "kubernetes:penstock.dev/v1:Fleet", {"metadata": {"name": "f", "namespace": "default"}}
    old = {"metadata": {"name": "f"}}
    assert engine.diff(custom, old, {"metadata": {"name": "f", "namespace": "default"}}, outputs).changes == NONE
    assert engine.diff(custom, old, old, outputs).changes == NONE
    assert engine.diff(custom, old, {"metadata": {"name": "f", "namespace": "other"}}, outputs).replaces


def test_a_value_unknown_at_preview_counts_as_changed(engine: Any) -> None:
    response = engine.diff(CONFIG_MAP, {**NAMED, "data": {"a": "1"}}, {**NAMED, "data": {"a": UNKNOWN}})
    assert list(response.replaces) == ["data.a"]


def test_true_and_one_differ(engine: Any) -> None:
    assert (
        engine.diff(DEPLOYMENT, {**NAMED, "spec": {"paused": 1}}, {**NAMED, "spec": {"paused": True}}).changes == SOME
    )
