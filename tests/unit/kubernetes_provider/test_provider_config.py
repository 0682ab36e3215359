"""The provider's own settings, and its life as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc

from infra.local.kubernetes.provider.progress import EngineReporter
from infra.local.kubernetes.provider.values import UNKNOWN, Secret, decode, encode

SOME, NONE = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
CHECKOUT = Path(__file__).parents[3]


def diff_config(engine: Any, old: dict[str, Any], new: dict[str, Any]) -> Any:
    request = provider_pb2.DiffRequest(old_inputs=encode(old), olds=encode(old), news=encode(new))
    return engine.call("DiffConfig", request)


def test_the_version_is_the_sdks(unconfigured: Any) -> None:
    plugin = Path(str(files("pulumi_kubernetes"))).joinpath("pulumi-plugin.json").read_text()
    assert json.loads(plugin)["version"] == unconfigured.call("GetPluginInfo", None).version


def test_another_cluster_identifier_replaces_the_provider(unconfigured: Any) -> None:
    response = diff_config(unconfigured, {"clusterIdentifier": "a"}, {"clusterIdentifier": "b"})
    assert (response.changes, list(response.replaces)) == (SOME, ["clusterIdentifier"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"kubeconfig": "a", "clusterIdentifier": "c"}, {"kubeconfig": "b", "clusterIdentifier": "c"}),
        ({"kubeconfig": "a"}, {"kubeconfig": UNKNOWN}),
        ({"clusterIdentifier": "a"}, {"clusterIdentifier": UNKNOWN}),
        ({}, {"clusterIdentifier": "a"}),
        ({"context": "a"}, {"context": "b"}),
    ],
)
def test_nothing_else_replaces_it(unconfigured: Any, old: dict[str, Any], new: dict[str, Any]) -> None:
    response = diff_config(unconfigured, old, new)
    assert (response.changes, list(response.replaces)) == (SOME, [])


def test_the_same_settings_are_no_change(unconfigured: Any) -> None:
    settings = {"kubeconfig": Secret("a"), "version": "4.34.2"}
    assert diff_config(unconfigured, settings, {"kubeconfig": "a"}).changes == NONE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"renderYamlToDirectory": "out"}, "renderYamlToDirectory is not supported"),
        ({"enableServerSideApply": "false"}, "enableServerSideApply cannot be false"),
        ({"enablePatchForce": "perhaps"}, "enablePatchForce must be true or false, not 'perhaps'"),
        ({"context": ["a"]}, "context must be a string"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(unconfigured: Any, settings: dict[str, Any], words: str) -> None:
    response = unconfigured.call("CheckConfig", provider_pb2.CheckRequest(news=encode(settings)))
    assert words in response.failures[0].reason


def test_settings_that_are_unknown_at_preview_pass(unconfigured: Any) -> None:
    news = encode({"kubeconfig": UNKNOWN, "clusterIdentifier": UNKNOWN})
    response = unconfigured.call("CheckConfig", provider_pb2.CheckRequest(news=news))
    assert (response.inputs, list(response.failures)) == (news, [])
    unconfigured.configure(kubeconfig=UNKNOWN)
    inputs = {"metadata": {"name": "x"}, "data": {"a": "1"}}
    with_unknown = unconfigured.check("kubernetes:core/v1:ConfigMap", inputs)
    assert with_unknown["metadata"]["namespace"] == "default"


def test_previews_work_before_there_is_a_cluster(unconfigured: Any) -> None:
    inputs = unconfigured.check("kubernetes:core/v1:ConfigMap", {"data": {"a": "1"}})
    outputs = unconfigured.create("kubernetes:core/v1:ConfigMap", inputs, preview=True).outputs
    assert outputs["data"] == {"a": "1"}
    assert outputs["metadata"]["uid"] is UNKNOWN


def test_settings_may_come_as_variables(unconfigured: Any, cluster: Any) -> None:
    variables = {"kubernetes:config:kubeconfig": cluster.kubeconfig(), "kubernetes:config:namespace": "penstock"}
    response = unconfigured.call("Configure", provider_pb2.ConfigureRequest(variables=variables))
    assert response.acceptSecrets
    assert response.supportsPreview
    assert unconfigured.check("kubernetes:core/v1:ConfigMap", {})["metadata"]["namespace"] == "penstock"


def test_values_survive_the_wire() -> None:
    tree = {
        "text": "a", "whole": 3, "part": 0.5, "yes": True, "none": None, "list": [1, [], {}], "map": {"a": {}},
        "secret": Secret({"a": [Secret(1)]}), "unknown": UNKNOWN, "hidden": Secret(UNKNOWN),
    }  # fmt: skip
    back = decode(encode(tree))
    assert back == tree
    assert isinstance(back["whole"], int)


def test_an_asset_cannot_be_part_of_an_object() -> None:
    asset = {"4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17", "text": "a"}
    with pytest.raises(ValueError, match="an asset"):
        decode(encode({"data": asset}))


class _Log(engine_pb2_grpc.EngineServicer):
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, bool]] = []

    def Log(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        severity = engine_pb2.LogSeverity.Name(request.severity)
        self.lines.append((severity, request.message, request.ephemeral))
        return Empty()


def test_progress_reaches_the_engine_once_per_change(until: Any) -> None:
    log = _Log()
    server = grpc.server(ThreadPoolExecutor(1))
    engine_pb2_grpc.add_EngineServicer_to_server(log, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        reporter = EngineReporter(f"127.0.0.1:{port}")
        for message in ("1 of 3", "1 of 3", "2 of 3"):
            reporter.status("urn", message)
        reporter.warn("urn", "late")
        until(lambda: len(log.lines) == 3)
        assert sorted(log.lines) == [("INFO", "1 of 3", True), ("INFO", "2 of 3", True), ("WARNING", "late", False)]
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_prints_its_port_serves_and_ends_at_once(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.local.kubernetes.provider", "127.0.0.1:1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            info = provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(Empty(), timeout=10)
        assert isinstance(info, plugin_pb2.PluginInfo)
        process.send_signal(number)
        assert process.wait(5) == 0
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()
