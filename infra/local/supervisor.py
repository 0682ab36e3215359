"""The supervisor of one local platform: `python -m infra.local.supervisor CHECKOUT STATE REGION [option ...]`.

It holds the platform's slot, starts the servers, writes what it does to `supervisor.json`, restarts a server that
ended, and stops them all on SIGTERM. Every server is tethered to it: a killed supervisor leaves nothing behind.

The embedded AWS keeps its objects in memory. When it ends the platform has lost them, so the supervisor stops the
rest and says so; `penstock up` then makes a new platform.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.local import control_plane
from infra.local.files import write_whole
from infra.local.layout import STACK, STATE_VARIABLE, Layout
from infra.local.processes import Child, NotReadyError, Processes
from infra.local.slots import SlotError, hold_slot
from infra.local.toolchain.find import Toolchain, cache_folder

RESTARTS_PER_MINUTE = 5
WATCH_SECONDS = 0.5


@dataclass
class Report:
    """What `supervisor.json` says: written aside and renamed, so that a reader never sees half of it."""

    path: Path
    content: dict[str, object] = field(default_factory=lambda: {"process": os.getpid(), "phase": "starting"})

    def update(self, **values: object) -> None:
        self.content.update(values)
        write_whole(self.path, json.dumps(self.content))


class PlatformLostError(RuntimeError):
    """A server without which the platform cannot go on has ended."""


class Supervisor:
    def __init__(
        self, layout: Layout, region: str, toolchain: Toolchain, report: Report, *, agent: Sequence[str] = ()
    ) -> None:
        self.layout, self.region, self.report = layout, region, report
        self.agent = agent
        """The node agent's options."""
        self.toolchain = toolchain
        self.processes = Processes(layout.logs)
        self.stopping = threading.Event()
        self._starts: dict[str, list[float]] = {}

    def start(self) -> None:
        """Starts everything, in an order that overlaps the waits. Raises NotReadyError or OSError."""
        layout = self.layout
        self.report.update(starting="etcd, the Kubernetes API server and the embedded AWS")
        api_server = control_plane.start_storage(layout, self.toolchain, self.processes)
        aws = self._start_python("aws", "infra.local.aws.server")
        api_server.wait_until(control_plane.api_server_ready(layout), control_plane.READY_SECONDS)
        self.report.update(starting="the scheduler and the controllers")
        control_plane.start_controllers(layout, self.toolchain, self.processes)
        aws.wait_until(_answers(f"{layout.aws_url}/_penstock/health"), 60)
        self.report.update(starting="the node agent")
        self._start_python("agent", "infra.local.kubernetes.agent", *self.agent)

    def _start_python(self, name: str, module: str, *options: str) -> Child:
        return self.processes.start(name, [sys.executable, "-m", module, *options], environment=self._environment())

    def _environment(self) -> dict[str, str]:
        """Starts from nothing, so that no variable of the user's shell changes what the platform does."""
        return {
            STATE_VARIABLE: str(self.layout.state),
            "AWS_REGION": self.region,
            "PATH": self.toolchain.search_path(f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"),
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",  # threads' arenas would double the embedded AWS's memory
        }

    def watch(self) -> None:
        """Restarts what ends until told to stop. Raises PlatformLostError when that cannot help."""
        while not self.stopping.wait(WATCH_SECONDS):
            for child in list(self.processes.children.values()):
                if not child.running:
                    self._revive(child)

    def _revive(self, child: Child) -> None:
        reason = f"{child.name} ended with status {child.process.returncode}: {child.last_words(2)}"
        if child.name == "aws":
            raise PlatformLostError(f"the embedded AWS is gone, and its objects with it ({reason})")
        now = time.monotonic()
        starts = [moment for moment in self._starts.get(child.name, []) if now - moment < 60]
        if len(starts) >= RESTARTS_PER_MINUTE:
            raise PlatformLostError(f"{child.name} ends again and again ({reason})")
        self._starts[child.name] = [*starts, now]
        print(f"restarting {child.name}: {reason}", flush=True)
        self.processes.restart(child)


def _answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - http to our own server
                return reply.status == 200
        except OSError:
            return False

    return ready


def run(
    checkout: Path,
    state: Path,
    region: str,
    *,
    stack: str = STACK,
    own_stack_files: bool = False,
    objects_only: bool = False,
    vllm: Path | None = None,
) -> int:
    """The life of a platform. Returns the process's exit status."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    report = Report(state / "supervisor.json")
    with (state / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # free but for a `status` that looks at it: a platform is started once
        try:
            toolchain = Toolchain.load(state)
            with hold_slot(cache_folder() / "slots") as slot:
                layout = Layout(checkout, state, slot, stack, own_stack_files)
                layout.save()
                options = [*(["--objects-only"] if objects_only else []), *([f"--vllm={vllm}"] if vllm else [])]
                supervisor = Supervisor(layout, region, toolchain, report, agent=options)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda *_: supervisor.stopping.set())
                try:
                    supervisor.start()
                    report.update(phase="running", slot=slot, engine="vllm" if vllm else "simulated")
                    supervisor.watch()
                finally:
                    report.update(phase="stopping")
                    supervisor.processes.stop_all()
        except (SlotError, NotReadyError, PlatformLostError, OSError) as error:
            report.update(phase="failed", reason=_sentence(error))
            return 1
        report.update(phase="stopped")
        return 0


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    return str(error)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.local.supervisor")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("region")
    parser.add_argument("--stack", default=STACK)
    parser.add_argument("--own-stack-files", action="store_true", help="they are in the state folder's stack-files")
    parser.add_argument("--objects-only", action="store_true", help="pods are objects without processes")
    parser.add_argument("--vllm", type=Path, metavar="FOLDER", help="run this real vLLM, not the simulated engine")
    sys.exit(run(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
