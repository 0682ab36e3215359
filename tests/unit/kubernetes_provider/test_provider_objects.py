"""Create, update, read and delete against an API server; refusals as sentences."""

from __future__ import annotations

import base64
import threading
from typing import Any

import grpc
import pytest

from infra.local.kubernetes.provider.values import UNKNOWN, Secret

CONFIG_MAP, SECRET = "kubernetes:core/v1:ConfigMap", "kubernetes:core/v1:Secret"
DEFINITION, FLEET = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition", "kubernetes:penstock.dev/v1:Fleet"
PATH = "/api/v1/namespaces/default/configmaps/x"


def config_map(**data: Any) -> dict[str, Any]:
    metadata = {"name": "x", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def refusal(code: int, message: str, *causes: dict[str, str]) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "code": code, "message": message, "details": {"causes": [*causes]}}


def only(method: str, answer: Any) -> Any:
    return lambda asked, _path: answer if asked == method else None


def test_an_object_is_created_by_server_side_apply(engine: Any, cluster: Any) -> None:
    created = engine.create(CONFIG_MAP, config_map(a="1"))
    assert created.id == "default/x"
    assert created.outputs["data"] == {"a": "1"}
    assert created.outputs["metadata"]["uid"]
    assert "managedFields" not in created.outputs["metadata"]
    patch = next(request for request in cluster.requests if request.method == "PATCH")
    assert patch.query == {"fieldManager": "pulumi-kubernetes", "fieldValidation": "Strict", "force": "false"}
    assert patch.body == config_map(a="1")


def test_numbers_reach_the_api_server_as_integers(engine: Any, cluster: Any) -> None:
    engine.create("kubernetes:core/v1:Service", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80.0}]}})
    assert '"port": 80}' in str(cluster.requests[-1].body).replace("'", '"')


def test_a_cluster_wide_object_has_its_name_as_id(engine: Any) -> None:
    assert engine.create("kubernetes:core/v1:Namespace", {"metadata": {"name": "penstock"}}).id == "penstock"


def test_an_object_that_exists_is_not_taken_over(engine: Any, cluster: Any, aborted: Any) -> None:
    engine.create(CONFIG_MAP, config_map(a="1"))
    with pytest.raises(aborted, match="ConfigMap default/x exists already: import it"):
        engine.create(CONFIG_MAP, config_map(a="2"))
    assert cluster.objects[PATH]["data"] == {"a": "1"}
    engine.configure(kubeconfig=cluster.kubeconfig(), upsertExistingObjects="true")
    assert engine.create(CONFIG_MAP, config_map(a="2")).outputs["data"] == {"a": "2"}


def test_an_object_that_is_still_being_deleted_is_waited_for(engine: Any, cluster: Any) -> None:
    engine.create(CONFIG_MAP, config_map())
    cluster.objects[PATH]["metadata"] |= {"deletionTimestamp": "now", "finalizers": ["a/b"]}

    def evolve(_live: Any, reads: int) -> None:
        if reads == 3:
            cluster.script = lambda method, path: (404, {}) if (method, path) == ("GET", PATH) else None
            del cluster.objects[PATH]

    cluster.evolve = evolve
    assert engine.create(CONFIG_MAP, config_map(a="new")).outputs["data"] == {"a": "new"}


def test_an_update_sends_the_whole_object_again(engine: Any, cluster: Any) -> None:
    engine.create(CONFIG_MAP, config_map(a="1"))
    assert engine.update(CONFIG_MAP, "default/x", config_map(b="2"))["data"] == {"b": "2"}
    assert cluster.objects[PATH]["data"] == {"b": "2"}


def test_patch_force_takes_fields_over(engine: Any, cluster: Any) -> None:
    inputs = config_map()
    inputs["metadata"]["annotations"] = {"pulumi.com/patchForce": "true"}
    engine.create(CONFIG_MAP, inputs)
    assert cluster.requests[-1].query["force"] == "true"
    engine.configure(kubeconfig=cluster.kubeconfig(), enablePatchForce="true")
    engine.update(CONFIG_MAP, "default/x", config_map())
    assert cluster.requests[-1].query["force"] == "true"


