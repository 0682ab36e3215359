"""The Kubernetes provider between the real Pulumi engine and a real API server.

Each test is a small program of its own. There are no nodes, so no pod ever runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi import automation

from infra.local.control_plane import api_server_ready, start_controllers, start_storage
from infra.local.layout import Layout
from infra.local.processes import Processes
from infra.local.toolchain.find import Toolchain
from tests.contracts.control_planes import a_free_slot, toolchain

pytestmark = [
    pytest.mark.toolchain,
    pytest.mark.timeout(600),
]

CHECKOUT = Path(__file__).resolve().parents[2]
READY_SECONDS = 180.0
BINDING = "TargetGroupBinding"
STALLED_SECONDS = 10
"""Time for the scheduler to say why, also on a busy machine."""


@dataclass
class Cluster:
    layout: Layout
    toolchain: Toolchain

    def kubectl(self, *arguments: str) -> str:
        """Another person's hand on the cluster."""
        command = [str(self.toolchain.path("kubectl")), "--kubeconfig", str(self.layout.admin_kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    tools = toolchain()
    layout = Layout(CHECKOUT, tmp_path_factory.mktemp("cluster"), a_free_slot())
    layout.save()
    processes = Processes(layout.logs)
    try:
        start_storage(layout, tools, processes).wait_until(api_server_ready(layout), READY_SECONDS)
        start_controllers(layout, tools, processes)
        yield Cluster(layout, tools)
    finally:
        processes.stop_all()


@dataclass
class Runner:
    """A process that runs programs by the Automation API, which leaves loops and sockets behind in its process."""

    process: subprocess.Popen[str]

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def runner(cluster: Cluster) -> Iterator[Runner]:
    environment = {**os.environ, "PATH": cluster.toolchain.search_path(os.environ["PATH"]), "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Runner(process)
        process.kill()


class UpdateError(Exception):
    """Pulumi's own account of what went wrong."""


@dataclass
class Program:
    """A Pulumi program (a function of this file) with a backend of its own."""

    cluster: Cluster
    runner: Runner
    folder: Path
    name: str
    settings: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    """Name to [value, whether it is secret], after `up`."""

    def up(self, **settings: Any) -> dict[str, int]:
        return self._do("up", settings)

    def preview(self, **settings: Any) -> dict[str, int]:
        return self._do("preview", settings)

    def refresh(self) -> dict[str, int]:
        return self._do("refresh", {})

    def destroy(self) -> dict[str, int]:
        return self._do("destroy", {})

    def state(self) -> str:
        return "".join(path.read_text() for path in (self.folder / "backend").rglob("*.json*"))

    def _do(self, action: str, settings: dict[str, Any]) -> dict[str, int]:
        self.settings |= settings
        kubeconfig = self.cluster.layout.admin_kubeconfig.read_text()
        reply = self.runner.ask(
            action=action, program=self.name, settings=self.settings, folder=str(self.folder), kubeconfig=kubeconfig
        )
        self.lines += reply["lines"]
        if reply["error"]:
            raise UpdateError(reply["error"])
        self.outputs = reply["outputs"]
        return reply["changes"]


@pytest.fixture
def program(cluster: Cluster, runner: Runner, tmp_path: Path) -> Callable[..., Program]:
    plugin = tmp_path / "home/plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m infra.local.kubernetes.provider "$@"\n')
    plugin.chmod(0o755)
    (tmp_path / "backend").mkdir()

    def make(declare: Any, **settings: Any) -> Program:
        return Program(cluster, runner, tmp_path, declare.__name__, settings)

    return make


def pods(image: str, replicas: int) -> Any:
    labels = {"app.kubernetes.io/name": "engine"}
    resources = {"requests": {"cpu": "1000m", "memory": "1024Mi"}}
    containers = [{"name": "engine", "image": image, "env": [{"name": "E", "value": ""}], "resources": resources}]
    return {
        "replicas": replicas,
        "selector": {"match_labels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    }


def everything(options: pulumi.ResourceOptions, settings: dict[str, Any]) -> None:
    """One of each kind that a platform needs, the custom resource beside its definition without an order."""
    namespace = k8s.core.v1.Namespace("namespace", metadata={"name": "everything"}, opts=options).metadata["name"]

    def meta(name: str) -> Any:
        return {"namespace": namespace, "name": name, "labels": {"app.kubernetes.io/part-of": "penstock"}}

    k8s.core.v1.ConfigMap("config", metadata={"namespace": namespace}, data={"a": "1"}, opts=options)
    secret = k8s.core.v1.Secret("keys", metadata=meta("keys"), string_data={"key": "hush-hush"}, opts=options)
    ports: Any = [{"name": "http", "port": 80, "target_port": 8000}]
    service = k8s.core.v1.Service(
        "service", metadata=meta("engine"), spec={"selector": {"a": "b"}, "ports": ports}, opts=options
    )
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"arn": {"type": "string"}}}}}
    version: Any = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names: Any = {"kind": BINDING, "plural": "targetgroupbindings", "singular": "targetgroupbinding"}
    k8s.apiextensions.v1.CustomResourceDefinition(
        "definition",
        metadata={"name": "targetgroupbindings.penstock.test"},
        spec={"group": "penstock.test", "scope": "Namespaced", "names": names, "versions": [version]},
        opts=options,
    )
    k8s.apiextensions.CustomResource(
        "binding", "penstock.test/v1", BINDING, spec={"arn": "a"}, metadata=meta("blue"), opts=options
    )
    k8s.apps.v1.Deployment("engine", metadata=meta("engine"), spec=pods("vllm", 0), opts=options)
    budget: Any = {"max_unavailable": 1, "selector": {"match_labels": {"a": "b"}}}
    k8s.policy.v1.PodDisruptionBudget("budget", metadata=meta("engine"), spec=budget, opts=options)
    rules: Any = [{"api_groups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    role = k8s.rbac.v1.Role("role", metadata=meta("gateway"), rules=rules, opts=options)
    account = k8s.core.v1.ServiceAccount("account", metadata=meta("gateway"), opts=options)
    k8s.rbac.v1.RoleBinding(
        "grant",
        metadata=meta("gateway"),
        role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata["name"]},
        subjects=[{"kind": "ServiceAccount", "name": account.metadata["name"], "namespace": namespace}],
        opts=options,
    )
    pulumi.export("address", service.spec["cluster_ip"])
    pulumi.export("stored", secret.data)


def test_a_program_converges_and_leaves_nothing(program: Any, cluster: Cluster) -> None:
    whole = program(everything)
    resources = 13
    assert whole.preview() == {"create": resources}
    assert whole.up() == {"create": resources}
    assert whole.outputs["address"][0].startswith("172.20.")
    assert whole.outputs["stored"][1], "what a Secret holds is secret"
    assert whole.preview() == {"same": resources}
    assert whole.refresh() == {"same": resources}
    assert whole.preview() == {"same": resources}
    assert "hush-hush" not in whole.state()
    assert "aHVzaC1odXNo" not in whole.state()
    whole.destroy()
    assert "everything" not in cluster.kubectl("get", "namespaces", "--output=name")
    assert "penstock.test" not in cluster.kubectl("get", "customresourcedefinitions", "--output=name")


def changing(options: pulumi.ResourceOptions, settings: dict[str, Any]) -> None:
    given: Any = {"namespace": "default", "name": "given"}
    data: Any = {"a": settings["version"]}
    made = k8s.core.v1.ConfigMap("made", metadata={"namespace": "default"}, data=data, opts=options)
    k8s.core.v1.ConfigMap("given", metadata=given, data=data, opts=options)
    labelled: Any = {**given, "labels": {"version": settings["version"]}}
    k8s.core.v1.ServiceAccount("account", metadata=labelled, opts=options)
    pulumi.export("made", made.metadata["name"])


def test_what_cannot_change_in_place_is_replaced_and_the_rest_is_not(program: Any, cluster: Cluster) -> None:
    small = program(changing)
    small.up(version="1")
    before = small.outputs["made"][0]
    assert small.preview(version="2") == {"same": 2, "update": 1, "replace": 2}
    assert small.up() == {"same": 2, "update": 1, "replace": 2}
    after = small.outputs["made"][0]
    assert after != before
    names = cluster.kubectl("get", "configmaps", "--output=name").split()
    assert f"configmap/{after}" in names
    assert f"configmap/{before}" not in names
    assert cluster.kubectl("get", "configmap", "given", "--output=jsonpath={.data.a}") == "2"
    assert small.preview() == {"same": 5}


def contended(options: pulumi.ResourceOptions, settings: dict[str, Any]) -> None:
    spec: Any = {"replicas": 0, **pods(settings["image"], 0)}
    annotations = {"pulumi.com/patchForce": settings.get("force", "false")}
    metadata: Any = {"namespace": "default", "name": "contended", "annotations": annotations}
    k8s.apps.v1.Deployment("contended", metadata=metadata, spec=spec, opts=options)
    k8s.core.v1.ServiceAccount("contended", metadata={"namespace": "default", "name": "contended"}, opts=options)


def test_drift_is_reported_and_another_managers_field_is_not_taken_silently(program: Any, cluster: Cluster) -> None:
    small = program(contended)
    small.up(image="vllm:1")
    cluster.kubectl("scale", "deployment", "contended", "--replicas=2")
    cluster.kubectl("delete", "serviceaccount", "contended")
    assert small.refresh() == {"same": 2, "update": 1, "delete": 1}
    with pytest.raises(UpdateError, match=r"Deployment default/contended: .*\.spec\.replicas.*kubectl"):
        small.preview()
    small.up(force="true")
    assert cluster.kubectl("get", "deployment", "contended", "--output=jsonpath={.spec.replicas}") == "0"
    assert small.preview() == {"same": 4}


def scaled(options: pulumi.ResourceOptions, settings: dict[str, Any]) -> None:
    spec: Any = {**pods(settings["image"], 0), "paused": True}
    ignoring = pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(ignore_changes=["spec.replicas"]))
    metadata: Any = {"namespace": "default", "name": "scaled", "annotations": {"pulumi.com/skipAwait": "true"}}
    k8s.apps.v1.Deployment("scaled", metadata=metadata, spec=spec, opts=ignoring)


def test_replicas_that_an_autoscaler_set_are_not_taken_back_by_an_update(program: Any, cluster: Cluster) -> None:
    def live(path: str) -> str:
        return cluster.kubectl("get", "deployment", "scaled", f"--output=jsonpath={{{path}}}")

    small = program(scaled)
    small.up(image="vllm:1")
    cluster.kubectl("scale", "deployment", "scaled", "--replicas=2")
    assert small.preview(image="vllm:2") == {"same": 2, "update": 1}
    small.up()
    assert (live(".spec.replicas"), live(".spec.template.spec.containers[0].image")) == ("2", "vllm:2")
    cluster.kubectl("scale", "deployment", "scaled", "--replicas=1")
    small.refresh()
    assert small.preview() == {"same": 3}, "neither side has anything to say of the other's number"
    small.up(image="vllm:3")
    assert live(".spec.replicas") == "1"


def rollout(options: pulumi.ResourceOptions, settings: dict[str, Any]) -> None:
    metadata: Any = {
        "namespace": "default",
        "name": "stuck",
        "annotations": {"pulumi.com/timeoutSeconds": str(STALLED_SECONDS)},
    }
    k8s.apps.v1.Deployment("stuck", metadata=metadata, spec=pods("vllm", settings["replicas"]), opts=options)


def test_a_rollout_that_stalls_says_why_and_can_be_repaired(program: Any) -> None:
    small = program(rollout)
    with pytest.raises(UpdateError, match=f"Deployment default/stuck was not ready within {STALLED_SECONDS} s"):
        small.up(replicas=2)
    said = "".join(small.lines)
    assert "cannot be scheduled: no nodes available to schedule pods" in said
    assert "Deployment stuck: 0 of 2 replicas available" in said
    assert small.up(replicas=0) == {"same": 2, "update": 1}, "the object stayed in state"


def misspelt(options: pulumi.ResourceOptions, settings: dict[str, Any]) -> None:
    metadata: Any = {"namespace": "default", "name": "misspelt"}
    spec: Any = {"ports": [settings["port"]]}
    k8s.core.v1.Service("misspelt", metadata=metadata, spec=spec, opts=options)


@pytest.mark.parametrize(
    ("port", "words"),
    [
        ({"port": 123456}, r"Service default/misspelt is not valid: spec\.ports\[0\]\.port"),
        ({"port": 80, "colour": "blue"}, r"\.spec\.ports\[.*colour: field not declared in schema"),
    ],
)
def test_a_preview_refuses_what_the_api_server_would(program: Any, port: Any, words: str) -> None:
    with pytest.raises(UpdateError, match=words):
        program(misspelt, port=port).preview()


def run(request: dict[str, Any]) -> dict[str, Any]:
    """One action of a runner. The program is chosen by its name."""
    folder = Path(request["folder"])
    lines: list[str] = []

    def declare() -> None:
        provider = k8s.Provider(
            "kubernetes", kubeconfig=pulumi.Output.secret(request["kubeconfig"]), cluster_identifier="one"
        )
        globals()[request["program"]](pulumi.ResourceOptions(provider=provider), request["settings"])

    variables = {
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_BACKEND_URL": (folder / "backend").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    options = automation.LocalWorkspaceOptions(work_dir=str(folder), env_vars=variables)
    stack = automation.create_or_select_stack("test", "provider", program=declare, opts=options)
    reply: dict[str, Any] = {"lines": lines, "changes": {}, "outputs": {}, "error": ""}
    try:
        result = getattr(stack, request["action"])(on_output=lines.append, color="never")
    except automation.CommandError as error:
        return {**reply, "error": str(error)}
    changes = result.change_summary if request["action"] == "preview" else result.summary.resource_changes
    reply["changes"] = {str(getattr(kind, "value", kind)): count for kind, count in changes.items()}
    if request["action"] == "up":
        reply["outputs"] = {name: [output.value, output.secret] for name, output in result.outputs.items()}
    return reply


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
