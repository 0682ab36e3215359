"""Who may import whom, and that the layers which may not import each other agree on what they share."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import ssl
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.engine.flags import EngineFlags
from app.gateway import watch
from app.gateway.config import ModelRoute
from components import ground, manifests
from infra.local import slots
from infra.local.aws.provider import servicer as aws_provider
from infra.local.kubernetes.agent import target_plan, targets
from infra.local.kubernetes.provider import servicer as kubernetes_provider
from infra.local.layout import ACCOUNT, Layout
from infra.local.toolchain.tools import KUBERNETES
from infra.local.workspace import PLUGINS
from infra.ops import kube, status
from infra.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """File and first name of every import below a folder."""
    for path in sorted((CHECKOUT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            yield from ((str(path.relative_to(CHECKOUT)), name.split(".")[0]) for name in names)


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("app", {"infra", "components", "tests"}),
        ("components", {"infra", "tests"}),
        ("infra", {"tests", "bench"}),
        ("bench", {"tests"}),
    ],
)
def test_a_layer_imports_no_layer_above_it(folder: str, forbidden: set[str]):
    found = list(imported(folder))
    assert found
    assert [(path, name) for path, name in found if name in forbidden] == []


def test_the_program_has_no_branch_on_the_local_stack():
    program = [*(CHECKOUT / "infra").glob("*.py"), *(CHECKOUT / "infra" / "settings").glob("*.py")]
    for path in (*program, *(CHECKOUT / "components").glob("*.py")):
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert "local" not in words, path


def test_the_command_reads_the_labels_that_the_components_write(monkeypatch: pytest.MonkeyPatch):
    labels = manifests.labels("engine", "blue", "tiny") | {manifests.ZONE_LABEL: "eu-central-1a"}
    pod = kube.Pod.parse({"metadata": {"name": "engine", "labels": labels}})
    assert (pod.app, pod.colour, pod.model, pod.zone) == ("engine", "blue", "tiny", "eu-central-1a")

    asked = []
    monkeypatch.setattr(kube.Cluster, "read", lambda _, path: asked.append(path) or '{"items": []}')
    kube.Cluster("https://cluster.invalid", "token", ssl.create_default_context()).pods("penstock")
    (selector,) = parse_qs(urlsplit(asked[0]).query)["labelSelector"]
    name, _, value = selector.partition("=")
    assert labels[name] == value == manifests.PART_OF


def test_gateway_engine_and_command_have_the_ports_of_the_manifests():
    assert status.PORTS == {"gateway": manifests.GATEWAY_PORT, "engine": manifests.ENGINE_PORT}
    assert ModelRoute.model_fields["port"].default == manifests.ENGINE_PORT
    assert EngineFlags.__dataclass_fields__["port"].default == manifests.ENGINE_PORT


def test_the_gateway_reads_the_zone_where_the_manifests_ask_for_it():
    assert watch.ZONE_LABEL == manifests.ZONE_LABEL


def test_the_node_agent_binds_the_kind_that_the_program_defines():
    assert f"/apis/{ground.BINDING_GROUP}/{ground.BINDING_VERSION}/targetgroupbindings" == targets.BINDINGS
    assert f"target-health.{ground.BINDING_GROUP}" == target_plan.GATE_PREFIX


def test_the_local_providers_have_the_versions_of_the_sdks():
    for name, module in (("aws", aws_provider), ("kubernetes", kubernetes_provider)):
        assert importlib.metadata.version(f"pulumi-{name}") == module.VERSION
        assert f"resource-{name}-v{module.VERSION}/pulumi-resource-{name}" in PLUGINS


def test_the_local_stack_is_that_of_the_embedded_cloud():
    settings = Settings.from_stack_file(CHECKOUT / "Pulumi.local.yaml")
    assert settings.aws.account_id == ACCOUNT
    assert KUBERNETES.version.startswith(f"v{settings.cluster.version}.")


def test_a_slot_is_free_when_all_ports_of_the_layout_are():
    layout = Layout(CHECKOUT, CHECKOUT, 10)
    urls = (layout.etcd_url, layout.etcd_peer_url, layout.aws_url, layout.api_server_url, layout.balancer_admin_url)
    ports = {urlsplit(url).port for url in urls} | {layout.controller_manager_port, layout.scheduler_port}
    assert set(slots.PORTS) == ports


def test_the_installer_of_the_lock_is_the_one_in_the_lock():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    (wanted,) = (line for line in project["dependency-groups"]["dev"] if line.startswith("uv=="))
    for file in (".ci/uv.txt", "requirements.lock"):
        assert re.findall(r"^uv==\S+", (CHECKOUT / file).read_text(), re.MULTILINE) == [wanted]
