"""A container without a process, for a platform where only the objects matter.

It refers to the same ConfigMaps and Secrets as the real one: what is missing keeps its pod from starting here, too.
A container that serves runs until it is stopped; one that ends by itself (an init container, a job's) has succeeded.
"""

from __future__ import annotations

import asyncio

from infra.local.kubernetes.agent.api import ApiError, Json
from infra.local.kubernetes.agent.clock import stamp
from infra.local.kubernetes.agent.container import Surroundings
from infra.local.kubernetes.agent.environment import ConfigError
from infra.local.kubernetes.agent.status import Record, Running, Terminated, Waiting

MADE_BY_PROCESSES = frozenset({"kedaorg-certs"})
"""Secrets that a controller makes for itself as it starts: KEDA's operator does. Without processes they never come."""


class ObjectOnly:
    """Stands for `container.Container`: the same calls, the same record."""

    def __init__(self, spec: Json, record: Record, pod: Surroundings) -> None:
        self.spec = spec
        self.record = record
        self._pod = pod

    @property
    def name(self) -> str:
        return self.spec["name"]

    async def run(self) -> None:
        """Returns when the container has ended by itself; one that serves does not."""
        await self._resolve()
        self.record.state = Running(stamp())
        if self.record.role == "init" or self._pod.restart_policy != "Always":
            self._end("Completed")
            self.record.ready = self.record.role == "init"
            return
        self.record.started = self.record.ready = True
        self._pod.event("Normal", "Started", f"Started container {self.name} (without a process)", self.name)
        self._pod.changed()
        await asyncio.Event().wait()

    async def stop(self, seconds: float) -> None:
        """Ends at once: nothing has to drain."""
        if isinstance(self.record.state, Running):
            self._end("Completed")
        self.record.final = True
        self._pod.changed()

    def cut(self) -> None:
        """Nothing runs."""

    async def kill(self) -> None:
        """Nothing runs."""

    async def _resolve(self) -> None:
        """Waits until the environment's references are there, as a real start does."""
        pause = self._pod.options.mount_retry_seconds
        while True:
            try:
                await self._pod.launch(self.spec, [])
            except (ConfigError, ApiError) as error:
                waiting = Waiting("CreateContainerConfigError", str(error))
                if self.record.state != waiting:
                    self.record.state = waiting
                    self._pod.event("Warning", "Failed", waiting.message, self.name)
                    self._pod.changed()
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _end(self, reason: str) -> None:
        began = self.record.state.since if isinstance(self.record.state, Running) else stamp()
        self.record.state = Terminated(0, reason, began, stamp())
        self.record.started = self.record.ready = False
        self.record.final = True
        self._pod.changed()
