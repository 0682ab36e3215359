"""What the kernel knows of a process tree: scheduler time, memory, priority, the core it may run on."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sysconfig
from pathlib import Path

PROC = Path("/proc")
REAL_TIME_PRIORITY = 5


def optimised_python() -> bool:
    """Whether this Python says that it was built with profile-guided optimisation."""
    return "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))


def distributed(python: Path) -> bool:
    """Whether a Python is Debian's or Ubuntu's own: those are built with profile-guided optimisation (debian/rules)."""
    owned = python.exists() and Path(f"/var/lib/dpkg/info/{python.name}-minimal.list").exists()
    return owned and python.parent == Path("/usr/bin")


def version_of(python: Path) -> str:
    """As it says itself, such as `3.11.2`."""
    words = subprocess.run([str(python), "-V"], capture_output=True, text=True, check=True, timeout=30).stdout.split()
    return words[-1]


def parse_schedstat(text: str) -> float:
    """Seconds on CPU: the first number of /proc/PID/task/TID/schedstat, in nanoseconds."""
    return int(text.split()[0]) / 1e9


def parse_pss_mb(text: str) -> float:
    """Proportional set size in MB (1e6 bytes), from /proc/PID/smaps_rollup. Raises ValueError where there is none."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError("smaps_rollup has no line `Pss:`")


def parse_parent(text: str) -> int:
    """The parent's process id, from /proc/PID/stat. The name in brackets may hold spaces and brackets."""
    return int(text.rpartition(")")[2].split()[1])


def parse_cpu_model(text: str) -> str:
    """The processor's name from /proc/cpuinfo; "unknown processor" where the kernel does not say."""
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def tree(root: int) -> list[int]:
    """The process and all below it."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                parents[int(entry.name)] = parse_parent((entry / "stat").read_text())
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def threads(root: int) -> list[int]:
    found = []
    for process in tree(root):
        with contextlib.suppress(OSError):
            found += [int(entry.name) for entry in (PROC / str(process) / "task").iterdir()]
    return found


class CpuClock:
    """Seconds on CPU of all threads of several process trees, as they are when the clock is made."""

    def __init__(self, *roots: int) -> None:
        processes = [process for root in roots for process in tree(root)]
        self._tasks = [PROC / str(process) / "task" for process in processes]

    def read(self) -> float:
        used = 0.0
        for folder in self._tasks:
            with contextlib.suppress(OSError):
                for task in folder.iterdir():
                    used += parse_schedstat((task / "schedstat").read_text())
        return used


def pss_mb(root: int) -> float:
    """Memory of a process tree in MB; pages shared with others count in part."""
    total = 0.0
    for process in tree(root):
        with contextlib.suppress(OSError, ValueError):
            total += parse_pss_mb((PROC / str(process) / "smaps_rollup").read_text())
    return total


def pin(root: int, core: int) -> None:
    for thread in threads(root):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread, {core})


def ahead() -> None:
    """Lets this process read its clocks in time, whatever it measures; its children are ordinary. May do nothing."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(REAL_TIME_PRIORITY + 1))


def real_time(root: int, *, on: bool) -> bool:
    """Puts a process tree before ordinary processes, so that neighbours do not blur latency. False where forbidden."""
    policy = os.SCHED_FIFO if on else os.SCHED_OTHER
    try:
        for thread in threads(root):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(thread, policy, os.sched_param(REAL_TIME_PRIORITY if on else 0))
    except PermissionError:
        return False
    return True


def send(root: int, number: signal.Signals) -> None:
    for process in tree(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def machine() -> str:
    """The processor and the kernel, without the machine's name."""
    model = parse_cpu_model((PROC / "cpuinfo").read_text())
    memory = next(int(line.split()[1]) for line in (PROC / "meminfo").read_text().splitlines() if "MemTotal" in line)
    cores = os.cpu_count() or 1  # not the affinity: the benchmark has pinned itself
    return f"{model}, {cores} cores, {memory / 1024**2:.0f} GiB, Linux {platform.release().partition('-')[0]}"
