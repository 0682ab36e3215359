"""Starts gateways, loads them and reads what they used. Loopback only; each load is bounded in time and connections."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway import formulas, kernel
from bench.gateway.install import Installed, last_words
from bench.gateway.modes import EVENTS, KEY, Mode, bodies
from bench.gateway.peers import PATH, Peer, Place

STOP_SECONDS = 5.0
SETTLE_SECONDS = 0.15
"""After a gateway was stopped for a while its timers fire at once; they are no part of a measurement."""


class Failed(Exception):  # noqa: N818 - a state that the report shows
    """A gateway that does not start or does not answer. The message is the reason."""


@dataclass(frozen=True)
class Cores:
    gateway: int
    others: int
    shared: bool
    """True on a machine with one core: the load then runs beside the gateway."""

    @classmethod
    def of_this_machine(cls) -> Cores:
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[-1], len(cores) == 1)


@dataclass
class Server:
    """A process that was started, with its port."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    start_seconds: float = 0.0
    stopped: bool = False

    @property
    def root(self) -> int:
        return self.process.pid

    def hold(self) -> None:
        """Stops it, so that what it does by itself is no part of another gateway's measurement."""
        if not self.stopped:
            kernel.send(self.root, signal.SIGSTOP)
            self.stopped = True

    def go_on(self) -> None:
        if self.stopped:
            kernel.send(self.root, signal.SIGCONT)
            self.stopped = False
            time.sleep(SETTLE_SECONDS)

    def end(self) -> None:
        self.go_on()
        members = kernel.tree(self.root)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        for member in members:  # children that outlive their parent
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class Run:
    """One gateway under one mode."""

    cpu_us: float
    """CPU of the gateway for a request, in microseconds."""
    event_us: float
    """The same for an SSE event; 0 where there are none."""
    cores_used: float
    window: formulas.Window


def free_port() -> int:
    """A port that nobody listens on, with the one above it free too."""
    for _ in range(500):
        with socket.socket() as first, socket.socket() as second:
            # As servers do: the waiting ends of ten thousand closed streams are no one's ports.
            for one in (first, second):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port
    raise Failed("no two free ports beside each other")