def test_a_conflict_names_the_field_and_its_manager(engine: Any, cluster: Any, aborted: Any) -> None:
    cause = {
        "reason": "FieldManagerConflict",
        "field": ".spec.replicas",
        "message": 'conflict with "hpa" using apps/v1',
    }
    cluster.script = only("PATCH", refusal(409, "Apply failed with 1 conflict", cause))
    with pytest.raises(aborted, match=r'\.spec\.replicas \(conflict with "hpa" using apps/v1\).*patchForce') as failure:
        engine.update(CONFIG_MAP, "default/x", config_map())
    assert failure.value.code is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            refusal(422, "invalid", {"field": "spec.ports[0].port", "message": "must be between 1 and 65535"}),
            r"ConfigMap default/x is not valid: spec\.ports\[0\]\.port: must be between 1 and 65535",
        ),
        (
            refusal(422, "field is immutable", {"field": "spec.selector", "message": "field is immutable"}),
            r"spec\.selector: field is immutable\. To change it .* replace_on_changes",
        ),
        (
            refusal(
                500, "failed to create typed patch object (d/x; /v1, Kind=X): .prots: field not declared in schema"
            ),
            r"ConfigMap default/x is not valid: \.prots: field not declared in schema",
        ),
        (refusal(403, "configmaps is forbidden"), "ConfigMap default/x was not allowed: configmaps is forbidden"),
        (refusal(404, 'namespaces "default" not found'), 'ConfigMap default/x: namespaces "default" not found'),
    ],
)
def test_a_refusal_is_a_sentence_and_is_not_tried_again(
    engine: Any, cluster: Any, aborted: Any, answer: Any, sentence: str
) -> None:
    cluster.script = only("PATCH", answer)
    with pytest.raises(aborted, match=sentence):
        engine.update(CONFIG_MAP, "default/x", config_map())
    assert cluster.count("PATCH") == 1


def test_a_missing_service_account_is_waited_for_a_moment(engine: Any, cluster: Any) -> None:
    engine.be_patient()
    answers = iter([refusal(403, "error looking up service account default/default: not found"), None])
    cluster.script = lambda method, _path: next(answers, None) if method == "PATCH" else None
    assert engine.create(CONFIG_MAP, config_map()).id == "default/x"


def test_string_data_is_sent_as_data_and_stays_secret(engine: Any, cluster: Any) -> None:
    inputs = engine.check(SECRET, {"metadata": {"name": "s"}, "stringData": Secret({"key": "hush"})})
    assert inputs["stringData"] == Secret({"key": "hush"})
    outputs = engine.create(SECRET, inputs).outputs
    stored = {"key": base64.b64encode(b"hush").decode()}
    assert cluster.objects["/api/v1/namespaces/default/secrets/s"]["data"] == stored
    assert outputs["data"] == Secret(stored)


def test_outputs_are_secret_where_the_inputs_were(engine: Any) -> None:
    inputs = config_map(a=Secret("hush"), b="plain")
    assert engine.create(CONFIG_MAP, inputs).outputs["data"] == {"a": Secret("hush"), "b": "plain"}


def test_a_custom_resource_may_come_with_its_definition(engine: Any, cluster: Any) -> None:
    """The API server serves a new kind a moment after the definition was made."""
    engine.be_patient()

    def script(method: str, path: str) -> None:
        if path == "/apis/penstock.dev/v1" and cluster.count("GET", path) == 3:
            cluster.served[path] = {"Fleet": ("fleets", True)}

    cluster.script = script
    assert engine.create(FLEET, {"metadata": {"name": "f"}}).id == "f"


def test_a_kind_that_nobody_serves_is_named(engine: Any, aborted: Any) -> None:
    with pytest.raises(aborted, match=r"does not serve penstock\.dev/v1 Fleet .* CustomResourceDefinition"):
        engine.create(FLEET, {"metadata": {"name": "f"}})


def test_discovery_is_asked_once_per_group(engine: Any, cluster: Any) -> None:
    for name in ("a", "b", "c"):
        engine.create(CONFIG_MAP, {"metadata": {"name": name}})
    assert sum(request.path == "/api/v1" for request in cluster.requests) == 1


