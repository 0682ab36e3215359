"""Pods as objects: the agent reports them as running, and starts nothing."""

import dataclasses

import pytest

from components.keda_manifests import CERTIFICATES
from infra.local.kubernetes.agent.objects import MADE_BY_PROCESSES
from tests.unit.node_agent.conftest import QUICK

PODS = "/api/v1/pods"


@pytest.fixture
def options():
    return dataclasses.replace(QUICK, objects_only=True)


def pod(name, **spec):
    container = {"name": "main", "image": "registry.example/app@sha256:0", "command": ["no-such-program"]}
    return {
        "metadata": {"name": name, "namespace": "penstock", "generation": 1},
        "spec": {"nodeName": "system-a-1", "restartPolicy": "Always", "containers": [container], **spec},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
    }


def status_of(server, name):
    return (server.get(PODS, f"penstock/{name}") or {}).get("status", {})


def ready(server, name):
    conditions = {c["type"]: c["status"] for c in status_of(server, name).get("conditions", ())}
    return conditions.get("Ready") == "True"


@pytest.mark.usefixtures("kubelet")
async def test_a_pod_is_ready_with_an_address_though_nothing_runs(server, layout, eventually):
    probes = {"readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}}}
    served = pod("web")
    served["spec"]["containers"][0] |= probes
    server.put(PODS, served)
    await eventually(lambda: ready(server, "web"))
    status = status_of(server, "web")
    assert status["phase"] == "Running"
    assert status["podIP"].startswith(f"127.{layout.slot}.16.")
    assert not list((layout.logs / "pods").glob("*"))


@pytest.mark.usefixtures("kubelet")
async def test_a_pod_waits_for_a_secret_that_its_environment_names(server, eventually):
    reference = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}
    waiting = pod("web")
    waiting["spec"]["containers"][0]["env"] = [reference]
    server.put(PODS, waiting)

    def reason():
        states = status_of(server, "web").get("containerStatuses") or [{}]
        return (states[0].get("state") or {}).get("waiting", {}).get("reason")

    await eventually(lambda: reason() == "CreateContainerConfigError")
    server.put("/api/v1/secrets", {"metadata": {"name": "keys", "namespace": "penstock"}, "data": {"key": "a2V5"}})
    await eventually(lambda: ready(server, "web"))


@pytest.mark.usefixtures("kubelet")
async def test_a_secret_that_only_a_process_would_make_is_not_waited_for(server, eventually):
    def showing(name: str, secret: str):
        return pod(name, volumes=[{"name": "shown", "secret": {"secretName": secret}}])

    server.put(PODS, showing("forgotten", "keys"))
    server.put(PODS, showing("adapter", CERTIFICATES))
    await eventually(lambda: ready(server, "adapter"))
    assert {CERTIFICATES} == MADE_BY_PROCESSES
    assert not ready(server, "forgotten")


@pytest.mark.usefixtures("kubelet")
async def test_a_pod_that_works_and_ends_has_succeeded(server, eventually):
    server.put(PODS, pod("job", restartPolicy="Never"))
    await eventually(lambda: status_of(server, "job").get("phase") == "Succeeded")


@pytest.mark.usefixtures("kubelet")
async def test_an_init_container_has_ended_before_the_pod_is_ready(server, eventually):
    first = {"name": "first", "image": "registry.example/init:1", "command": ["no-such-program"]}
    server.put(PODS, pod("web", initContainers=[first]))
    await eventually(lambda: ready(server, "web"))
    (state,) = status_of(server, "web")["initContainerStatuses"]
    assert state["state"]["terminated"]["exitCode"] == 0


async def test_a_deleted_pod_goes_at_once_and_leaves_no_files(server, layout, kubelet, eventually):
    server.put(PODS, pod("web", terminationGracePeriodSeconds=300))
    await eventually(lambda: ready(server, "web"))
    server.delete_pod("penstock/web")
    await eventually(lambda: server.get(PODS, "penstock/web") is None and not kubelet.workers, seconds=3)
    assert not list(layout.pods.iterdir())
