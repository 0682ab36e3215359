"""What takes the place of the `vllm` command where the real engine runs on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import vllm
from infra.local.kubernetes.agent.commands import command_line, programs

FOLDER = Path("/cache/vllm")


def test_engine_pods_run_the_simulated_engine_unless_told_otherwise():
    container = {"command": ["vllm"], "args": ["serve", "tiny"]}

    assert command_line(container, programs(None)) == [sys.executable, "-m", "app.engine", "serve", "tiny"]
    assert command_line(container, programs(FOLDER)) == [
        sys.executable, "-m", "infra.local.vllm", str(FOLDER), "serve", "tiny",
    ]  # fmt: skip


def test_flags_are_handed_on_but_for_those_of_gpus():
    words = ["serve", "tiny", "--port", "8000", "--gpu-memory-utilization", "0.90", "--max-model-len", "2048"]

    assert vllm.command(FOLDER, words) == [
        "/cache/vllm/bin/python", "-P", "-m", vllm.SERVER, "--model", str(vllm.model(FOLDER)), "--enforce-eager",
        "--kv-cache-memory-bytes", "134217728",
        "--port", "8000", "--max-model-len", "2048",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [[], ["serve"], ["bench", "latency"]])
def test_another_command_is_refused(words: list[str]):
    with pytest.raises(ValueError, match="only `vllm serve MODEL` runs here"):
        vllm.command(FOLDER, words)


def test_its_environment_has_nothing_of_our_own_python():
    given = {"PATH": "/bin", "PYTHONPATH": "/checkout", "POD_IP": "127.10.16.2"}

    assert vllm.environment(given) == {"PATH": "/bin", "POD_IP": "127.10.16.2"} | vllm.ENVIRONMENT


def test_sockets_of_an_engine_have_short_names_however_long_its_folders_are(tmp_path: Path):
    """vLLM's processes talk over Unix sockets, whose paths may have 107 characters."""
    scratch, python = tmp_path / ("long" * 30), tmp_path / "vllm" / "bin" / "python"
    scratch.mkdir()
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$(pwd -P) $VLLM_RPC_BASE_PATH/socket"\n')
    python.chmod(0o755)

    done = subprocess.run(
        [sys.executable, "-m", "infra.local.vllm", str(tmp_path / "vllm"), "serve", "tiny"],
        env=os.environ | {"TMPDIR": str(scratch)}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert done.stdout.split() == [str(scratch.resolve()), "./socket"]


def test_another_script_makes_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = tmp_path / "maker.py"
    script.write_text("1")
    monkeypatch.setattr(vllm, "MAKER", script)
    first = vllm.model(FOLDER)
    script.write_text("2")

    assert vllm.model(FOLDER) != first
