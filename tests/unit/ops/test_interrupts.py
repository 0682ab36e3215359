import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from infra.ops import interrupts
from infra.ops.interrupts import Terminated, children, to_its_end
from infra.ops.progress import Progress

QUIET = Progress(quiet=True)


def test_a_result_and_an_error_come_through():
    assert to_its_end(lambda: 5, QUIET) == 5
    with pytest.raises(ZeroDivisionError):
        to_its_end(lambda: 1 // 0, QUIET)


@pytest.fixture
def interrupted_after(monkeypatch):
    """Sends this process SIGUSR1 after a while, which raises what the test wants."""

    def prepare(seconds: float, error: type[BaseException]) -> None:
        def raise_it(*_: object) -> None:
            raise error

        previous = signal.signal(signal.SIGUSR1, raise_it)
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        started.append((previous, timer))

    started: list = []
    yield prepare
    for previous, timer in started:
        timer.join()
        signal.signal(signal.SIGUSR1, previous)


def test_an_interrupt_waits_for_the_end(interrupted_after):
    ended = threading.Event()

    def work() -> None:
        time.sleep(0.4)
        ended.set()

    interrupted_after(0.1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        to_its_end(work, QUIET)
    assert ended.is_set()


def test_a_termination_is_passed_on_to_the_child(interrupted_after, monkeypatch):
    # Where the tests run in the background, SIGINT is ignored by all that they start unless it says otherwise.
    code = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print("ready", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    raise SystemExit(7)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert child.pid in children()
        # Other tests' servers are children of this process as well, and are to live on.
        monkeypatch.setattr(interrupts, "children", lambda: [child.pid])
        interrupted_after(0.1, Terminated)
        with pytest.raises(Terminated):
            to_its_end(child.wait, QUIET)
        assert child.returncode == 7


def test_a_ctrl_c_is_not_passed_on_since_the_terminal_does_that(interrupted_after, monkeypatch):
    monkeypatch.setattr(interrupts, "children", lambda: pytest.fail("nobody is to be signalled"))
    interrupted_after(0.05, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        to_its_end(lambda: time.sleep(0.2), QUIET)
