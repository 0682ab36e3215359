"""Locks that a killed update left on its stack: told from those of updates that run.

A self-managed backend (a folder, a bucket) names host and process of each lock in its error. Pulumi Cloud does not, and
ends an update's lease by itself.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable

HOLDER = re.compile(r"created by \S*?@(?P<host>\S+) \(pid (?P<process>\d+)\) at")
LOCKS = re.compile(r"locked by (?P<count>\d+) lock")


def alive(process: int) -> bool:
    """Whether this machine has such a process; also one that belongs to somebody else."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def all_dead(error: str, host: str | None = None, running: Callable[[int], bool] = alive) -> bool:
    """Whether every lock that Pulumi's error names was taken on this machine, by a process that is gone.

    A lock of another machine, or a number of locks other than that of the named ones, is not for us to judge: False.
    """
    count = LOCKS.search(error)
    holders = [(match["host"], int(match["process"])) for match in HOLDER.finditer(error)]
    if count is None or not holders or int(count["count"]) != len(holders):
        return False
    mine = socket.gethostname() if host is None else host
    return all(where == mine and not running(process) for where, process in holders)
