"""One container of a pod: started, probed, restarted with back-off, stopped with its grace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from infra.local.kubernetes.agent.api import ApiError, Json
from infra.local.kubernetes.agent.checks import check
from infra.local.kubernetes.agent.clock import stamp
from infra.local.kubernetes.agent.commands import UnknownProgramError, command_line, is_heavy, programs, resolve
from infra.local.kubernetes.agent.environment import ConfigError
from infra.local.kubernetes.agent.events import Severity
from infra.local.kubernetes.agent.launch import Launch
from infra.local.kubernetes.agent.options import Options
from infra.local.kubernetes.agent.probes import Backoff, ProbeTiming, ProbeTracker, restarts
from infra.local.kubernetes.agent.process import Process, rotate_before_start
from infra.local.kubernetes.agent.status import Record, Running, Terminated, Waiting
from infra.local.kubernetes.agent.turns import Turns

log = logging.getLogger("agent.container")


class Surroundings(Protocol):
    """What a container needs of its pod."""

    label: str
    address: str
    folder: Path
    options: Options
    turns: Turns
    restart_policy: str
    grace_seconds: float

    async def launch(self, container: Json, words: list[str]) -> Launch: ...
    def translate(self, container: Json, launch: Launch, words: list[str]) -> list[str]: ...
    def log_file(self, container: str) -> Path: ...
    def changed(self) -> None: ...
    def event(self, severity: Severity, reason: str, message: str, container: str) -> None: ...


class Container:
    """Runs one container of a pod. `run` returns when it has ended for good; `stop` ends it."""

    def __init__(self, spec: Json, record: Record, pod: Surroundings) -> None:
        self.spec = spec
        self.record = record
        self._pod = pod
        self._process: Process | None = None
        self._launch: Launch | None = None
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._backoff = Backoff(pod.options.restart_base_seconds, pod.options.restart_cap_seconds)
        self._ports = {p["name"]: p["containerPort"] for p in spec.get("ports") or () if "name" in p}
        self._started_at = 0.0
        self._unhealthy = asyncio.Event()

    @property
    def name(self) -> str:
        return self.spec["name"]

    async def run(self) -> None:
        """Starts the container, and again after each end as the pod's restartPolicy says."""
        while True:
            process = await self._start()
            code = await self._until_end(process)
            self._ended(code)
            policy = "OnFailure" if self.record.role == "init" else self._pod.restart_policy
            if self._pod.restart_policy == "Never":
                policy = "Never"
            if not restarts(policy, code):
                self.record.final = True
                self._pod.changed()
                return
            await self._back_off()
            self.record.restarts += 1

    async def stop(self, seconds: float) -> None:
        """Ends the container within `seconds`: preStop, SIGTERM, then SIGKILL to what is left. `run` must have been
        cancelled. Readiness is still asked while it drains, as kubelet does."""
        deadline = time.monotonic() + seconds
        self._end_probes("startup", "liveness")
        if self._process and self._process.running:
            self._pod.event("Normal", "Killing", f"Stopping container {self.name}", self.name)
            self._ended(await self._terminate(self._process, deadline))
        self._end_probes(*self._probes)
        self._pod.turns.give_back(self)
        if isinstance(self.record.state, Waiting) and self.record.last:
            self.record.state = self.record.last
        self.record.final = True
        self._pod.changed()

    def cut(self) -> None:
        """SIGKILL, at once and without a word."""
        self._pod.turns.give_back(self)
        if self._process is not None:
            self._process.kill()

    async def kill(self) -> None:
        """SIGTERM at once, SIGKILL after a moment; no hook."""
        self._end_probes(*self._probes)
        self._pod.turns.give_back(self)
        if (process := self._process) and process.running:
            process.terminate()
            await process.ended_within(self._pod.options.force_kill_seconds)
            process.kill()
            await process.wait()

    async def _start(self) -> Process:
        """Tries until the process runs. An unknown program is waited on for ever: nothing can change it."""
        pause = self._pod.options.mount_retry_seconds
        while True:
            try:
                if "postStart" in (self.spec.get("lifecycle") or {}):
                    raise ConfigError("postStart hooks are not offered on the local target; offered: preStop")
                words = command_line(self.spec, programs(self._pod.options.vllm))
                if "startupProbe" in self.spec and is_heavy(words):
                    await self._pod.turns.take(self)
                return self._spawn(await self._pod.launch(self.spec, words))
            except UnknownProgramError as error:
                self._wait("ErrImagePull", str(error), "Failed")
                await asyncio.Event().wait()
            except ConfigError as error:
                self._wait("CreateContainerConfigError", str(error), "Failed")
            except (ApiError, OSError) as error:
                self._wait("CreateContainerError", str(error), "Failed")
            self._pod.turns.give_back(self)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _spawn(self, launch: Launch) -> Process:
        path = self._pod.log_file(self.name)
        rotate_before_start(path)
        process = Process(launch.command, environment=launch.environment, cwd=self._pod.folder, log=path)
        self._process, self._launch = process, launch
        self._started_at = time.monotonic()
        self._unhealthy.clear()
        self.record.state = Running(stamp())
        self.record.started = "startupProbe" not in self.spec
        self.record.ready = self.record.started and "readinessProbe" not in self.spec
        self._pod.event("Normal", "Started", f"Started container {self.name} (process {process.pid})", self.name)
        self._begin_probes()
        self._pod.changed()
        return process

    async def _until_end(self, process: Process) -> int:
        """Waits for the end of the process, bringing it about where a probe has found it dead."""
        unhealthy = asyncio.ensure_future(self._unhealthy.wait())
        try:
            await asyncio.wait({process.ended, unhealthy}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            unhealthy.cancel()
        if process.running:
            return await self._terminate(process, time.monotonic() + self._pod.grace_seconds)
        return process.ended.result()

    async def _terminate(self, process: Process, deadline: float) -> int:
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and (left := deadline - time.monotonic()) > 0:
            hooked = asyncio.ensure_future(check(hook, self._pod.address, self._ports, self._execute, left))
            await asyncio.wait({hooked, process.ended}, return_when=asyncio.FIRST_COMPLETED)
            hooked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                if not (outcome := await hooked).passed:
                    self._pod.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.message}", self.name)
        process.terminate()
        # As kubelet does, a hook that used up the grace leaves the process two seconds.
        if not await process.ended_within(max(deadline - time.monotonic(), 2.0 if hook else 0.0)):
            process.kill()
        return await process.wait()

    def _ended(self, code: int) -> None:
        self._end_probes(*self._probes)
        self._pod.turns.give_back(self)
        state = self.record.state
        began = state.since if isinstance(state, Running) else stamp()
        self.record.state = Terminated(code, "Completed" if code == 0 else "Error", began, stamp())
        self.record.started = False
        self.record.ready = self.record.role == "init" and code == 0
        log.info("container.ended pod=%s container=%s code=%d", self._pod.label, self.name, code)
        self._pod.changed()

    async def _back_off(self) -> None:
        """Waits as long as Kubernetes would before the next start."""
        delay = self._backoff.delay(time.monotonic() - self._started_at)
        if isinstance(self.record.state, Terminated):
            self.record.last = self.record.state
        if delay > 0:
            message = f"back-off {delay:.0f}s restarting failed container={self.name}"
            self._wait("CrashLoopBackOff", message, "BackOff")
            await asyncio.sleep(delay)

    def _wait(self, reason: str, message: str, event: str) -> None:
        waiting = Waiting(reason, message)
        if self.record.state != waiting:
            self.record.state = waiting
            self._pod.event("Warning", event, message, self.name)
            self._pod.changed()

    # Probes

    def _begin_probes(self) -> None:
        if "startupProbe" in self.spec:
            self._probes["startup"] = asyncio.create_task(self._probe("startup", self._on_startup))
        else:
            self._begin_later_probes()

    def _begin_later_probes(self) -> None:
        if "readinessProbe" in self.spec:
            self._probes["readiness"] = asyncio.create_task(self._probe("readiness", self._on_readiness))
        if "livenessProbe" in self.spec:
            self._probes["liveness"] = asyncio.create_task(self._probe("liveness", self._on_liveness))

    def _end_probes(self, *kinds: str) -> None:
        for kind in kinds:
            if kind in self._probes:
                self._probes.pop(kind).cancel()

    async def _probe(self, kind: str, on_verdict: Callable[[bool], bool]) -> None:
        """Checks at the probe's period, and more often until its first success (options.eager_*). `on_verdict` is told
        of each change and says whether to go on."""
        probe = self.spec[f"{kind}Probe"]
        timing, tracker = ProbeTiming.of(probe), ProbeTracker.of(probe)
        eager_until = time.monotonic() + self._pod.options.eager_window_seconds
        await asyncio.sleep(timing.initial_delay)
        due = time.monotonic()
        while True:
            counts = time.monotonic() >= due
            outcome = await check(probe, self._pod.address, self._ports, self._execute, timing.timeout)
            if counts:
                due = max(due + timing.period, time.monotonic())
            if counts and not outcome.passed:
                message = f"{kind.capitalize()} probe failed: {outcome.message}"
                if tracker.verdict != "unknown" or kind == "liveness":
                    self._pod.event("Warning", "Unhealthy", message, self.name)
            if (counts or outcome.passed) and tracker.record(outcome.passed) and not on_verdict(outcome.passed):
                return
            pause = due - time.monotonic()
            if kind != "liveness" and tracker.verdict == "unknown" and time.monotonic() < eager_until:
                pause = min(pause, self._pod.options.eager_probe_seconds)
            await asyncio.sleep(max(pause, 0.01))

    def _on_startup(self, passed: bool) -> bool:
        if not passed:
            self._restart_unhealthy("startup")
            return False
        self._pod.turns.give_back(self)
        self.record.started = True
        self.record.ready = "readinessProbe" not in self.spec
        self._begin_later_probes()
        self._pod.changed()
        return False

    def _on_readiness(self, passed: bool) -> bool:
        self.record.ready = passed
        self._pod.changed()
        return True

    def _on_liveness(self, passed: bool) -> bool:
        if not passed:
            self._restart_unhealthy("liveness")
        return passed

    def _restart_unhealthy(self, kind: str) -> None:
        message = f"Container {self.name} failed {kind} probe, will be restarted"
        self._pod.event("Normal", "Killing", message, self.name)
        self._unhealthy.set()

    async def _execute(self, words: list[str]) -> int:
        """Runs a hook's or probe's command in the container's own environment; its output joins the container's."""
        if self._launch is None:
            return 1
        command = resolve(self._pod.translate(self.spec, self._launch, words), tools=True)
        path = self._pod.log_file(self.name)
        process = Process(command, environment=self._launch.environment, cwd=self._pod.folder, log=path)
        try:
            return await process.wait()
        finally:
            process.kill()
