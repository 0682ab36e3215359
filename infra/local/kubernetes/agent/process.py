"""One child process: started tethered to the agent, seen to its end through a pidfd, its output in a bounded file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local.processes import tethered


class Process:
    """A running or ended process, the leader of its own session and group. Use from the event loop's thread, which must
    be the main one: the tether ends children with the thread that started them."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], cwd: Path, log: Path) -> None:
        """Starts the process. Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self.ended: asyncio.Future[int] = loop.create_future()
        """The exit code: 128 + signal where a signal ended it, as containers count."""
        self._pidfd = os.pidfd_open(self.pid)
        loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        code = self._popen.poll()
        if code is None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._kill_group()  # a container's other processes end with its first
        if not self.ended.done():
            self.ended.set_result(code if code >= 0 else 128 - code)

    @property
    def running(self) -> bool:
        return self._popen.returncode is None

    async def wait(self) -> int:
        """The exit code, when it ends. Cancelling the waiter leaves the process alone."""
        return await asyncio.shield(self.ended)

    async def ended_within(self, seconds: float) -> bool:
        done, _ = await asyncio.wait({self.ended}, timeout=max(seconds, 0.0))
        return bool(done)

    def terminate(self) -> None:
        """SIGTERM to the first process alone, as containers get it."""
        if self.running:
            self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.running:
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def rotate_before_start(log: Path) -> None:
    """Keeps the previous run's output beside the new one's."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_suffix(".previous.log"))


def rotate_when_large(log: Path, limit_bytes: int) -> bool:
    """Copies a log over the limit to `<name>.1.log` and empties it. The process goes on writing to the same file (it is
    open for appending), so lines written between copy and cut are lost: the price of writing without a pipe."""
    try:
        if log.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(log, log.with_suffix(".1.log"))
    os.truncate(log, 0)
    return True


def prune_logs(folder: Path, keep: int) -> int:
    """Removes the oldest logs beyond `keep` files; returns how many went."""
    dated = []
    for path in folder.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            dated.append((path.stat().st_mtime, path))
    doomed = sorted(dated, reverse=True)[keep:]
    for _, path in doomed:
        path.unlink(missing_ok=True)
    return len(doomed)


def kill_orphans(pods: Path) -> list[int]:
    """Kills processes that run in a pod's folder: what an agent that was itself killed left behind (the tether ends a
    container's first process, not the processes which that one started). Returns their ids."""
    killed = []
    prefix = f"{pods.resolve()}/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if str((entry / "cwd").readlink()).startswith(prefix):
                os.kill(int(entry.name), signal.SIGKILL)
                killed.append(int(entry.name))
    return killed
