"""Chooses a platform's slot (see layout.py), and names the program that holds a port which the platform needs."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SLOTS = range(10, 100)

PORTS = {
    2379: "etcd",
    2380: "etcd's peers",
    4566: "the embedded AWS",
    6443: "the Kubernetes API server",
    9901: "the load balancer's admin page",
    10257: "the controller manager",
    10259: "the scheduler",
}
"""What a platform listens on at its own address."""


class SlotError(RuntimeError):
    """No slot can be had. The message is one sentence for a person."""


@contextmanager
def hold_slot(folder: Path) -> Generator[int]:
    """Takes the lowest free slot and holds it until the block ends or the process dies.

    `folder` has a lock file a slot and is shared by all checkouts of the user. Raises SlotError when a port is taken
    on every address by another program, or all slots are in use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy: dict[int, str] = {}
    for slot in SLOTS:
        with (folder / f"{slot}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            taken = busy_ports(f"127.{slot}.0.1")
            if taken:
                busy = busy or taken
                if any("0.0.0.0" in holder or "[::]" in holder for holder in taken.values()):  # noqa: S104 - text
                    break  # on every address: another slot would not help
                continue
            yield slot
            return
    if busy:
        port, holder = next(iter(busy.items()))
        raise SlotError(
            f"port {port}, which {PORTS[port]} needs, is in use by {holder}; stop that program and try again"
        )
    raise SlotError(
        f"all {len(SLOTS)} local platforms of this user are running; stop one with `make down` in its checkout"
    )


def busy_ports(address: str) -> dict[int, str]:
    """The ports of PORTS that cannot be bound at `address`, each with who holds it, for a person."""
    busy = {}
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                busy[port] = holder_of(address, port)
    return busy


def holder_of(address: str, port: int) -> str:
    """`redis-server (process 812) at 0.0.0.0`, as far as /proc tells the calling user."""
    wanted = {address: _hexadecimal(address), "0.0.0.0": "00000000"}  # noqa: S104 - a text to look up
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _lines(table):
            fields = line.split()
            local, _, local_port = fields[1].rpartition(":")
            if fields[3] != "0A" or int(local_port, 16) != port:  # 0A: LISTEN
                continue
            where = (
                "[::]" if table.endswith("6") else next((name for name, code in wanted.items() if code == local), "")
            )
            if where and (not table.endswith("6") or not local.strip("0")):
                return f"{_process_of(fields[9])} at {where}"
    return "another program"


def _lines(table: str) -> list[str]:
    try:
        return Path(table).read_text().splitlines()[1:]
    except OSError:
        return []


def _hexadecimal(address: str) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def _process_of(inode: str) -> str:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # it ended meanwhile, or belongs to another user
    return "another user's program"
