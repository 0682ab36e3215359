"""Checks of the machine. Each looks at one thing, changes nothing, and ends in time."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.toolchain.build import BUILD_GIB
from infra.local.toolchain.find import cache_folder, cached, on_path
from infra.local.toolchain.tools import TOOLS
from infra.ops.doctor.findings import Line, fail, ok, warn

LOWEST_PYTHON = (3, 11)
PLATFORM_MIB = 1500
"""Resident memory of the local platform with simulated engines (measured: 1.2 GB)."""
STATE_GIB = 1
LOOPBACK = "127.200.0.1"
"""Inside 127.0.0.0/8, and not the one address that every system has."""
PORTS = {6443: "the Kubernetes API server", 4566: "the embedded AWS", 5432: "databases", 6379: "caches"}
SECONDS = 5.0
INSTALL = {
    "git": "apt-get install git; `penstock diff` and `migrate` use it",
    "docker": "only `make image` needs it",
    "gh": "only releases and `init`'s last steps need it: https://cli.github.com",
    "aws": "only `make image-push` needs it",
}


def available_mib() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    except OSError:
        return None
    return None


def bind(address: str, port: int) -> None:
    """Raises OSError where nothing can listen there."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))


@dataclass(frozen=True)
class Machine:
    """What the checks read. Tests give another one."""

    checkout: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    system: str = field(default_factory=platform.system)
    python: tuple[int, int] = field(default_factory=lambda: (sys.version_info.major, sys.version_info.minor))
    which: Callable[[str], str | None] = shutil.which
    free_gib: Callable[[Path], float] = lambda path: shutil.disk_usage(path).free / 2**30
    memory_mib: Callable[[], int | None] = available_mib
    bind: Callable[[str, int], None] = bind


def checks(machine: Machine) -> Iterator[Line]:
    for check in (_system, _python, _tools, _programs, _disk, _memory, _loopback, _ports, _proxies, _bytecode):
        yield from check(machine)


def _system(machine: Machine) -> Iterator[Line]:
    if machine.system == "Linux":
        yield ok("System", f"Linux, {platform.machine()}, {os.cpu_count()} cores")
    else:
        yield fail(
            "System", f"{machine.system}: the local platform needs all of 127.0.0.0/8, which only Linux has",
            "Use Linux, or a virtual machine with it. `penstock diff` and what asks AWS work here.",
        )  # fmt: skip


def _python(machine: Machine) -> Iterator[Line]:
    found = ".".join(map(str, machine.python))
    if machine.python < LOWEST_PYTHON:
        yield fail("Python", f"{found} is too old", "Install 3.11 or later, then `make setup PYTHON=python3.12`.")
    else:
        yield ok("Python", found)
    own = machine.checkout / ".venv"
    if Path(sys.prefix).resolve() == own.resolve():
        yield ok("Environment", ".venv of this checkout")
    else:
        yield warn(
            "Environment", f"{sys.prefix}, not .venv of this checkout", "Run `make setup`, and .venv/bin/penstock."
        )


def _tools(machine: Machine) -> Iterator[Line]:
    for tool in TOOLS:
        if folder := on_path(tool):
            yield ok(tool.name, f"on PATH ({folder}), {tool.accepts}")
        elif cached(tool, cache_folder()):
            yield ok(tool.name, f"{tool.version}, in the cache")
        else:
            yield warn(
                tool.name, f"not here yet; {tool.accepts} would do",
                f"Nothing to do: `make up` fetches it, or builds it in about {tool.build_seconds // 60 + 1} minutes.",
            )  # fmt: skip


def _programs(machine: Machine) -> Iterator[Line]:
    for name, hint in INSTALL.items():
        if found := machine.which(name):
            yield ok(name, found)
        elif name == "git":
            yield fail(name, "not on PATH", hint)
        else:
            yield warn(name, "not on PATH", hint)


def _disk(machine: Machine) -> Iterator[Line]:
    cache = cache_folder()
    while not cache.exists():
        cache = cache.parent
    missing = any(not (on_path(tool) or cached(tool, cache_folder())) for tool in TOOLS)
    for name, path, need in (
        ("Disk, cache", cache, BUILD_GIB if missing else 0),
        ("Disk, checkout", machine.checkout, STATE_GIB),
    ):
        try:
            free = machine.free_gib(path)
        except OSError as error:
            yield fail(name, f"{path}: {error.strerror}", "Check the folder's rights.")
            continue
        if free < need:
            where = "make room, or set XDG_CACHE_HOME to a larger disk" if "cache" in name else "make room"
            yield fail(name, f"{free:.1f} GiB free in {path}, {need} GiB are needed", f"Please {where}.")
        else:
            yield ok(name, f"{free:.0f} GiB free")


def _memory(machine: Machine) -> Iterator[Line]:
    free = machine.memory_mib()
    if free is None:
        yield warn("Memory", "cannot be read here", f"The local platform takes {PLATFORM_MIB} MiB.")
    elif free < PLATFORM_MIB:
        yield fail("Memory", f"{free} MiB are free, the local platform takes {PLATFORM_MIB}", "End other programs.")
    else:
        yield ok("Memory", f"{free} MiB free")


def _loopback(machine: Machine) -> Iterator[Line]:
    try:
        machine.bind(LOOPBACK, 0)
    except OSError as error:
        yield fail("Addresses", f"{LOOPBACK} cannot be used: {error.strerror}", "All of 127.0.0.0/8 must be local.")
    else:
        yield ok("Addresses", "127.0.0.0/8 is local")


def _ports(machine: Machine) -> Iterator[Line]:
    """A platform has an address of its own, so that only a program on all addresses is in the way."""
    taken = []
    for port, what in PORTS.items():
        try:
            machine.bind(LOOPBACK, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                taken.append(f"{port} ({what})")
    if taken:
        yield fail(
            "Ports", f"{', '.join(taken)}: a program listens on all addresses",
            "Find it with `ss -ltnp`, and stop it or bind it to 127.0.0.1.",
        )  # fmt: skip
    else:
        yield ok("Ports", f"{', '.join(map(str, PORTS))} are free")


def _proxies(machine: Machine) -> Iterator[Line]:
    given = sorted({name.upper() for name in machine.environment if name.upper() in ("HTTP_PROXY", "HTTPS_PROXY")})
    exempt = machine.environment.get("NO_PROXY") or machine.environment.get("no_proxy") or ""
    if not given:
        yield ok("Proxies", "none")
    elif any(entry.strip() in ("*", "127.0.0.0/8", "127.0.0.1", "localhost") for entry in exempt.split(",")):
        yield ok("Proxies", f"{', '.join(given)}; NO_PROXY has this machine")
    else:
        yield warn(
            "Proxies", f"{', '.join(given)} without this machine in NO_PROXY: calls to the local platform go astray",
            "export NO_PROXY=127.0.0.0/8,localhost",
        )  # fmt: skip


def _bytecode(machine: Machine) -> Iterator[Line]:
    if machine.environment.get("PYTHONDONTWRITEBYTECODE"):
        yield warn("Bytecode", "PYTHONDONTWRITEBYTECODE is set: each start takes seconds more", "Unset it.")


def run(command: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and what was said; 127 where there is no such program, 124 where it did not end in time."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, env=dict(environment)
        )
    except FileNotFoundError:
        return 127, f"{command[0]} is not on PATH"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not answer in {SECONDS:.0f} s"
    return done.returncode, " ".join((done.stderr or done.stdout).split())[:200]