@dataclass
class Bench:
    """What all runs share: the programs, the cores, the bodies as files, the upstream."""

    folder: Path
    load: Path
    upstream: Path
    cores: Cores
    open_files: int
    store_environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, body in bodies().items():
            (self.folder / f"{name}.body").write_bytes(body)

    @contextlib.contextmanager
    def on_core(self, core: int) -> Generator[None]:
        """Children started inside inherit the core."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def _start(self, name: str, command: list[str], port: int, core: int, environment: dict[str, str]) -> Server:
        log = self.folder / f"{name}.log"
        with self.on_core(core), log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=_checkout(),
            )
        return Server(process, port, log)

    def start_upstream(self, *arguments: str) -> Server:
        """The engine's stand-in, on the other core. Raises Failed."""
        port = free_port()
        command = [str(self.upstream), str(port), *arguments]
        server = self._start(f"upstream-{port}", command, port, self.cores.others, dict(os.environ))
        self._wait(server, 5.0)
        return server

    def start(self, peer: Peer, installed: Installed, engine: int, core: int | None = None) -> Server:
        """A gateway on its core, measured from its start to its first answer. Raises Failed with its last words."""
        port = free_port()
        folder = self.folder / f"{peer.name}-{port}"
        folder.mkdir()
        place = Place(port, engine, folder, self.open_files, root=os.getuid() == 0)
        for name, content in peer.files(place).items():
            (folder / name).write_text(content)
        command = [str(installed.program), *peer.arguments(place)]
        environment = os.environ | dict(installed.environment) | dict(peer.environment)
        if peer.uses_stores and self.store_environment:
            environment |= dict(self.store_environment) | {"PENSTOCK_LEDGER_FOLDER": str(folder / "ledger")}
        begun = time.monotonic()
        server = self._start(
            f"{peer.name}-{port}", command, port, self.cores.gateway if core is None else core, environment
        )
        try:
            if not peer.slow:  # those take the core for many seconds
                kernel.real_time(server.root, on=True)
            self._wait(server, peer.start_seconds)
        except Failed:
            server.end()
            raise
        server.start_seconds = time.monotonic() - begun
        kernel.real_time(server.root, on=False)
        return server

    def _wait(self, server: Server, seconds: float) -> None:
        """Until a chat request is answered with 200. Raises Failed."""
        until, said = time.monotonic() + seconds, "it refuses connections"
        while time.monotonic() < until:
            if server.process.poll() is not None:
                raise Failed(f"it ended: {last_words(server.log.read_text(errors='replace'))}")
            status = ask(server.port, (self.folder / "json.body").read_bytes())
            if status == 200:
                return
            if status:
                said = f"it answers {status}"
            time.sleep(0.01)
        raise Failed(f"not ready after {seconds:.0f} s: {said}")

    def measure(self, peer: Peer, mode: Mode, *servers: Server) -> Run:
        """One load on each of `servers` at once; their sums. Raises VoidRunError, Failed."""
        loads = [self._load(peer, mode, server.port, beside=len(servers) > 1) for server in servers]
        try:
            edges = [json.loads(_line(load)) for load in loads]
            clock = kernel.CpuClock(*(server.root for server in servers))
            _sleep_until(max(edge["from"] for edge in edges))
            before, begun = clock.read(), time.monotonic_ns()
            _sleep_until(min(edge["until"] for edge in edges))
            used, wall = clock.read() - before, (time.monotonic_ns() - begun) / 1e9
            windows = [formulas.window(edge, json.loads(_line(load))) for edge, load in zip(edges, loads, strict=True)]
        finally:
            for load in loads:
                load.kill()
                load.communicate()
        if wall < windows[0].seconds / 2:
            raise formulas.VoidRunError("void: the clock was read too late")
        # The clock's own window is a little shorter or longer than the generator's: rates are compared, not sums.
        used_a_second = used / wall
        requests = sum(window.requests / window.seconds for window in windows)
        events = sum(window.events_per_second for window in windows)
        return Run(
            cpu_us=formulas.microseconds_each(used_a_second, requests),
            event_us=formulas.microseconds_each(used_a_second, events) if mode.stream else 0.0,
            cores_used=used_a_second,
            window=windows[0],
        )

    def direct(self, mode: Mode, upstream: Server) -> formulas.Window:
        """The same load straight at the upstream. Raises VoidRunError."""
        load = self._load(None, mode, upstream.port)
        try:
            edges = json.loads(_line(load))
            return formulas.window(edges, json.loads(_line(load)))
        finally:
            load.kill()
            load.communicate()

    def _load(self, peer: Peer | None, mode: Mode, port: int, *, beside: bool = False) -> subprocess.Popen[bytes]:
        """`beside`: it shares its core with a gateway, which it must not keep from running."""
        events = (peer.events if peer else EVENTS) if mode.stream else 0
        connections, rate = mode.connections, mode.rate
        if peer is not None and peer.slow:
            flood = mode.stream and not mode.low_load
            connections, rate = peer.slow_streams if flood else mode.slow_connections, mode.slow_rate
        body = self.folder / f"{mode.body}.body"
        command = [str(self.load), str(port), PATH, str(body), str(connections)]
        command += [str(mode.warm_seconds), str(mode.seconds), str(rate), str(events)]
        with self.on_core(self.cores.others):
            load = subprocess.Popen(command, stdout=subprocess.PIPE)
        if not beside:
            kernel.real_time(load.pid, on=True)
        return load


def ask(port: int, body: bytes, seconds: float = 5.0) -> int:
    """The status of one chat request; 0 where nobody answers."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as wire:
            wire.sendall(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
            answer = wire.recv(16)
    except OSError:
        return 0
    return int(answer[9:12]) if answer[9:12].isdigit() else 0


def _line(load: subprocess.Popen[bytes]) -> bytes:
    if load.stdout is None:
        raise Failed("the load generator has no output")
    line = load.stdout.readline()
    if not line:
        raise Failed(f"the load generator ended with status {load.wait()}")
    return line


def _sleep_until(nanoseconds: int) -> None:
    left = nanoseconds - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)


def _checkout() -> Path:
    return Path(__file__).resolve().parents[2]
