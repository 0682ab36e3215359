"""Updates of a running platform are background work: what serves requests goes first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import background
from infra.local.workspace import BACKGROUND

LESS = str(background.LESS)
CHILD = """
import json, os, pathlib, subprocess, sys
group = pathlib.Path("/proc/self/autogroup")
told = {
    "policy": os.sched_getscheduler(0), "session": os.getsid(0), "process": os.getpid(),
    "group": group.read_text().split()[-1] if group.exists() else None, "arguments": sys.argv[1:],
}
if sys.argv[1] == "first":
    told["child"] = json.loads(subprocess.check_output([sys.executable, "-c", os.environ["CHILD"], "second"]))
print(json.dumps(told))
"""


def autogroups() -> bool:
    switch = Path("/proc/sys/kernel/sched_autogroup_enabled")
    return Path("/proc/self/autogroup").exists() and switch.exists() and switch.read_text().strip() == "1"


@pytest.fixture
def told() -> dict:
    found = subprocess.run(
        [sys.executable, "-I", "-S", str(BACKGROUND), sys.executable, "-c", CHILD, "first", "a b"],
        env=os.environ | {"CHILD": CHILD},
        capture_output=True,
        check=True,
    )
    return json.loads(found.stdout)


def test_a_command_and_all_that_it_starts_take_what_others_leave_over(told: dict):
    assert (told["policy"], told["child"]["policy"]) == (os.SCHED_IDLE, os.SCHED_IDLE)
    assert told["arguments"] == ["first", "a b"]


def test_it_has_a_session_of_its_own_and_that_less_weight(told: dict):
    assert told["session"] == told["process"]
    assert told["child"]["session"] == told["session"]
    assert told["session"] != os.getsid(0)
    if autogroups():
        assert told["group"] == told["child"]["group"] == LESS
        own = Path("/proc/self/autogroup").read_text().split()[-1]
        assert own != LESS, "the caller keeps its weight"


def test_a_leader_of_a_group_lowers_itself_and_not_its_session():
    """`setsid` refuses it: the session's weight is that of others, too."""
    found = (
        subprocess.run(
            [sys.executable, "-I", "-S", str(BACKGROUND), sys.executable, "-c", CHILD, "second"],
            capture_output=True,
            check=True,
            process_group=0,
        )
        if sys.version_info >= (3, 11)
        else pytest.skip("process_group came with Python 3.11")
    )
    told = json.loads(found.stdout)
    assert told["policy"] == os.SCHED_IDLE
    assert told["session"] == os.getsid(0)
    if autogroups():
        assert told["group"] == Path("/proc/self/autogroup").read_text().split()[-1] != LESS


def test_what_waits_too_long_gets_the_weight_of_others():
    if not autogroups():
        pytest.skip("this kernel does not group processes by session")
    command = [sys.executable, "-I", "-S", str(BACKGROUND), "sh", "-c", "echo; read _"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        group = Path(f"/proc/{child.pid}/autogroup")
        assert group.read_text().split()[-1] == LESS
        assert background.hurry(child.pid)
        assert group.read_text().split()[-1] == "0"
        child.stdin.close()
    assert not background.hurry(child.pid), "it has ended"


def test_the_session_of_others_is_left_as_it_is():
    with subprocess.Popen(["sleep", "5"]) as child:
        assert not background.hurry(child.pid)
        child.kill()
