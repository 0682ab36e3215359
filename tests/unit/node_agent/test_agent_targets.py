"""Target group bindings: which pods are targets, and what is sent to the load balancer."""

from dataclasses import replace

import pytest

from infra.local.kubernetes.agent.aws import AwsError
from infra.local.kubernetes.agent.store import Store
from infra.local.kubernetes.agent.target_plan import FINALIZER, TargetChanges, changes, wanted_targets
from infra.local.kubernetes.agent.targets import BINDINGS, Targets

PODS, SERVICES = "/api/v1/pods", "/api/v1/services"
GATE = "target-health.elbv2.k8s.aws/blue"


def binding(**metadata):
    return {
        "metadata": {"name": "blue", "namespace": "penstock", "generation": 3, **metadata},
        "spec": {"targetGroupARN": "arn:blue", "serviceRef": {"name": "gateway", "port": 80}},
    }


def service(**port):
    spec = {"selector": {"app": "gateway"}, "ports": [{"name": "http", "port": 80, "targetPort": "web", **port}]}
    return {"metadata": {"name": "gateway", "namespace": "penstock"}, "spec": spec}


def pod(number, *, ready=True, gate=False, containers_ready=None, **metadata):
    containers_ready = ready if containers_ready is None else containers_ready
    states = {"Ready": ready, "ContainersReady": containers_ready}
    return {
        "metadata": {"name": f"p{number}", "namespace": "penstock", "labels": {"app": "gateway"}, **metadata},
        "spec": {
            "containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 8080}]}],
            "readinessGates": [{"conditionType": GATE}] if gate else [],
        },
        "status": {
            "podIP": f"127.9.16.{number}",
            "conditions": [{"type": kind, "status": str(value)} for kind, value in states.items()],
        },
    }


def targets(*pods, **port):
    return set(wanted_targets(binding(), service(**port), pods))


def test_ready_pods_of_the_service_are_targets_at_their_container_port():
    assert targets(pod(2), pod(3)) == {("127.9.16.2", 8080), ("127.9.16.3", 8080)}


def test_a_pod_that_is_not_ready_or_is_leaving_is_no_target():
    assert targets(pod(2, ready=False), pod(3, deletionTimestamp="2026-01-01T00:00:00Z")) == set()


@pytest.mark.parametrize("other", [{"labels": {"app": "engine"}}, {"namespace": "other"}])
def test_a_pod_of_another_service_or_namespace_is_no_target(other):
    assert targets(pod(2, **other)) == set()


def test_a_pod_that_waits_for_the_binding_needs_only_ready_containers():
    assert targets(pod(2, ready=False, containers_ready=True, gate=True)) == {("127.9.16.2", 8080)}
    assert targets(pod(2, ready=False, containers_ready=True)) == set()


def test_a_target_port_may_be_a_number_a_name_or_the_services_own():
    assert targets(pod(2), targetPort=9000) == {("127.9.16.2", 9000)}
    assert targets(pod(2), targetPort=None) == {("127.9.16.2", 80)}
    assert targets(pod(2), targetPort="nowhere") == set()


def test_without_a_service_there_are_no_targets():
    assert wanted_targets(binding(), None, [pod(2)]) == {}


def test_only_the_difference_is_sent():
    a, b, c = (("127.9.16.2", 1), ("127.9.16.3", 1), ("127.9.16.4", 1))
    assert changes([a, b], [b, c]) == TargetChanges(register=(a,), deregister=(c,))
    assert not changes([a], [a])


class Balancer:
    def __init__(self):
        self.targets = {("10.0.0.9", 80): "healthy"}
        self.calls = []
        self.fail = ""
        self.new = "healthy"

    async def target_health(self, group):
        if self.fail:
            raise AwsError(self.fail, "refused")
        return dict(self.targets)

    async def register(self, group, targets):
        self.calls.append(("register", *targets))
        self.targets |= dict.fromkeys(targets, self.new)

    async def deregister(self, group, targets):
        self.calls.append(("deregister", *targets))
        for target in targets:
            self.targets.pop(target, None)


@pytest.fixture
def balancer():
    return Balancer()


@pytest.fixture
async def controller(server, api, options, running, balancer):
    pods, services, bindings = Store(api, PODS), Store(api, SERVICES), Store(api, BINDINGS)
    made = Targets(api, balancer, options, pods, services, bindings)
    for store in (pods, services, bindings):
        running(store.run())
    yield made
    await made.close()


