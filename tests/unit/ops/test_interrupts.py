import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from infra.ops import platform
from infra.ops.errors import Terminated
from infra.ops.interrupts import children, to_its_end
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


# Where the tests run in the background, SIGINT is ignored by all that they start unless it says otherwise.
ENDS_WITH_7 = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print("ready", flush=True)
    time.sleep(float(sys.argv[1]))
except KeyboardInterrupt:
    raise SystemExit(7)
"""


def ending(seconds: float, *, own_session: bool, ready: threading.Event | None = None) -> int:
    """A child's exit status: 7 where it has had a SIGINT."""
    command = [sys.executable, "-c", ENDS_WITH_7, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=own_session) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert child.pid in children()
        if ready:
            ready.set()
        return child.wait()


@pytest.fixture
def interrupted_when(monkeypatch):
    """Raises an error in the main thread once an event is set."""

    def prepare(ready: threading.Event, error: type[BaseException]) -> None:
        def raise_it(*_: object) -> None:
            raise error

        def wait() -> None:
            ready.wait(20)
            os.kill(os.getpid(), signal.SIGUSR1)

        started.append((signal.signal(signal.SIGUSR1, raise_it), threading.Thread(target=wait)))
        started[-1][1].start()

    started: list = []
    yield prepare
    for previous, thread in started:
        thread.join()
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize(
    ("error", "own_session", "status"),
    [(Terminated, False, 7), (Terminated, True, 7), (KeyboardInterrupt, False, 0)],
    ids=["SIGTERM", "SIGTERM, own session", "Ctrl-C, which the terminal passes on"],
)
def test_a_child_is_told_of_an_interrupt_that_it_has_not_had(interrupted_when, error, own_session: bool, status: int):
    ready, found = threading.Event(), []
    interrupted_when(ready, error)
    with pytest.raises(error):
        to_its_end(lambda: found.append(ending(10 if status else 0.5, own_session=own_session, ready=ready)), QUIET)
    assert found == [status]


def test_what_ran_before_is_not_signalled(interrupted_when):
    """A platform's supervisor: `penstock up` starts it, and an interrupt of the update is not its end."""
    ready = threading.Event()
    with subprocess.Popen(["sleep", "0.6"], start_new_session=True) as server:
        interrupted_when(ready, Terminated)
        with pytest.raises(Terminated):
            to_its_end(lambda: ready.set() or time.sleep(0.3), QUIET)
        assert server.wait() == 0


class StillWorking:
    """A stack whose update goes on until it is told to end, and says so then."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.failure: Exception | None = None

    def up(self, *, on_output, **_: object) -> None:
        on_output("updating")
        self.begun.set()
        self.go_on.wait(20)
        try:
            on_output("update cancelled")
        except Exception as error:  # noqa: BLE001 - Pulumi's own thread would print its traceback
            self.failure = error
        self.ended.set()


def test_what_pulumi_says_after_a_second_interrupt_still_goes_to_its_log(tmp_path):
    stack, main = StillWorking(), threading.get_ident()
    access: Any = SimpleNamespace(automation=lambda: stack)
    layout: Any = SimpleNamespace(logs=tmp_path)

    def twice() -> None:
        stack.begun.wait(20)
        for _ in range(2):
            time.sleep(0.2)  # until the main thread waits
            signal.pthread_kill(main, signal.SIGUSR1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous, thread = signal.signal(signal.SIGUSR1, interrupt), threading.Thread(target=twice)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            platform.deploy_local(access, layout, QUIET)
        assert not stack.ended.is_set(), "the second one leaves at once"
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, previous)
        stack.go_on.set()
    assert stack.ended.wait(20)
    assert stack.failure is None
    assert (tmp_path / "pulumi-up.log").read_text() == "updating\nupdate cancelled\n"
