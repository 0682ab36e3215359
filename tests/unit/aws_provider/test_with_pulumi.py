"""The plug-in under the real Pulumi engine: preview, up, refresh, a shift of traffic, new default tags, destroy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local.toolchain.find import cache_folder, cached, on_path
from infra.local.toolchain.tools import TOOLS
from tests.unit.aws_provider.conftest import CHECKOUT

pytestmark = [pytest.mark.toolchain, pytest.mark.timeout(900)]

PROGRAM = Path(__file__).with_name("pulumi_program.py")


def pulumi_folder() -> Path:
    tool = next(tool for tool in TOOLS if tool.name == "pulumi")
    folder = on_path(tool) or cached(tool, cache_folder())
    if not folder:
        pytest.skip("pulumi is not set up: run `make up` once")
    return folder


@pytest.fixture(scope="module")
def report(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("pulumi")
    plugin = folder / "home/plugins/resource-aws-v7.51.1/pulumi-resource-aws"
    for made in (plugin.parent, folder / "backend", folder / "work"):
        made.mkdir(parents=True)
    plugin.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m infra.local.aws.provider "$@"\n')
    plugin.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{pulumi_folder()}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "AWS_ENDPOINT_URL": endpoint,
        "PULUMI_BACKEND_URL": (folder / "backend").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    command = [sys.executable, str(PROGRAM), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_engine_creates_everything_that_the_first_preview_announced(report: dict[str, Any]) -> None:
    assert report["first preview"] == report["up"]


def test_a_second_preview_and_a_refresh_are_empty(report: dict[str, Any]) -> None:
    assert set(report["second preview"]) == {"same"}
    assert set(report["refresh"]) == {"same"}


def test_a_shift_of_traffic_is_one_update_of_one_rule(report: dict[str, Any]) -> None:
    assert report["shift preview"].get("update") == 1
    assert report["shift"].get("update") == 1
    assert "weight: 100 => 95" in report["shift diff"]


def test_new_default_tags_are_put_on_in_place(report: dict[str, Any]) -> None:
    assert set(report["retag"]) == {"same", "update"}
    assert set(report["preview after"]) == {"same"}


def test_a_secret_stays_encrypted_and_keeps_its_first_value(report: dict[str, Any]) -> None:
    value, secret = report["outputs"]["key"]
    assert secret
    assert report["key after"] == value
    assert value not in report["state"]


def test_functions_answer_from_the_embedded_aws(report: dict[str, Any]) -> None:
    assert report["outputs"]["account"][0] == "123456789012"
    assert report["outputs"]["zones"][0] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    assert report["outputs"]["credentials"][0].startswith("arn:aws:secretsmanager:")


def test_everything_can_be_destroyed(report: dict[str, Any]) -> None:
    assert report["destroy"] == {"delete": report["up"]["create"]}
