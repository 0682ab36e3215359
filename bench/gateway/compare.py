"""The whole run: rounds of slots, idle streams, one and two processes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.gateway import formulas, idle, kernel, memory
from bench.gateway.compiled import Missing
from bench.gateway.install import Installed
from bench.gateway.modes import MODES, Mode, bodies
from bench.gateway.peers import OWN, REFERENCE, Peer
from bench.gateway.report import Facts, Measured, StreamsHeld
from bench.gateway.runner import Bench, Failed, Run, Server
from bench.gateway.stores import Stores, stores

IDLE_GAP_MS = 20_000
"""Between the events of an idle stream: below the gateways' time-outs, above the time that is watched."""
IDLE_STREAMS = 10_000


@dataclass(frozen=True)
class Plan:
    rounds: int = 3
    time_share: float = 1.0
    """Of each mode's seconds."""
    idle_streams: int = IDLE_STREAMS
    memory_seconds: float = 90.0
    """How long requests are sent to see whether memory grows."""

    @classmethod
    def quick(cls) -> Plan:
        return cls(rounds=1, time_share=0.5, idle_streams=1000, memory_seconds=10.0)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass
class Comparison:
    bench: Bench
    peers: Sequence[Peer]
    plan: Plan
    missing: dict[str, str] = field(default_factory=dict)
    held: list[StreamsHeld] = field(default_factory=list)
    scaling: dict[int, float] = field(default_factory=dict)
    grown: list[tuple[int, float]] = field(default_factory=list)
    """Requests so far and the own gateway's MB."""
    on: str = ""
    off: str = ""
    _installed: dict[str, Installed] = field(default_factory=dict)
    _found: dict[str, Measured] = field(default_factory=dict)
    _real_time: bool = True
    _waited_for: list[int] = field(default_factory=list)
    """Processes besides gateway, load and upstream that a request waits for."""
    _begun: float = field(default_factory=time.monotonic)

    def measured(self) -> list[Measured]:
        return list(self._found.values())

    def facts(self, *, quick: bool) -> Facts:
        own = self._installed.get(OWN)
        python = own.program if own else Path(sys.executable)
        return Facts(
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            machine=kernel.machine(),
            python=kernel.version_of(python),
            commit=own.version if own else "unknown",
            rounds=self.plan.rounds,
            seconds=time.monotonic() - self._begun,
            real_time=self._real_time,
            own_core=not self.bench.cores.shared,
            optimised=kernel.optimised_python() or kernel.distributed(python),
            load_average=os.getloadavg()[0],
            quick=quick,
            on=self.on,
            off=self.off,
        )

    def run(self, cache: Path) -> None:
        self._install(cache)
        # This process sleeps and reads; it must not do so on the gateway's core.
        os.sched_setaffinity(0, {self.bench.cores.others})
        kernel.ahead()
        self._begun = time.monotonic()
        try:
            with stores(self.bench.folder) as found:
                self.bench.store_environment = found.environment
                self._waited_for = [found.cache_root]
                self._measure()
                self._look_into(found)
        except Missing as reason:
            say(f"Redis and PostgreSQL: missing, {reason}")
            self.off = f"limits in Redis and the ledger: {reason}"
            self._measure()
        for name, one in list(self._found.items()):
            if not one.cpu:
                self.missing[one.title] = one.faults[0] if one.faults else "it was not measured"
                del self._found[name]

    def _measure(self) -> None:
        upstream = self.bench.start_upstream()
        try:
            for number in range(self.plan.rounds):
                say(f"round {number + 1} of {self.plan.rounds}")
                self._round(upstream, [peer for peer in self.peers if number == 0 or not peer.slow])
            self._scale(upstream)
        finally:
            upstream.end()
        self._idle()
        self._grow()

    def _grow(self) -> None:
        if OWN not in self._installed:
            return
        try:
            self.grown = memory.measure(self.bench, memory.REQUESTS, self.plan.memory_seconds)
        except Failed as reason:
            self._found[OWN].faults.append(f"memory over many requests: {reason}")

    def _look_into(self, found: Stores) -> None:
        """What the stores hold shows what the gateway did."""
        rows = found.usage_rows()
        self.on = f"{rows:,} rows in the ledger in PostgreSQL" if rows else ""
        off = [] if rows else ["the ledger in PostgreSQL (no row came)"]
        if found.limits_kept():
            self.on += ("; " if self.on else "") + "limits of key, tenant and all together in Redis"
        else:
            off.append("limits in Redis (it holds no key)")
        self.off = "; ".join(off)

    def _install(self, cache: Path) -> None:
        for peer in self.peers:
            try:
                installed = peer.source.install(cache)
            except (Missing, OSError) as reason:
                say(f"{peer.title}: missing, {reason}")
                self.missing[peer.title] = str(reason)
                continue
            say(f"{peer.title} {installed.version}")
            self._installed[peer.name] = installed
            self._found[peer.name] = Measured(peer.name, peer.title, installed.version, peer.does)

    def _round(self, upstream: Server, peers: Sequence[Peer]) -> None:
        servers: dict[str, Server] = {}
        try:
            for peer in peers:
                if peer.name in self._installed:
                    self._begin(peer, servers, upstream.port)
            for mode in MODES:
                self._slot(replace(mode, seconds=max(0.5, mode.seconds * self.plan.time_share)), servers, upstream)
        finally:
            for server in servers.values():
                server.end()

    def _begin(self, peer: Peer, servers: dict[str, Server], engine: int) -> None:
        found = self._found[peer.name]
        try:
            server = self.bench.start(peer, self._installed[peer.name], engine)
        except Failed as reason:
            found.faults.append(str(reason))
            say(f"  {peer.title}: {reason}")
            return
        servers[peer.name] = server
        found.start_seconds.append(server.start_seconds)
        server.hold()

    def _slot(self, mode: Mode, servers: dict[str, Server], upstream: Server) -> None:
        """One mode, all gateways, within seconds of one another."""
        peers = {peer.name: peer for peer in self.peers}
        order = list(servers) if mode.low_load else formulas.running_order(list(servers), REFERENCE, OWN)
        for root in (upstream.root, *self._waited_for):
            self._real_time = kernel.real_time(root, on=True) and self._real_time
        direct = self.bench.direct(mode, upstream) if mode.low_load else None
        runs = [self._one(peers[name], mode, servers[name]) for name in order]
        for root in (upstream.root, *self._waited_for):
            kernel.real_time(root, on=False)
        near = formulas.references(order, REFERENCE)
        for at, (name, run) in enumerate(zip(order, runs, strict=True)):
            if run is None:
                continue
            found = self._found[name]
            if direct is not None:
                found.added.setdefault(mode.name, []).append(_added(mode, run.window, direct))
                continue
            found.cpu.setdefault(mode.name, []).append(run.cpu_us)
            if mode.stream:
                found.event.append(run.event_us)
            beside = [
                reference.event_us or reference.cpu_us for index in near.get(at, ()) if (reference := runs[index])
            ]
            if beside:
                share = statistics.mean(beside) / (run.event_us or run.cpu_us)
                found.ratio.setdefault(mode.name, []).append(share)

    def _one(self, peer: Peer, mode: Mode, server: Server) -> Run | None:
        found = self._found[peer.name]
        server.go_on()
        try:
            self._real_time = kernel.real_time(server.root, on=True) and self._real_time
            run = self.bench.measure(peer, mode, server)
        except (formulas.VoidRunError, Failed, ValueError) as reason:
            found.faults.append(f"{mode.title}: {reason}")
            say(f"  {peer.title}, {mode.title}: {reason}")
            return None
        finally:
            kernel.real_time(server.root, on=False)
            if mode.name == MODES[-1].name:
                found.memory_mb.append(kernel.pss_mb(server.root))
            server.hold()
        say(
            f"  {mode.title}, {peer.title}: {run.cpu_us:.1f} us, {run.cores_used:.2f} cores, "
            f"p50 {run.window.p50_ms:.2f} ms, first byte {run.window.ttft_p50_ms:.2f} ms"
        )
        return run

    def _scale(self, upstream: Server) -> None:
        """One and two processes of the own gateway, each on a core of its own as far as there are cores."""
        own = next((peer for peer in self.peers if peer.name == OWN and OWN in self._installed), None)
        if own is None:
            return
        cores = [self.bench.cores.gateway, self.bench.cores.others]
        servers: list[Server] = []
        try:
            for core in cores:
                servers.append(self.bench.start(own, self._installed[OWN], upstream.port, core))
                mode = replace(MODES[0], connections=32, seconds=MODES[0].seconds * self.plan.time_share)
                runs = [self.bench.measure(own, mode, *servers).cpu_us for _ in range(self.plan.rounds)]
                self.scaling[len(servers)] = statistics.median(runs)
                say(f"{len(servers)} processes: {self.scaling[len(servers)]:.1f} us")
        except (Failed, formulas.VoidRunError) as reason:
            self._found[OWN].faults.append(f"{len(servers)} processes: {reason}")
        finally:
            for server in servers:
                server.end()

    def _idle(self) -> None:
        streams = formulas.idle_streams(self.plan.idle_streams, self.bench.open_files)
        body = bodies()["sse"]
        for peer in self.peers:
            if not peer.holds_streams or peer.name not in self._installed:
                continue
            with contextlib.ExitStack() as stack:
                try:
                    upstream = self.bench.start_upstream("4", str(IDLE_GAP_MS))
                    stack.callback(upstream.end)
                    server = self.bench.start(peer, self._installed[peer.name], upstream.port)
                    stack.callback(server.end)
                except Failed as reason:
                    self._found[peer.name].faults.append(f"idle streams: {reason}")
                    continue
                seen = asyncio.run(idle.hold(server.root, server.port, body, streams))
            say(f"{peer.title}: {seen.streams} idle streams, opened in {seen.open_seconds:.1f} s")
            self.held.append(
                StreamsHeld(
                    peer.title,
                    self.plan.idle_streams,
                    seen.streams,
                    seen.memory_mb,
                    seen.kilobytes_each,
                    seen.cores_used,
                )
            )


def _added(mode: Mode, through: formulas.Window, direct: formulas.Window) -> tuple[float, float]:
    """Milliseconds that the gateway adds at p50 and p99: to the whole answer, or to the first byte of a stream."""
    if mode.stream:
        return through.ttft_p50_ms - direct.ttft_p50_ms, through.ttft_p99_ms - direct.ttft_p99_ms
    return through.p50_ms - direct.p50_ms, through.p99_ms - direct.p99_ms
