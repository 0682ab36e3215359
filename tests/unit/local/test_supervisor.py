"""What the supervisor does when a server ends, and what it leaves to be said when it cannot go on."""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local import supervisor
from infra.local.cloud import last_words
from infra.local.layout import Layout
from infra.local.slots import SlotError
from infra.local.supervisor import RESTARTS_PER_MINUTE, PlatformLostError, Report, Supervisor
from infra.local.toolchain.find import Toolchain

REGION = "eu-central-1"


@pytest.fixture
def watched(tmp_path: Path):
    layout = Layout(tmp_path, tmp_path / "state", 10)
    made = Supervisor(layout, REGION, Toolchain(()), Report(tmp_path / "supervisor.json"))
    yield made
    made.processes.stop_all()


def ended(watched: Supervisor, name: str):
    child = watched.processes.start(name, [sys.executable, "-S", "-c", "raise SystemExit('out of memory')"])
    child.process.wait()
    return child


def test_a_server_that_ends_is_started_again_and_the_log_says_why(watched, capsys):
    child = ended(watched, "etcd")
    first = child.process.pid
    watched._revive(child)
    assert child.process.pid != first
    assert capsys.readouterr().out == "restarting etcd: etcd ended with status 1: out of memory\n"


def test_a_server_that_ends_again_and_again_ends_the_platform(watched):
    child = ended(watched, "etcd")
    for _ in range(RESTARTS_PER_MINUTE):
        watched._revive(child)
        child.process.wait()
    with pytest.raises(PlatformLostError, match=r"etcd ends again and again .*out of memory"):
        watched._revive(child)


def test_the_embedded_aws_is_not_started_again_without_its_objects(watched):
    with pytest.raises(PlatformLostError, match="the embedded AWS is gone, and its objects with it"):
        watched._revive(ended(watched, "aws"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SlotError("port 6443 is in use by redis-server (process 812)"), "port 6443 is in use by redis-server"),
        (OSError(28, "No space left on device", "/full/etcd"), "cannot use /full/etcd: No space left on device"),
    ],
)
def test_what_stops_a_platform_before_it_runs_is_told_afterwards(tmp_path, monkeypatch, error, words):
    @contextmanager
    def refused(_folder):
        raise error
        yield

    monkeypatch.setattr(supervisor, "hold_slot", refused)
    state = Layout.default_state(tmp_path)
    state.mkdir(parents=True)
    Toolchain(()).save(state)
    assert supervisor.run(tmp_path, state, REGION) == 1
    assert last_words(tmp_path).startswith(f"the local platform stopped: {words}")
