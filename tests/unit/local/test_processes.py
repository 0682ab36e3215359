import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local.processes import NotReadyError, Processes

PARENT = """
import sys, time
from pathlib import Path
from infra.local.processes import Processes
child = Processes(Path(sys.argv[1])).start("sleeper", ["sleep", "60"])
print(child.process.pid, flush=True)
time.sleep(60)
"""


def gone(process: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # ended; init has not collected it yet
            return True
        time.sleep(0.02)
    return False


def test_a_child_dies_when_its_parent_is_killed(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    time.sleep(0.2)
    os.kill(child, 0)  # it runs
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(child), "the child outlived the parent that was killed"


def test_waiting_for_a_child_that_ended_gives_its_last_words(tmp_path):
    processes = Processes(tmp_path)
    child = processes.start("broken", [sys.executable, "-c", "print('no such flag'); raise SystemExit(3)"])
    with pytest.raises(NotReadyError, match=r"broken ended with status 3: no such flag"):
        child.wait_until(lambda: False, 10)


def test_waiting_for_a_silent_child_ends_after_the_time(tmp_path):
    processes = Processes(tmp_path)
    child = processes.start("silent", ["sleep", "60"])
    try:
        with pytest.raises(NotReadyError, match=r"silent was not ready within 0 s"):
            child.wait_until(lambda: False, 0.1)
    finally:
        processes.stop_all()
    assert not child.running


def test_a_child_that_ignores_the_signal_is_killed_after_the_grace(tmp_path):
    processes = Processes(tmp_path)
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    child = processes.start("deaf", [sys.executable, "-c", script])
    child.wait_until(lambda: "deaf" in child.last_words(), 10)
    child.stop(grace_seconds=0.2)
    assert child.process.returncode == -signal.SIGKILL


def test_a_restarted_child_is_the_same_command_again(tmp_path):
    processes = Processes(tmp_path)
    child = processes.start("once", [sys.executable, "-c", "print('run')"])
    child.process.wait()
    processes.restart(child)
    child.process.wait()
    assert child.log.read_text() == "run\nrun\n"
