"""What is waited for, what is said meanwhile, and when waiting is given up."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.kubernetes.provider.directives import timeout_seconds
from infra.local.kubernetes.provider.kinds import parse_token
from infra.local.kubernetes.provider.pods import Endurance, Trouble, Watchlist
from infra.local.kubernetes.provider.readiness import readiness, waits
from infra.local.kubernetes.provider.waiting import label_selector

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
PATH = "/apis/apps/v1/namespaces/default/deployments/gateway"
PODS = "/api/v1/namespaces/default/pods"


def deployment(replicas: int = 3, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "gateway", "namespace": "default", "annotations": annotations},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "gateway"}}},
    }


def counts(live: dict[str, Any], updated: int, available: int, total: int | None = None) -> None:
    live["status"] = {
        "observedGeneration": live["metadata"]["generation"],
        "replicas": updated if total is None else total,
        "updatedReplicas": updated,
        "availableReplicas": available,
    }


def stuck(cluster: Any, pod_status: dict[str, Any], template: str = "new") -> None:
    """A Deployment whose only pod of the present template has this status, and its old pods another trouble."""

    def evolve(live: dict[str, Any], _reads: int) -> None:
        if live.get("kind", "Deployment") != "Deployment" or "selector" not in live.get("spec", {}):
            return
        counts(live, updated=3, available=2)
        live["metadata"].setdefault("annotations", {})["deployment.kubernetes.io/revision"] = "2"
        owner = [{"uid": live["metadata"]["uid"]}]
        for revision, name in (("1", "old"), ("2", "new")):
            cluster.objects[f"/apis/apps/v1/namespaces/default/replicasets/{name}"] = {
                "metadata": {
                    "labels": {"app": "gateway", "pod-template-hash": name},
                    "annotations": {"deployment.kubernetes.io/revision": revision},
                    "ownerReferences": owner,
                }
            }
        labels = {"app": "gateway", "pod-template-hash": template}
        cluster.objects[f"{PODS}/gateway-{template}-1"] = {
            "metadata": {"name": f"gateway-{template}-1", "labels": labels},
            "status": pod_status,
        }

    cluster.evolve = evolve


def waiting(reason: str, message: str, **more: Any) -> dict[str, Any]:
    container = {"name": "engine", "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {"containerStatuses": [container]}


def test_a_deployment_is_waited_for_until_all_replicas_are_available(engine: Any, cluster: Any) -> None:
    steps = {1: (1, 0, 4), 2: (3, 2, 4), 3: (3, 3, 4), 4: (3, 3, 3)}
    cluster.evolve = lambda live, reads: counts(live, *steps[min(reads, 4)])
    created = engine.create(DEPLOYMENT, deployment())
    assert created.outputs["status"]["availableReplicas"] == 3
    assert engine.lines.said == [
        "Deployment gateway: waiting for the controller",
        "Deployment gateway: 1 of 3 replicas updated, 0 available",
        "Deployment gateway: 2 of 3 replicas available",
        "Deployment gateway: 3 of 3 replicas available, 1 old ones are ending",
        "Deployment gateway: 3 of 3 replicas available",
    ]


def test_an_update_waits_for_the_new_generation(engine: Any, cluster: Any) -> None:
    cluster.evolve = lambda live, _reads: counts(live, 3, 3)
    engine.create(DEPLOYMENT, deployment())
    cluster.evolve = lambda live, reads: counts(live, 4, 4) if reads > 3 else None
    assert engine.update(DEPLOYMENT, "default/gateway", deployment(4))["status"]["updatedReplicas"] == 4


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (
            waiting("ErrImagePull", "cannot run nginx: python and vllm can run"),
            "pod gateway-new-1, container engine: ErrImagePull: cannot run nginx: python and vllm can run",
        ),
        (
            waiting("CrashLoopBackOff", "back-off 20s", lastState={"terminated": {"exitCode": 2, "reason": "Error"}}),
            "pod gateway-new-1, container engine: CrashLoopBackOff: back-off 20s; it last ended with status 2, Error",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "keys" not found'),
            'pod gateway-new-1, container engine: CreateContainerConfigError: secret "keys" not found',
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/9 nodes are available: 9 Insufficient nvidia.com/gpu.",
                    }
                ]
            },
            "pod gateway-new-1 cannot be scheduled: 0/9 nodes are available: 9 Insufficient nvidia.com/gpu.",
        ),
    ],
)
def test_a_rollout_that_cannot_end_well_is_given_up_early_with_the_pods_words(
    engine: Any, cluster: Any, aborted: Any, status: dict[str, Any], sentence: str
) -> None:
    stuck(cluster, status)
    with pytest.raises(aborted) as failure:
        engine.create(DEPLOYMENT, deployment())
    assert failure.value.failed.reasons == ["Deployment default/gateway: 2 of 3 replicas available", sentence]
    assert any(f"2 of 3 replicas available ({sentence})" in line for line in engine.lines.said)


def test_an_object_that_is_not_ready_stays_in_state(engine: Any, cluster: Any, aborted: Any) -> None:
    stuck(cluster, waiting("InvalidImageName", "no"))
    with pytest.raises(aborted) as failure:
        engine.create(DEPLOYMENT, deployment())
    assert failure.value.failed.id == "default/gateway"
    assert failure.value.failed.inputs.fields["spec"]
    assert failure.value.failed.properties.fields["metadata"]


def test_pods_of_the_old_template_do_not_fail_the_rollout_that_repairs_them(
    engine: Any, cluster: Any, aborted: Any
) -> None:
    stuck(cluster, waiting("InvalidImageName", "no"), template="old")
    with pytest.raises(aborted, match="was not ready within 0 s") as failure:
        engine.create(DEPLOYMENT, deployment(), timeout=0.3)
    assert len(failure.value.failed.reasons) == 1


def test_a_rollout_without_progress_fails_with_the_controllers_words(engine: Any, cluster: Any, aborted: Any) -> None:
    late = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "has timed out progressing."}

    def evolve(live: dict[str, Any], _reads: int) -> None:
        counts(live, 1, 0)
        live["status"]["conditions"] = [late]

    cluster.evolve = evolve
    with pytest.raises(aborted, match=r"Deployment default/gateway: has timed out progressing\."):
        engine.create(DEPLOYMENT, deployment())


def test_pods_that_may_not_be_created_fail_the_rollout(engine: Any, cluster: Any, aborted: Any) -> None:
    def evolve(live: dict[str, Any], _reads: int) -> None:
        counts(live, 0, 0)
        live["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]

    cluster.evolve = evolve
    with pytest.raises(aborted, match="no pod created: exceeded quota"):
        engine.create(DEPLOYMENT, deployment())


def test_a_deployment_deleted_by_somebody_else_is_not_waited_for(engine: Any, cluster: Any, aborted: Any) -> None:
    def evolve(_live: dict[str, Any], reads: int) -> None:
        if reads == 2:
            cluster.script = lambda method, path: (404, {}) if path == PATH else None

    cluster.evolve = evolve
    with pytest.raises(aborted, match="was deleted by somebody else"):
        engine.create(DEPLOYMENT, deployment())


def test_skip_await_returns_at_once(engine: Any, cluster: Any) -> None:
    engine.create(DEPLOYMENT, deployment(**{"pulumi.com/skipAwait": "true"}))
    assert engine.lines.said == []


def test_the_time_to_wait_is_the_options_then_the_annotations_then_ten_minutes() -> None:
    annotated = deployment(**{"pulumi.com/timeoutSeconds": "30"})
    assert timeout_seconds(annotated, 5.0) == 5.0
    assert timeout_seconds(annotated, 0.0) == 30.0
    assert timeout_seconds(deployment(), 0.0) == 600.0


def test_refreshing_an_unhealthy_deployment_tells_the_engine(engine: Any, cluster: Any, aborted: Any) -> None:
    cluster.evolve = lambda live, _reads: counts(live, 3, 3)
    engine.create(DEPLOYMENT, deployment())
    cluster.evolve = lambda live, _reads: counts(live, 3, 1)
    with pytest.raises(aborted) as failure:
        engine.read(DEPLOYMENT, "default/gateway", deployment())
    assert failure.value.failed.reasons == ["Deployment default/gateway: 1 of 3 replicas available"]
    assert failure.value.failed.inputs.fields["spec"].struct_value.fields["replicas"].number_value == 3


def test_a_trouble_must_last_to_count() -> None:
    watchlist = Watchlist(Endurance(crashes=10.0))
    trouble = Trouble("p", "CrashLoopBackOff", "m")
    assert watchlist.hopeless([trouble], now=0.0) == []
    assert watchlist.hopeless([], now=8.0) == []
    assert watchlist.hopeless([trouble], now=9.0) == []
    assert watchlist.hopeless([trouble], now=18.9) == []
    assert watchlist.hopeless([trouble], now=19.0) == [trouble]


def test_an_image_that_alternates_between_error_and_back_off_is_one_trouble() -> None:
    watchlist = Watchlist(Endurance(image=10.0))
    for now, reason in ((0.0, "ErrImagePull"), (5.0, "ImagePullBackOff")):
        assert watchlist.hopeless([Trouble("p", reason, "m")], now) == []
    assert len(watchlist.hopeless([Trouble("p", "ErrImagePull", "m")], 10.0)) == 1


READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("token", "live", "done"),
    [
        ("core/v1:Pod", {"status": {"phase": "Running", "conditions": [READY]}}, True),
        ("core/v1:Pod", {"status": {"phase": "Running"}}, False),
        ("core/v1:Pod", {"status": {"phase": "Succeeded"}}, True),
        ("core/v1:Service", {"spec": {"type": "ClusterIP"}}, True),
        ("core/v1:Service", {"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}}, False),
        ("core/v1:Service", {"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{}]}}}, True),
        ("core/v1:PersistentVolumeClaim", {"status": {"phase": "Pending"}}, True),
        ("batch/v1:Job", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, True),
        ("batch/v1:Job", {"status": {"succeeded": 1}}, False),
        ("apps/v1:StatefulSet", {"spec": {"replicas": 2}, "status": {"readyReplicas": 2, "updatedReplicas": 1}}, False),
        ("apps/v1:StatefulSet", {"spec": {"replicas": 2}, "status": {"readyReplicas": 2, "updatedReplicas": 2}}, True),
        ("apps/v1:DaemonSet", {"status": {"desiredNumberScheduled": 2, "numberAvailable": 1}}, False),
        ("apps/v1:Deployment", {"spec": {"paused": True, "replicas": 3}}, True),
        ("apps/v1:Deployment", {"spec": {"replicas": 0}, "status": {}}, True),
        (
            "apiextensions.k8s.io/v1:CustomResourceDefinition",
            {"status": {"conditions": [{"type": "Established", "status": "True"}]}},
            True,
        ),
        ("apiextensions.k8s.io/v1:CustomResourceDefinition", {}, False),
        ("penstock.dev/v1:Fleet", {"status": {"ready": False}}, True),
    ],
)
def test_each_kind_has_its_own_idea_of_ready(token: str, live: dict[str, Any], done: bool) -> None:
    assert readiness(parse_token(f"kubernetes:{token}"), live).done is done


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("core/v1:Pod", {"phase": "Failed", "reason": "Evicted"}, "the pod failed: Evicted"),
        (
            "batch/v1:Job",
            {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m"}]},
            "BackoffLimitExceeded: m",
        ),
        (
            "apiextensions.k8s.io/v1:CustomResourceDefinition",
            {"conditions": [{"type": "NamesAccepted", "status": "False", "message": "taken"}]},
            "its names are not accepted: taken",
        ),
    ],
)
def test_what_has_failed_for_good_is_not_waited_for(token: str, status: dict[str, Any], words: str) -> None:
    assert readiness(parse_token(f"kubernetes:{token}"), {"status": status}).failure == words


def test_only_kinds_with_a_state_are_waited_for() -> None:
    assert waits(parse_token(DEPLOYMENT))
    assert not waits(parse_token("kubernetes:core/v1:ConfigMap"))


def test_selectors_become_query_parameters() -> None:
    rules = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "Exists"},
        {"key": "c", "operator": "DoesNotExist"},
        {"key": "d", "operator": "NotIn", "values": ["3"]},
    ]
    selector = {"matchLabels": {"x": "y"}, "matchExpressions": rules}
    assert label_selector(selector) == "x=y,a in (1,2),b,!c,d notin (3)"
    assert label_selector({}) is None