async def test_a_target_group_follows_its_pods(server, controller, balancer, eventually):
    server.put(SERVICES, service())
    server.put(PODS, pod(2))
    server.put(BINDINGS, binding())
    await eventually(lambda: set(balancer.targets) == {("127.9.16.2", 8080)})
    assert balancer.calls[0][0] == "deregister", "what was registered by others goes"
    server.put(PODS, pod(3))
    await eventually(lambda: len(balancer.targets) == 2)
    assert balancer.calls[-1] == ("register", ("127.9.16.3", 8080)), "only the new one is sent"
    server.put(PODS, pod(2, deletionTimestamp="2026-01-01T00:00:00Z"))
    await eventually(lambda: set(balancer.targets) == {("127.9.16.3", 8080)})
    held = server.get(BINDINGS, "penstock/blue")
    assert held["metadata"]["finalizers"] == [FINALIZER]
    assert held["status"] == {"observedGeneration": 3}


async def test_a_deleted_binding_takes_its_targets_out_before_it_goes(server, controller, balancer, eventually):
    server.put(SERVICES, service())
    server.put(PODS, pod(2))
    server.put(BINDINGS, binding())
    await eventually(lambda: ("127.9.16.2", 8080) in balancer.targets)
    held = server.get(BINDINGS, "penstock/blue")
    held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    server.put(BINDINGS, held)
    await eventually(lambda: not balancer.targets)
    await eventually(lambda: server.get(BINDINGS, "penstock/blue")["metadata"]["finalizers"] == [])


async def test_a_target_that_drains_already_is_not_taken_out_again(server, controller, balancer, eventually):
    balancer.targets = {("10.0.0.9", 80): "draining"}
    server.put(BINDINGS, binding(finalizers=[FINALIZER], deletionTimestamp="2026-01-01T00:00:00Z"))
    await eventually(lambda: server.get(BINDINGS, "penstock/blue")["metadata"]["finalizers"] == [])
    assert not balancer.calls


async def test_a_binding_whose_target_group_is_gone_can_still_be_deleted(server, controller, balancer, eventually):
    balancer.fail = "TargetGroupNotFound"
    server.put(BINDINGS, binding(finalizers=[FINALIZER], deletionTimestamp="2026-01-01T00:00:00Z"))
    await eventually(lambda: server.get(BINDINGS, "penstock/blue")["metadata"]["finalizers"] == [])


async def test_a_balancer_that_is_away_is_tried_again(server, controller, balancer, eventually):
    balancer.fail = "ClientConnectorError"
    server.put(SERVICES, service())
    server.put(PODS, pod(2))
    server.put(BINDINGS, binding())
    await eventually(lambda: server.get(BINDINGS, "penstock/blue")["metadata"].get("finalizers"))
    balancer.fail = ""
    await eventually(lambda: ("127.9.16.2", 8080) in balancer.targets)


async def test_without_processes_a_registered_pods_gate_opens_though_nobody_answers_the_checks(
    server, api, options, running, balancer, eventually
):
    balancer.new = "unhealthy"
    pods, services, bindings = Store(api, PODS), Store(api, SERVICES), Store(api, BINDINGS)
    made = Targets(api, balancer, replace(options, objects_only=True), pods, services, bindings)
    for store in (pods, services, bindings):
        running(store.run())
    server.put(SERVICES, service())
    server.put(PODS, pod(2, ready=False, containers_ready=True, gate=True))
    server.put(BINDINGS, binding())

    def gate() -> str | None:
        found = server.get(PODS, "penstock/p2")["status"]["conditions"]
        return {each["type"]: each["status"] for each in found}.get(GATE)

    await eventually(lambda: gate() == "True")
    assert ("127.9.16.2", 8080) in balancer.targets
    await made.close()


async def test_the_readiness_gate_opens_when_the_target_is_healthy(server, controller, balancer, eventually):
    balancer.new = "initial"
    server.put(SERVICES, service())
    server.put(PODS, pod(2, ready=False, containers_ready=True, gate=True))
    server.put(BINDINGS, binding())
    await eventually(lambda: ("127.9.16.2", 8080) in balancer.targets)
    gate = lambda: {c["type"]: c["status"] for c in server.get(PODS, "penstock/p2")["status"]["conditions"]}.get(GATE)  # noqa: E731
    assert gate() is None
    balancer.targets["127.9.16.2", 8080] = "healthy"
    await eventually(lambda: gate() == "True")
