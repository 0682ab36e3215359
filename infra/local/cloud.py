"""Starts, finds and stops the local platform of a checkout, on behalf of the `penstock` command."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from infra.local import vllm
from infra.local.aws.planes.postgres import remove_abandoned
from infra.local.layout import STACK, Layout
from infra.local.toolchain.build import BuildError
from infra.local.toolchain.environments import InstallError
from infra.local.toolchain.find import ToolchainError, ensure
from infra.settings import Settings, SettingsError
from infra.settings.parse import values_of_text

if TYPE_CHECKING:
    from infra.ops.progress import Progress

Engine = Literal["simulated", "vllm"]
START_SECONDS, STOP_SECONDS = 120.0, 40.0
FREE_GIB = 1.0
"""What a running platform may write: logs, etcd, PostgreSQL (measured: under 200 MiB after an hour)."""


class LocalError(RuntimeError):
    """The local platform cannot do what was asked. The message is one sentence with the cause and the next step."""


@dataclass(frozen=True)
class Purpose:
    """What a platform is for, where it is not the checkout's own with the stack `local`."""

    state: Path
    stack: str
    stack_file: str
    """The text of its stack file, which the platform keeps for itself."""
    objects_only: bool = False
    """Pods are objects without processes."""

    @property
    def options(self) -> list[str]:
        """The supervisor's."""
        return [f"--stack={self.stack}", "--own-stack-files", *(["--objects-only"] if self.objects_only else [])]


def running(checkout: Path, state: Path | None = None) -> Layout | None:
    """The checkout's platform, when its supervisor is alive and says that all servers run."""
    state = state or Layout.default_state(checkout)
    if not supervised(state) or _report(state).get("phase") != "running":
        return None
    try:
        return Layout.load(state)
    except (OSError, ValueError, KeyError):
        return None


def last_words(checkout: Path, state: Path | None = None) -> str:
    """Why there is no running platform, for an error message."""
    state = state or Layout.default_state(checkout)
    report = _report(state)
    if not report:
        return "the local platform is not running; start it with `make up`"
    if report.get("phase") == "failed":
        return f"the local platform stopped: {report.get('reason')}; start a new one with `make up`"
    if supervised(state):
        return f"the local platform is {report.get('phase')}; wait for it"
    return (
        f"the local platform's supervisor (process {report.get('process')}) was killed, and its servers with it; "
        "start a new platform with `make up`"
    )


def up(checkout: Path, progress: Progress, purpose: Purpose | None = None, engine: Engine | None = None) -> Layout:
    """Makes sure that the platform's servers run. `engine`: what engine pods run; None: what they run already, or the
    simulated engine. Raises LocalError."""
    if not sys.platform.startswith("linux"):
        raise LocalError(f"the local platform needs Linux (its addresses are 127.0.0.0/8), and this is {sys.platform}")
    state = purpose.state if purpose else Layout.default_state(checkout)
    try:
        with _one_start(state.parent, progress):
            if found := running(checkout, state):
                runs = engine_of(found)
                if engine not in (None, runs):
                    raise LocalError(f"the local platform runs the {runs} engine; stop it first with `make down`")
                return found
            return _make(checkout, state, progress, purpose, engine)
    except (ToolchainError, BuildError, InstallError, SettingsError) as error:
        raise LocalError(str(error)) from error
    except OSError as error:
        raise LocalError(f"cannot use {error.filename or state}: {error.strerror or error}") from error


def engine_of(layout: Layout) -> Engine:
    """What the engine pods of a platform run."""
    return "vllm" if _report(layout.state).get("engine") == "vllm" else "simulated"


@contextmanager
def _one_start(folder: Path, progress: Progress) -> Generator[None]:
    """Holds the folder of all states: a second start at the same moment would remove what the first is making."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another start is under way in this checkout; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(
    checkout: Path, state: Path, progress: Progress, purpose: Purpose | None, engine: Engine | None = None
) -> Layout:
    if supervised(state):
        raise LocalError(last_words(checkout, state))
    name = f"Pulumi.{purpose.stack if purpose else STACK}.yaml"
    region = (_settings(purpose) if purpose else Settings.from_stack_file(checkout / name)).aws.region
    toolchain = ensure(progress)
    options = list(purpose.options) if purpose else []
    if engine == "vllm":
        options.append(f"--vllm={vllm.install(progress.say)}")
    if _report(state) and _report(state).get("phase") != "stopped":
        progress.say(f"{last_words(checkout, state).split(';')[0]}; making a new one")
    _remove(state)
    state.mkdir(parents=True, mode=0o700)
    toolchain.save(state)
    _check_space(state)
    if purpose:
        own = state / "stack-files"
        own.mkdir()
        (own / name).write_text(purpose.stack_file)
    with progress.step("local platform: starting its servers", 8):
        _start(checkout, state, [region, *options], progress)
    return Layout.load(state)


def _settings(purpose: Purpose) -> Settings:
    """Raises SettingsError."""
    return Settings.parse(values_of_text(purpose.stack_file, purpose.stack), purpose.stack)


def down(checkout: Path, progress: Progress, state: Path | None = None) -> None:
    """Stops the platform and removes all that it wrote. Does nothing where there is none. Raises LocalError."""
    state = state or Layout.default_state(checkout)
    process = _report(state).get("process")
    if supervised(state) and isinstance(process, int):
        with progress.step("local platform: stopping its servers", 5):
            os.kill(process, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while supervised(state):
                if time.monotonic() > deadline:
                    os.kill(process, signal.SIGKILL)  # its servers are tethered to it
                time.sleep(0.05)
    try:
        _remove(state)
        remove_abandoned()  # a killed platform's PostgreSQL under root: its folder is outside of the state
    except OSError as error:
        raise LocalError(f"cannot remove {error.filename or state}: {error.strerror or error}") from error


def _start(checkout: Path, state: Path, arguments: Sequence[str], progress: Progress) -> None:
    log = state / "supervisor.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.supervisor", str(checkout), str(state), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=checkout,
            start_new_session=True,
        )
    try:
        _wait_until_running(process, state, log, progress)
        process.returncode = 0  # let go of: it outlives this process, and a handle in use would warn when it is dropped
    except BaseException:  # an interrupt as well: nobody would know of servers that come up later
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def _wait_until_running(process: subprocess.Popen[bytes], state: Path, log: Path, progress: Progress) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (report := _report(state)).get("phase") != "running":
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            reason = report.get("reason") or (said[-1] if said else "no reason given")
            raise LocalError(f"the local platform did not start: {reason}")
        if time.monotonic() > deadline:
            raise LocalError(f"the local platform did not start within {START_SECONDS:.0f} s; its logs are in {state}")
        progress.detail(str(report.get("starting", "")))
        time.sleep(0.05)


def _check_space(state: Path) -> None:
    free = shutil.disk_usage(state).free / 2**30
    if free < FREE_GIB:
        raise LocalError(
            f"the local platform needs {FREE_GIB:.0f} GiB in {state}, and {free:.2f} GiB are free; make room"
        )


def _report(state: Path) -> dict[str, Any]:
    try:
        return json.loads((state / "supervisor.json").read_text())
    except (OSError, ValueError):
        return {}


def supervised(state: Path) -> bool:
    """Whether a supervisor holds the state folder's lock. A process id alone may have been given to another program."""
    try:
        with (state / "supervisor.lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _remove(state: Path) -> None:
    if state.exists():
        shutil.rmtree(state)
