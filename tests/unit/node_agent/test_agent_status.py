"""A pod's phase, conditions and container states."""

import datetime as dt

import pytest

from infra.local.kubernetes.agent.status import (
    Record,
    Running,
    Terminated,
    Waiting,
    container_status,
    phase_of,
    pod_status,
    resumed,
)

NOW = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(minutes=5)


def record(state=None, **fields):
    return Record("main", "image", state=state or Waiting("ContainerCreating"), **fields)


def ended(code=0):
    return Terminated(code, "Completed" if code == 0 else "Error", "t0", "t1")


def status(*records, init=(), previous=None, now=NOW, gates=(), foreign=(), phase=None):
    pod = {
        "metadata": {"generation": 2},
        "spec": {"readinessGates": [{"conditionType": gate} for gate in gates]},
        "status": {"phase": phase, "conditions": [{"type": kind, "status": "True"} for kind in foreign]},
    }
    return pod_status(
        pod, init, records, address="127.9.16.2", node_address="127.9.16.1", previous=previous or {}, now=now
    )


def condition(value, kind):
    return next(c for c in value["conditions"] if c["type"] == kind)


@pytest.mark.parametrize(
    ("records", "phase"),
    [
        ([record()], "Pending"),
        ([record(Running("t"))], "Running"),
        ([record(Running("t")), record()], "Pending"),
        ([record(Waiting("CrashLoopBackOff"), last=ended(1))], "Running"),
        ([record(ended(), final=True)], "Succeeded"),
        ([record(ended(), final=True), record(ended(1), final=True)], "Failed"),
        ([record(ended(), final=True), record(Running("t"))], "Running"),
    ],
)
def test_the_phase_follows_the_containers(records, phase):
    assert phase_of([], records) == phase


def test_a_pod_is_pending_until_its_init_containers_have_succeeded():
    assert phase_of([record(Running("t"))], [record()]) == "Pending"
    assert phase_of([record(ended(1), final=True)], [record()]) == "Failed"
    assert phase_of([record(ended(), final=True)], [record(Running("t"))]) == "Running"


def test_a_ready_pod_says_since_when():
    ready = record(Running("t"), ready=True, started=True)
    first = status(ready)
    assert condition(first, "Ready")["status"] == "True"
    assert condition(first, "Ready")["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    again = status(ready, previous=first, now=LATER)
    assert again == first, "nothing changed, so nothing is to be sent"
    ready.ready = False
    unready = status(ready, previous=first, now=LATER)
    assert condition(unready, "Ready")["lastTransitionTime"] == "2026-01-01T12:05:00Z"
    assert condition(unready, "Ready")["message"] == "containers with unready status: [main]"
    assert condition(unready, "Initialized")["lastTransitionTime"] == "2026-01-01T12:00:00Z"


def test_a_closed_readiness_gate_keeps_a_pod_with_ready_containers_unready():
    ready = record(Running("t"), ready=True)
    closed = status(ready, gates=["example/gate"])
    assert condition(closed, "ContainersReady")["status"] == "True"
    assert condition(closed, "Ready")["reason"] == "ReadinessGatesNotReady"
    opened = status(ready, gates=["example/gate"], foreign=["example/gate"])
    assert condition(opened, "Ready")["status"] == "True"


def test_only_own_conditions_are_sent():
    kinds = {c["type"] for c in status(record(), foreign=["PodScheduled"])["conditions"]}
    assert kinds == {"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"}


def test_a_final_phase_that_others_set_is_never_left():
    assert status(record(Running("t"), ready=True), phase="Failed")["phase"] == "Failed"


def test_a_completed_pod_is_not_ready_because_it_is_done():
    done = status(record(ended(), final=True))
    assert condition(done, "Ready")["reason"] == "PodCompleted"


def test_a_container_found_after_a_crash_of_the_agent_counts_one_restart_more():
    found = {"state": {"running": {"startedAt": "t0"}}, "restartCount": 2}
    taken = resumed(record(), found)
    assert taken.restarts == 3
    assert taken.last
    assert (taken.last.code, taken.last.reason) == (137, "ContainerStatusUnknown")


def test_a_container_that_was_waiting_keeps_its_count():
    found = {"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 3}}, "restartCount": 2}
    taken = resumed(record(), found)
    assert (taken.restarts, taken.last and taken.last.code) == (2, 3)


def test_a_container_status_has_exactly_one_state():
    crashed = record(Waiting("CrashLoopBackOff", "back-off 10s"), last=ended(1), restarts=2)
    said = container_status(crashed)
    assert said["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    assert said["lastState"]["terminated"]["exitCode"] == 1
    assert said["restartCount"] == 2
