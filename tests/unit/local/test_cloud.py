import fcntl
import json
import threading
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.local import cloud
from infra.local.cloud import LocalError, last_words, running
from infra.local.layout import Layout
from infra.local.toolchain.find import Toolchain
from infra.ops.progress import Progress
from infra.settings.model import SCHEMA_VERSION


@pytest.fixture
def checkout(tmp_path):
    Layout.default_state(tmp_path).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def stack_file(checkout):
    """The repository's own, in the checkout under test."""
    name = "Pulumi.local.yaml"
    (checkout / name).write_text((Path(__file__).parents[3] / name).read_text())


@pytest.fixture
def progress():
    return Progress(StringIO(), live=False)


def report(checkout, **content):
    (Layout.default_state(checkout) / "supervisor.json").write_text(json.dumps(content))


def test_a_checkout_without_a_platform_says_how_to_start_one(checkout):
    assert running(checkout) is None
    assert last_words(checkout) == "the local platform is not running; start it with `make up`"


def test_a_killed_supervisor_is_told_from_a_running_one(checkout):
    report(checkout, phase="running", process=4711)
    (Layout.default_state(checkout) / "supervisor.lock").touch()
    assert running(checkout) is None
    assert last_words(checkout).startswith("the local platform's supervisor (process 4711) was killed")


def test_a_platform_that_failed_says_why(checkout):
    report(checkout, phase="failed", reason="port 6443 is in use", process=4711)
    assert last_words(checkout) == "the local platform stopped: port 6443 is in use; start a new one with `make up`"


def test_a_platform_is_running_while_its_supervisor_holds_the_lock(checkout):
    state = Layout.default_state(checkout)
    layout = Layout(checkout, state, 17)
    layout.save()
    report(checkout, phase="running", process=1)
    with (state / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running(checkout) == layout


def test_a_platform_that_is_starting_is_not_started_twice(checkout, progress):
    report(checkout, phase="starting", process=1)
    with (Layout.default_state(checkout) / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LocalError, match="the local platform is starting; wait for it"):
            cloud.up(checkout, progress)


def test_a_broken_stack_file_is_refused_before_anything_starts(checkout, progress):
    (checkout / "Pulumi.local.yaml").write_text(
        f"config:\n  penstock:schemaVersion: {SCHEMA_VERSION}\n  penstock:zones: 3\n"
    )
    with pytest.raises(LocalError, match="penstock:zones"):
        cloud.up(checkout, progress)


def test_two_starts_at_the_same_moment_make_one_platform(checkout, monkeypatch):
    made = []

    def make(checkout, state, progress, purpose, engine):
        made.append(state)
        time.sleep(0.3)
        return Layout(checkout, state, 10)

    monkeypatch.setattr(cloud, "_make", make)
    monkeypatch.setattr(cloud, "running", lambda checkout, state: Layout(checkout, state, 10) if made else None)
    said = StringIO()
    starts = [
        threading.Thread(target=cloud.up, args=(checkout, Progress(said, live=False, clock=time.monotonic)))
        for _ in range(2)
    ]
    for start in starts:
        start.start()
    for start in starts:
        start.join(10)
    assert len(made) == 1
    assert "another start is under way in this checkout" in said.getvalue()


@pytest.mark.usefixtures("stack_file")
def test_a_full_disk_ends_in_one_sentence(checkout, progress, monkeypatch):
    monkeypatch.setattr(cloud, "ensure", lambda _: Toolchain(()))
    monkeypatch.setattr(cloud.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 2**20))
    with pytest.raises(LocalError, match=r"needs 1 GiB in .*, and 0\.01 GiB are free; make room"):
        cloud.up(checkout, progress)


def test_stopping_where_nothing_runs_removes_what_is_left(checkout, progress):
    cloud.down(checkout, progress)
    assert not Layout.default_state(checkout).exists()
    cloud.down(checkout, progress)


def test_another_system_than_linux_is_refused(checkout, progress, monkeypatch):
    monkeypatch.setattr(cloud.sys, "platform", "darwin")
    with pytest.raises(LocalError, match="needs Linux"):
        cloud.up(checkout, progress)


@pytest.mark.usefixtures("stack_file")
def test_a_platform_for_another_stack_has_a_folder_and_a_stack_file_of_its_own(checkout, progress, monkeypatch):
    text = (Path(__file__).parents[3] / "Pulumi.dev.yaml").read_text()
    (checkout / "Pulumi.dev.yaml").write_text(text)
    changed = text.replace("region: eu-central-1", "region: eu-west-1").replace(
        "copyRegion: eu-west-1", "copyRegion: null"
    )
    changed = changed.replace("allowedRegions: [eu-central-1", "allowedRegions: [eu-west-1, eu-central-1")
    state = checkout / ".penstock" / "rehearsal-dev"
    started = []

    def start(_, folder, arguments, __):
        started.append((folder, arguments))
        Layout(checkout, folder, 12, "dev", own_stack_files=True).save()

    monkeypatch.setattr(cloud, "ensure", lambda _: Toolchain(()))
    monkeypatch.setattr(cloud, "_start", start)
    layout = cloud.up(checkout, progress, cloud.Purpose(state, "dev", changed, objects_only=True))
    assert layout.stack_file.read_text() == changed
    assert layout.stack_file.is_relative_to(state)
    options = ["--stack=dev", "--own-stack-files", "--objects-only"]
    assert started == [(state, ["eu-west-1", *options])], "the region is that of its own stack file"
    cloud.down(checkout, progress, state)
    assert not state.exists()
    assert Layout.default_state(checkout).exists(), "the checkout's own platform is not touched"


def test_a_platform_file_of_an_earlier_version_stands_for_the_stack_local(tmp_path):
    (tmp_path / "platform.json").write_text(json.dumps({"checkout": str(tmp_path), "slot": 10}))
    layout = Layout.load(tmp_path)
    assert layout.stack_file == tmp_path / "Pulumi.local.yaml"


def test_a_running_platform_does_not_change_its_engine(checkout, progress, monkeypatch):
    state = Layout.default_state(checkout)
    monkeypatch.setattr(cloud, "running", lambda checkout, state: Layout(checkout, state, 10))
    report(checkout, phase="running", process=1, engine="vllm")

    assert cloud.up(checkout, progress).state == state
    assert cloud.up(checkout, progress, engine="vllm").state == state
    with pytest.raises(LocalError, match="runs the vllm engine; stop it first with `make down`"):
        cloud.up(checkout, progress, engine="simulated")
