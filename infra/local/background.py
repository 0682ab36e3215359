"""Runs a command as background work: `python background.py COMMAND ...`. A program of its own, like tether.py.

On AWS an update runs on another machine than what it updates. Here both share the cores, so an update takes what the
gateways and engines leave over: it and all that it starts get the policy SCHED_IDLE, which any waking process
preempts. Where the kernel groups processes by session (sched(7), "The autogroup feature"), policies count within a
session alone. Therefore it gets a session of its own, and that a third of the weight of others.

A process in a session of its own hears no Ctrl-C of the terminal: infra/ops/interrupts.py passes it on. On a machine
that other work keeps busy it would never end: whoever waits for it calls `hurry` after a while.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

LESS = 5
"""The nice value of a third of the weight: 335, against 1024 (kernel/sched/core.c). With the least, 15, an update does
not end on a machine that other work keeps busy (seen: a preview in 160 s that took 7)."""
NORMAL = 0
TRIES, PAUSE_SECONDS = 5, 0.11
"""The kernel takes such a change ten times a second at most, over all processes."""


def step_back() -> None:
    """Lowers this process. What the system does not have is left out: the command matters more."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        os.setsid()
    except OSError:  # the leader of a group: its session has other processes, which are not ours to lower
        return
    _weigh(os.getpid(), LESS)


def hurry(process: int) -> bool:
    """Gives a process that has stepped back, and all of its session, the weight of others. False where it cannot be:
    it has no session of its own, has ended, or the kernel has no such groups."""
    try:
        return os.getsid(process) == process and _weigh(process, NORMAL)
    except ProcessLookupError:
        return False


def _weigh(process: int, nice: int) -> bool:
    for _ in range(TRIES):
        try:
            Path(f"/proc/{process}/autogroup").write_text(str(nice))
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
        except OSError:
            return False
        else:
            return True
    return False


def main() -> None:
    step_back()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606


if __name__ == "__main__":
    main()