def test_deleting_waits_until_the_finalizers_are_done(engine: Any, cluster: Any) -> None:
    engine.create(CONFIG_MAP, config_map())
    live = cluster.objects[PATH]
    live["metadata"]["finalizers"] = ["penstock.dev/drain"]

    def evolve(found: Any, reads: int) -> None:
        if found["metadata"].get("deletionTimestamp") and reads >= 4:
            cluster.script = only("GET", (404, {}))

    cluster.evolve = evolve
    engine.delete(CONFIG_MAP, "default/x", config_map())
    assert "ConfigMap x: being deleted, finalizers left: penstock.dev/drain" in engine.lines.said
    delete = next(request for request in cluster.requests if request.method == "DELETE")
    assert delete.body["propagationPolicy"] == "Background"


def test_a_deletion_that_hangs_names_the_finalizer(engine: Any, cluster: Any, aborted: Any) -> None:
    engine.create(CONFIG_MAP, config_map())
    cluster.objects[PATH]["metadata"]["finalizers"] = ["penstock.dev/drain"]
    with pytest.raises(aborted, match=r"x was not gone within 0 s: finalizers left: penstock\.dev/drain"):
        engine.delete(CONFIG_MAP, "default/x", config_map(), timeout=0.1)


def test_a_namespace_that_hangs_says_what_is_left(engine: Any, cluster: Any, aborted: Any) -> None:
    engine.create("kubernetes:core/v1:Namespace", {"metadata": {"name": "n", "finalizers": []}})
    left = {"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1 resource instances"}
    live = {"metadata": {"uid": "1", "deletionTimestamp": "now"}, "status": {"conditions": [left]}}
    cluster.script = lambda _method, path: (200, live) if path.endswith("/n") else None
    with pytest.raises(aborted, match=r"Namespace n was not gone within 0 s: pods\. has 1 resource instances"):
        engine.delete("kubernetes:core/v1:Namespace", "n", timeout=0.05)


def test_deleting_what_is_gone_already_is_no_error(engine: Any) -> None:
    engine.delete(CONFIG_MAP, "default/x", config_map())
    engine.delete(FLEET, "default/f")


def test_an_object_of_the_same_name_made_meanwhile_ends_the_wait(engine: Any, cluster: Any) -> None:
    engine.create(CONFIG_MAP, config_map())
    cluster.objects[PATH]["metadata"]["finalizers"] = ["a/b"]

    def evolve(live: Any, _reads: int) -> None:
        live["metadata"]["uid"] = "another"

    cluster.evolve = evolve
    engine.delete(CONFIG_MAP, "default/x", config_map())


def test_a_preview_of_a_new_object_knows_what_is_given_and_no_more(engine: Any, cluster: Any) -> None:
    outputs = engine.create(CONFIG_MAP, config_map(a="1"), preview=True).outputs
    assert (outputs["data"], outputs["metadata"]["name"]) == ({"a": "1"}, "x")
    assert outputs["metadata"]["uid"] is UNKNOWN
    assert outputs["status"] is UNKNOWN
    assert cluster.objects == {}
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    spec = engine.create("kubernetes:core/v1:Service", service, preview=True).outputs["spec"]
    assert (spec["clusterIP"], spec["ports"]) == (UNKNOWN, [{"port": 80}])


def test_a_preview_finds_what_the_api_server_would_refuse(engine: Any, cluster: Any, aborted: Any) -> None:
    cluster.script = only("PATCH", refusal(422, "invalid", {"field": "data", "message": "too long"}))
    with pytest.raises(aborted, match="ConfigMap default/x is not valid: data: too long"):
        engine.create(CONFIG_MAP, config_map(), preview=True)
    with pytest.raises(aborted, match="ConfigMap default/x is not valid: data: too long"):
        engine.update(CONFIG_MAP, "default/x", config_map(), preview=True)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(404, 'namespaces "default" not found'),
        refusal(403, "not yet"),
        refusal(422, "field is immutable", {"field": "spec", "message": "field is immutable"}),
        refusal(409, "conflict"),
    ],
)
def test_a_preview_goes_on_where_the_refusal_may_pass(engine: Any, cluster: Any, answer: Any) -> None:
    cluster.script = only("PATCH", answer)
    assert engine.create(CONFIG_MAP, config_map(a="1"), preview=True).outputs["data"] == {"a": "1"}


