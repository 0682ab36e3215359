import io
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace as Box

import pytest

from infra.local.language_host import (
    Children,
    find_executor,
    interleaved,
    plugin_command,
    program_command,
    variables,
)


def request(**changes: object) -> Box:
    info = Box(program_directory="/project/infra", entry_point=".", root_directory="/project")
    given = {
        "info": info, "monitor_address": "m:1", "project": "penstock", "stack": "local", "organization": "o",
        "pwd": "/project/infra", "parallel": 0, "dryRun": True, "args": [], "kind": "analyzer",
    }  # fmt: skip
    return Box(**(given | changes))


def test_a_preview_runs_the_program_dry():
    command = program_command(request(), "e:2", "exec.py")
    assert command[:3] == [sys.executable, "-u", "exec.py"]
    assert command[-3:] == ["--dry_run", "true", "/project/infra"]
    assert command[command.index("--parallel") + 1] == "1"


def test_an_update_is_not_dry_and_an_entry_point_is_followed():
    info = Box(program_directory="/project", entry_point="main.py", root_directory="/project")
    command = program_command(request(dryRun=False, info=info, args=["x"]), "e:2", "exec.py")
    assert "--dry_run" not in command
    assert command[-2:] == ["/project/main.py", "x"]


def test_a_policy_pack_runs_under_the_policy_module_and_a_package_by_itself():
    assert plugin_command(request(args=["a"]))[1:] == ["-u", "-m", "pulumi.policy", "a", "/project/infra"]
    assert plugin_command(request(kind="resource", args=["a"]))[1:] == ["-u", "/project/infra", "a"]


def test_variables_keep_what_follows_the_first_equals_sign():
    assert variables(["A=1=2", "B=", "nonsense"]) == {"A": "1=2", "B": ""}


def test_output_of_both_pipes_arrives_with_its_name():
    lines = list(interleaved({"stdout": io.BytesIO(b"a\nb\n"), "stderr": io.BytesIO(b"c\n"), "none": None}))
    assert sorted(lines) == [("stderr", b"c\n"), ("stdout", b"a\n"), ("stdout", b"b\n")]


def test_a_host_that_ends_takes_its_programs_along():
    children = Children()
    child = children.start([sys.executable, "-c", "import time; time.sleep(60)"])
    children.kill()
    assert child.wait(5) < 0
    children.ended(child)


def test_a_missing_executor_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("PENSTOCK_LANGUAGE_EXECUTOR", raising=False)
    with pytest.raises(FileNotFoundError, match="pulumi-language-python-exec is not on PATH"):
        find_executor()


def test_the_host_ends_at_once_on_interrupt(tmp_path):
    executor = tmp_path / "pulumi-language-python-exec"
    executor.touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.local.language_host", "127.0.0.1:1"],
        env={"PENSTOCK_LANGUAGE_EXECUTOR": str(executor), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0, "the port is the first line"
        process.send_signal(2)
        assert process.wait(2) == 0


def test_the_host_ends_when_its_engine_was_killed(tmp_path):
    executor = tmp_path / "pulumi-language-python-exec"
    executor.touch()
    code = (
        "import subprocess, sys\n"
        "host = subprocess.Popen([sys.executable, '-m', 'infra.local.language_host'], stdout=subprocess.PIPE)\n"
        "print(host.stdout.readline().decode().strip(), host.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={"PENSTOCK_LANGUAGE_EXECUTOR": str(executor), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as engine:
        assert engine.stdout is not None
        host = int(engine.stdout.readline().split()[1])
        engine.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{host}").exists() and "language_host" in Path(f"/proc/{host}/cmdline").read_text():
        assert time.monotonic() < deadline, "the host outlived its engine"
        time.sleep(0.05)
