"""A pod's life on the agent, with real processes and an API server in memory."""

import asyncio
import copy
import time
from pathlib import Path

import pytest

from infra.ops.interrupts import children

PODS = "/api/v1/pods"

SERVER = """
import os, signal, socket, sys
record = open(sys.argv[1], "a", buffering=1)
def ended(*_):
    print("SIGTERM", file=record)
    sys.exit(0)
if "deaf" in sys.argv:
    ended = lambda *_: print("SIGTERM", file=record)
signal.signal(signal.SIGTERM, ended)
listener = socket.create_server((os.environ["POD_IP"], int(os.environ["PORT"])))
print("listening", file=record)
while True:
    peer, _ = listener.accept()
    path = peer.recv(4096).split(b" ")[1].decode()
    if path != "/ready":
        print(path, file=record)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    peer.close()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(SERVER)
    return path


def pod(name, words, *, port=0, **spec):
    container = {
        "name": "main",
        "image": "registry.example/app:1",
        "command": ["python", "-I", "-S", *words],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "PORT", "value": str(port)},
        ],
        **spec.pop("container", {}),
    }
    scheduled = {"type": "PodScheduled", "status": "True"}
    return {
        "metadata": {"name": name, "namespace": "penstock", "generation": 1},
        "spec": {"nodeName": "system-a-1", "restartPolicy": "Always", "containers": [container], **spec},
        "status": {"phase": "Pending", "conditions": [scheduled]},
    }


def conditions(server, key):
    return {c["type"]: c["status"] for c in (server.get(PODS, key) or {}).get("status", {}).get("conditions", ())}


def state(server, key):
    statuses = ((server.get(PODS, key) or {}).get("status") or {}).get("containerStatuses")
    return statuses[0]["state"] if statuses else {}


async def test_a_pod_becomes_ready_and_ends_by_hook_then_signal(
    server, kubelet, program, tmp_path, free_port, eventually, layout
):
    record = tmp_path / "record"
    lifecycle = {"preStop": {"httpGet": {"path": "/leaving", "port": "http"}}}
    container = {
        "ports": [{"name": "http", "containerPort": free_port}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
        "lifecycle": lifecycle,
    }
    server.put(PODS, pod("web", [str(program), str(record)], port=free_port, container=container))
    created = time.monotonic()
    await eventually(lambda: "running" in state(server, "penstock/web"))
    assert time.monotonic() - created < 2, "the process starts at once, not at a poll"
    await eventually(lambda: conditions(server, "penstock/web").get("Ready") == "True")

    status = server.get(PODS, "penstock/web")["status"]
    assert status["phase"] == "Running"
    assert status["podIP"] == layout.address(16, 2)
    assert conditions(server, "penstock/web")["PodScheduled"] == "True", "conditions of others are kept"

    server.delete_pod("penstock/web")
    await eventually(lambda: server.get(PODS, "penstock/web") is None)
    assert record.read_text().split() == ["listening", "/leaving", "SIGTERM"]
    final = server.sent("DELETE", "/pods/web")[-1]
    assert final["gracePeriodSeconds"] == 0
    assert final["preconditions"]["uid"]
    await eventually(lambda: not list(layout.pods.iterdir()))


@pytest.mark.parametrize("how", ["it has started", "it is deleted", "its node loses its power", "its probe gives up"])
async def test_a_container_that_is_heavy_to_start_waits_for_the_one_before(
    server, kubelet, program, tmp_path, eventually, monkeypatch, how
):
    monkeypatch.setattr("infra.local.kubernetes.agent.container.is_heavy", lambda words: True)
    before = set(children())
    started = {name: tmp_path / f"{name}-started" for name in ("first", "second")}

    def heavy(name):
        probe = {"exec": {"command": ["test", "-e", str(started[name])]}, "periodSeconds": 1}
        probe["failureThreshold"] = 1 if how == "its probe gives up" else 600
        return pod(name, [str(program), str(tmp_path / name)], container={"startupProbe": probe})

    server.put(PODS, heavy("first"))
    await eventually(lambda: "running" in state(server, "penstock/first"))
    server.put(PODS, heavy("second"))
    if how != "its probe gives up":
        await asyncio.sleep(0.3)
        assert "running" not in state(server, "penstock/second"), "it would share the cores with the first"
    if how == "it has started":
        started["first"].touch()
    elif how == "it is deleted":
        server.delete_pod("penstock/first")
    elif how == "its node loses its power":
        kubelet.workers[server.get(PODS, "penstock/first")["metadata"]["uid"]].cut()
    await eventually(lambda: "running" in state(server, "penstock/second"))
    for name in ("first", "second"):
        if server.get(PODS, f"penstock/{name}"):
            server.delete_pod(f"penstock/{name}")
    await eventually(lambda: not kubelet.workers and set(children()) <= before)


async def test_a_process_that_ignores_the_signal_is_killed_after_the_grace(
    server, kubelet, program, tmp_path, free_port, eventually
):
    record = tmp_path / "record"
    server.put(PODS, pod("deaf", [str(program), str(record), "deaf"], port=free_port, terminationGracePeriodSeconds=1))
    await eventually(lambda: record.exists() and "listening" in record.read_text())
    asked = time.monotonic()
    server.delete_pod("penstock/deaf")
    await eventually(lambda: server.get(PODS, "penstock/deaf") is None)
    assert "SIGTERM" in record.read_text()
    assert 0.9 < time.monotonic() - asked < 6
    terminated = server.sent("PATCH", "/pods/deaf/status")[-1]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert terminated["exitCode"] == 137


async def test_a_hook_that_uses_up_the_grace_does_not_keep_the_pod(
    server, kubelet, program, tmp_path, free_port, eventually
):
    record = tmp_path / "record"
    container = {"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}}
    spec = {"terminationGracePeriodSeconds": 1, "container": container}
    server.put(PODS, pod("slow", [str(program), str(record)], port=free_port, **spec))
    await eventually(lambda: record.exists() and "listening" in record.read_text())
    asked = time.monotonic()
    server.delete_pod("penstock/slow")
    await eventually(lambda: server.get(PODS, "penstock/slow") is None)
    assert 0.9 < time.monotonic() - asked < 6
    assert "SIGTERM" in record.read_text()


async def test_a_crashing_container_is_restarted_at_once_and_then_backed_off(server, kubelet, eventually, layout):
    server.put(PODS, pod("crash", ["-c", "print('no'); raise SystemExit(3)"]))
    await eventually(lambda: state(server, "penstock/crash").get("waiting", {}).get("reason") == "CrashLoopBackOff")
    status = server.get(PODS, "penstock/crash")["status"]
    assert status["phase"] == "Running"
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    await eventually(lambda: server.get(PODS, "penstock/crash")["status"]["containerStatuses"][0]["restartCount"] >= 2)
    previous = layout.logs / "pods" / "penstock_crash_main.previous.log"
    assert previous.read_text() == "no\n"


async def test_a_pod_that_never_restarts_ends_with_its_exit_code(server, kubelet, eventually):
    server.put(PODS, pod("job", ["-c", "pass"], restartPolicy="Never"))
    server.put(PODS, pod("broken", ["-c", "raise SystemExit(2)"], restartPolicy="Never"))
    await eventually(lambda: server.get(PODS, "penstock/job")["status"]["phase"] == "Succeeded")
    await eventually(lambda: server.get(PODS, "penstock/broken")["status"]["phase"] == "Failed")


async def test_init_containers_run_in_order_before_the_others(server, kubelet, tmp_path, eventually):
    record = tmp_path / "record"
    step = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    words = ["python", "-I", "-S", "-c", step, str(record)]
    init = [{"name": f"step-{n}", "image": "x", "command": [*words, str(n)]} for n in (1, 2)]
    server.put(PODS, pod("ordered", ["-c", step, str(record), "3"], initContainers=init, restartPolicy="Never"))
    await eventually(lambda: server.get(PODS, "penstock/ordered")["status"]["phase"] == "Succeeded")
    assert record.read_text() == "123"
    assert conditions(server, "penstock/ordered")["Initialized"] == "True"


async def test_a_container_that_fails_its_liveness_probe_is_restarted(
    server, kubelet, program, tmp_path, free_port, eventually
):
    record = tmp_path / "record"
    probe = {
        "tcpSocket": {"port": free_port + 1 if free_port < 65535 else 1},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    container = {"livenessProbe": probe}
    server.put(PODS, pod("sick", [str(program), str(record)], port=free_port, container=container))
    await eventually(
        lambda: (server.get(PODS, "penstock/sick")["status"].get("containerStatuses") or [{}])[0].get("restartCount")
    )
    expected = {"Started", "Unhealthy", "Killing"}
    await eventually(lambda: expected <= {event["reason"] for event in server.sent("POST", "/events")})


async def test_an_unknown_program_waits_with_a_message_that_names_what_can_run(server, kubelet, eventually):
    container = {"image": "nginx", "command": ["nginx"]}
    server.put(PODS, pod("nginx", [], container=container))
    waiting = await eventually(lambda: (w := state(server, "penstock/nginx").get("waiting", {})).get("message") and w)
    assert waiting["reason"] == "ErrImagePull"
    assert "python, python3, vllm" in waiting["message"]
    server.delete_pod("penstock/nginx")
    await eventually(lambda: server.get(PODS, "penstock/nginx") is None)


async def test_a_missing_secret_holds_the_container_until_it_is_there(server, kubelet, eventually):
    container = {"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}]}
    server.put(PODS, pod("late", ["-c", "import time; time.sleep(60)"], container=container))
    waiting = await eventually(lambda: state(server, "penstock/late").get("waiting", {}).get("message"))
    assert waiting == "Secret 'keys' not found"
    server.put("/api/v1/secrets", {"metadata": {"name": "keys", "namespace": "penstock"}, "data": {"k": "dg=="}})
    await eventually(lambda: "running" in state(server, "penstock/late"))


async def test_a_changed_config_map_reaches_the_running_process(server, kubelet, tmp_path, eventually):
    config = {"metadata": {"name": "config", "namespace": "penstock"}, "data": {"a.json": "1"}}
    server.put("/api/v1/configmaps", config)
    copy = tmp_path / "copy"
    script = (
        "import sys, time, pathlib\n"
        "while True:\n"
        "  pathlib.Path(sys.argv[2]).write_text(pathlib.Path(sys.argv[1]).read_text()); time.sleep(0.02)"
    )
    container = {"volumeMounts": [{"name": "config", "mountPath": "/etc/app"}]}
    volumes = [{"name": "config", "configMap": {"name": "config"}}]
    words = ["-c", script, "/etc/app/a.json", str(copy)]
    server.put(PODS, pod("reader", words, container=container, volumes=volumes))
    await eventually(lambda: copy.exists() and copy.read_text() == "1")
    server.put("/api/v1/configmaps", {**config, "data": {"a.json": "2"}})
    await eventually(lambda: copy.read_text() == "2")


async def test_a_pod_deleted_by_force_is_killed_with_its_children(server, kubelet, tmp_path, eventually):
    record = tmp_path / "pids"
    script = (
        "import os, subprocess, sys, time, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)'])\n"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}.')\n"
        "time.sleep(60)"
    )
    server.put(PODS, pod("tree", ["-c", script, str(record)]))
    await eventually(lambda: record.exists() and record.read_text().endswith("."))
    pids = record.read_text().rstrip(".").split()
    server.delete_pod("penstock/tree", grace=0)
    await eventually(lambda: not any(_alive(int(pid)) for pid in pids))
    await eventually(lambda: not kubelet.workers)
    assert not server.sent("DELETE", "/pods/tree"), "there is nothing left to delete"


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_pod_found_running_by_a_new_agent_is_started_anew_with_its_address(
    server, make_kubelet, layout, eventually
):
    found = pod("old", ["-c", "import time; time.sleep(60)"])
    running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    found["status"] |= {
        "phase": "Running",
        "podIP": layout.address(16, 77),
        "containerStatuses": [{"name": "main", "state": running, "restartCount": 4, "ready": True}],
    }
    server.put(PODS, found)
    kubelet = make_kubelet()
    try:
        status = await eventually(
            lambda: (s := server.get(PODS, "penstock/old")["status"])["containerStatuses"][0]["restartCount"] == 5 and s
        )
        assert status["podIP"] == layout.address(16, 77)
        assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
    finally:
        await kubelet.close()


async def test_a_pod_found_in_deletion_is_finished_without_being_started(server, make_kubelet, tmp_path, eventually):
    record = tmp_path / "record"
    server.put(PODS, pod("half", ["-c", "import sys; open(sys.argv[1], 'w')", str(record)]))
    server.delete_pod("penstock/half")
    kubelet = make_kubelet()
    try:
        await eventually(lambda: server.get(PODS, "penstock/half") is None)
        assert not record.exists()
    finally:
        await kubelet.close()


async def test_one_pods_trouble_does_not_stop_another(server, kubelet, eventually):
    bad = pod("bad", ["-c", "pass"], volumes=[{"name": "v", "nfs": {"server": "x", "path": "/"}}])
    server.put(PODS, bad)
    server.put(PODS, pod("good", ["-c", "import time; time.sleep(60)"]))
    await eventually(lambda: "running" in state(server, "penstock/good"))
    mounts = await eventually(
        lambda: [e["message"] for e in server.sent("POST", "/events") if e["reason"] == "FailedMount"]
    )
    assert "nfs is not offered" in mounts[0]


async def test_the_agents_own_environment_does_not_reach_a_process(server, kubelet, tmp_path, eventually, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leak")
    record = tmp_path / "environment"
    script = "import os, sys; open(sys.argv[1], 'w').write('\\n'.join(os.environ) + '\\n.')"
    server.put(PODS, pod("clean", ["-c", script, str(record)], restartPolicy="Never"))
    await eventually(lambda: record.exists() and record.read_text().endswith("."))
    names = set(record.read_text().split())
    assert "AWS_SECRET_ACCESS_KEY" not in names
    assert {"PATH", "HOME", "PYTHONPATH", "KUBERNETES_SERVICE_HOST", "POD_IP"} <= names


async def test_a_node_takes_no_more_pods_than_its_kind_can(server, kubelet, eventually, monkeypatch):
    monkeypatch.setattr("infra.local.kubernetes.agent.kubelet.PODS_PER_NODE", 1)
    server.put(PODS, pod("first", ["-c", "import time; time.sleep(60)"]))
    await eventually(lambda: kubelet.workers)
    server.put(PODS, pod("second", ["-c", "pass"]))
    status = await eventually(lambda: (s := server.get(PODS, "penstock/second")["status"]).get("reason") and s)
    assert (status["phase"], status["reason"]) == ("Failed", "OutOfpods")


async def test_status_survives_an_api_server_that_refuses_for_a_while(server, kubelet, eventually):
    path = "/api/v1/namespaces/penstock/pods/patient/status"
    server.refuse["PATCH", path] = 500
    server.put(PODS, pod("patient", ["-c", "import time; time.sleep(60)"]))
    await asyncio.sleep(0.3)
    del server.refuse["PATCH", path]
    await eventually(lambda: "running" in state(server, "penstock/patient"))


async def test_a_pod_that_the_node_controller_marked_unready_late_is_ready_again(server, kubelet, eventually):
    """It marks the pods of a silent node, and may do so after the node has come back."""
    server.put(PODS, pod("worker", ["-c", "import time; time.sleep(60)"]))
    await eventually(lambda: conditions(server, "penstock/worker").get("Ready") == "True")
    marked = copy.deepcopy(server.get(PODS, "penstock/worker"))
    for condition in marked["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "False"
    server.put(PODS, marked)
    await eventually(lambda: conditions(server, "penstock/worker").get("Ready") == "True")
