"""Child processes of the local platform: started tethered to their parent, logged to a file, stopped within a bound."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

TETHER = Path(__file__).with_name("tether.py")


def tethered(command: Sequence[str], *, on_parent_death: int = signal.SIGKILL, user: str | None = None) -> list[str]:
    """The command line that runs `command` so that it ends with the calling process."""
    as_user = ["--user", user] if user else []
    return [
        sys.executable, "-I", "-S", str(TETHER), "--parent", str(os.getpid()), "--signal", str(int(on_parent_death)),
        *as_user, "--", *command,
    ]  # fmt: skip


class NotReadyError(RuntimeError):
    """A server ended or stayed silent while it was waited for. The message carries the end of its log."""


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    start: Callable[[], subprocess.Popen[bytes]]

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Polls `ready` every 50 ms. Raises NotReadyError when the child ends first or the time runs out."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise NotReadyError(f"{self.name} ended with status {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise NotReadyError(f"{self.name} was not ready within {seconds:.0f} s: {self.last_words()}")
            time.sleep(0.05)

    def last_words(self, lines: int = 5) -> str:
        """The end of the log, for an error message."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.strip().splitlines()[-lines:]) or "(empty log)"

    def stop(self, grace_seconds: float = 10.0, how: int = signal.SIGTERM) -> None:
        """Signals the child, waits, then kills. Does nothing to a child that has ended."""
        if self.running:
            self.process.send_signal(how)
            try:
                self.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Processes:
    """Starts children from one thread that lives as long as this object (see tether.py for why)."""

    logs: Path
    children: dict[str, Child] = field(default_factory=dict)
    _spawner: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "spawner"))

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        on_parent_death: int = signal.SIGKILL,
    ) -> Child:
        """Starts `command`; its output is appended to `<logs>/<name>.log`. Raises OSError where it cannot run."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        line = tethered(command, on_parent_death=on_parent_death, user=user)

        def spawn() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    line,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment) if environment is not None else None,
                    cwd=cwd,
                    start_new_session=True,
                )

        child = Child(name, self._spawner.submit(spawn).result(), log, spawn)
        self.children[name] = child
        return child

    def restart(self, child: Child) -> None:
        """Starts a child that has ended once more, with the same command. Raises OSError where it cannot run."""
        child.process = self._spawner.submit(child.start).result()

    def stop_all(self, grace_seconds: float = 10.0) -> None:
        """Stops the children, the last started first."""
        for child in reversed(list(self.children.values())):
            child.stop(grace_seconds)
        self.children.clear()