def test_a_preview_warns_of_a_custom_resource_its_present_definition_refuses(engine: Any, cluster: Any) -> None:
    cluster.served["/apis/penstock.dev/v1"] = {"Fleet": ("fleets", True)}
    cluster.script = only("PATCH", refusal(422, "invalid", {"field": "spec.size", "message": "unknown field"}))
    engine.create(FLEET, {"metadata": {"name": "f"}, "spec": {"size": 1}}, preview=True)
    assert "spec.size: unknown field" in engine.lines.warned[0]


def test_a_preview_with_unknown_values_does_not_ask_the_cluster(engine: Any, cluster: Any) -> None:
    outputs = engine.create(CONFIG_MAP, config_map(a=UNKNOWN), preview=True).outputs
    assert outputs["data"] == {"a": UNKNOWN}
    assert cluster.count("PATCH") == 0


def test_a_preview_of_an_update_shows_the_api_servers_result(engine: Any, cluster: Any) -> None:
    engine.create(CONFIG_MAP, config_map(a="1"))
    outputs = engine.update(CONFIG_MAP, "default/x", config_map(a="2"), preview=True)
    assert outputs["data"] == {"a": "2"}
    assert outputs["metadata"]["resourceVersion"] is UNKNOWN
    assert outputs["metadata"]["uid"] == cluster.objects[PATH]["metadata"]["uid"]
    assert cluster.objects[PATH]["data"] == {"a": "1"}


def test_refreshing_an_untouched_object_finds_nothing(engine: Any, cluster: Any) -> None:
    inputs = engine.check(CONFIG_MAP, config_map(a="1", b=Secret("hush")))
    created = engine.create(CONFIG_MAP, inputs)
    cluster.objects[PATH]["metadata"]["labels"] = {"added-by": "somebody"}
    seen = engine.read(CONFIG_MAP, created.id, inputs)
    assert (seen.id, seen.inputs) == (created.id, inputs)


def test_refreshing_reports_what_others_changed(engine: Any, cluster: Any) -> None:
    inputs = config_map(a="1", b="2")
    engine.create(CONFIG_MAP, inputs)
    cluster.objects[PATH]["data"] = {"a": "changed", "c": "added"}
    assert engine.read(CONFIG_MAP, "default/x", inputs).inputs["data"] == {"a": "changed"}


def test_an_object_that_is_gone_has_no_id(engine: Any) -> None:
    assert engine.read(CONFIG_MAP, "default/x", config_map()).id == ""
    assert engine.read(FLEET, "default/f", {"metadata": {"name": "f"}}).id == ""


def test_importing_takes_the_live_object_without_the_servers_fields(engine: Any, cluster: Any) -> None:
    engine.create(SECRET, {"metadata": {"name": "s"}, "data": {"a": "aGk="}})
    cluster.objects["/api/v1/namespaces/default/secrets/s"]["status"] = {"x": 1}
    seen = engine.read(SECRET, "s")
    assert seen.inputs == {"metadata": {"name": "s"}, "data": Secret({"a": "aGk="})}
    assert seen.outputs["data"] == Secret({"a": "aGk="})


def test_a_stopped_command_ends_its_waits(engine: Any, cluster: Any, aborted: Any, until: Any) -> None:
    engine.create(CONFIG_MAP, config_map())
    cluster.objects[PATH]["metadata"]["finalizers"] = ["a/b"]
    threading.Thread(target=lambda: (until(lambda: cluster.count("DELETE")), engine.call("Cancel", None))).start()
    with pytest.raises(aborted, match="the command was stopped") as failure:
        engine.delete(CONFIG_MAP, "default/x", config_map())
    assert failure.value.code is grpc.StatusCode.CANCELLED


def test_without_a_cluster_the_error_says_how_to_name_one(unconfigured: Any, aborted: Any) -> None:
    with pytest.raises(aborted, match=r"has no cluster: pass kubeconfig to kubernetes\.Provider"):
        unconfigured.create(CONFIG_MAP, config_map())
