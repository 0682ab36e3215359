"""Drills under one load: for each fault, undo, full capacity, and the figures of what clients saw meanwhile."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from infra.ops.drill.catalogue import PROMISED_SECONDS, TELLING_SECONDS, Drill
from infra.ops.drill.figures import Counters, Result, result
from infra.ops.drill.longer import Fault, fault_of
from infra.ops.drill.place import Capacity, Place
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.load.buckets import Buckets
from infra.ops.load.generator import Load, Plan
from infra.ops.load.records import Records
from infra.ops.load.retry import retries_for
from infra.ops.progress import Progress
from infra.ops.stacks import StackAccess, open_stack

STREAM_TOKENS = 200
"""About 2.5 s of the simulated engine: long enough to be under way when something breaks."""
CLIENT_RETRIES = retries_for(PROMISED_SECONDS)
"""What docs/drills.md asks of clients: the last try comes when a load balancer has left out what is gone."""
CALM_SECONDS = 4.0
"""Load before a fault: what its stalls are compared with."""
SETTLE_SECONDS = 120.0
"""For streams to open before a drill, and for what was under way in it to end."""
CAPACITY_SECONDS = 240.0
WORK_SECONDS = 3600.0
LOOK_SECONDS = 0.25
STEADY_SECONDS = 2.0
METRICS_SECONDS = 1.0
POLL_SECONDS = 0.1


class UndoError(PenstockError):
    """The platform is not as it was before the drill."""


@dataclass(frozen=True)
class Options:
    """`rate` in requests per second, `seconds`: how long the fault stays, None for the drill's own."""

    rate: float = 30.0
    streams: int = 12
    seconds: float | None = None
    calm_seconds: float = CALM_SECONDS


@dataclass
class Runner:
    access: StackAccess
    options: Options
    progress: Progress
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        self.place = Place(self.access)

    def run(self, drills: Sequence[Drill], done: Callable[[Result], None] = lambda _: None) -> list[Result]:
        """One after the other under one load; `done` is told of each. A drill that misses an aim does not stop the
        rest. Raises RefusedError where nothing was broken, UndoError where the undo failed, PenstockError."""
        with one_at_a_time(self.place):
            return asyncio.run(self._run(drills, done))

    async def _run(self, drills: Sequence[Drill], done: Callable[[Result], None]) -> list[Result]:
        await asyncio.to_thread(self.place.check_healthy)
        endpoint, results = self.place.endpoint, []
        plan = Plan(
            endpoint.models[0], rate=self.options.rate, streams=self.options.streams, seconds=WORK_SECONDS,
            stream_tokens=STREAM_TOKENS, timeout_seconds=30, retries=CLIENT_RETRIES, same_text=True,
        )  # fmt: skip
        load = Load(endpoint, plan)
        sending = asyncio.create_task(load.run())
        try:
            for drill in drills:
                found = await self._drill(drill, fault_of(drill.name), load, sending)
                results.append(found)
                done(found)
        finally:
            load.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(sending), plan.timeout_seconds + 10)
            if not sending.done():
                sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return results

    async def _drill(self, drill: Drill, fault: Fault, load: Load, sending: asyncio.Task[Records]) -> Result:
        full = await asyncio.to_thread(self.place.check_healthy)
        await asyncio.to_thread(fault.prepare, self.place)
        counters, over = Counters(), asyncio.Event()
        with self.progress.step(f"Drill {drill.name}", self.options.calm_seconds + (drill.hold_seconds or 10) + 8):
            await self._until(
                lambda: load.open_streams >= plenty(self.options.streams), sending, "streams are not open"
            )
            counters.take(await asyncio.to_thread(self.place.metrics))
            mark = load.records.mark()
            watching = asyncio.create_task(self._watch(counters, over))
            try:
                await self._pause(self.options.calm_seconds, sending)
                before, load.late = begin_stalls(load), 0.0
                self.progress.say(f"worst stall before the fault: {before * 1000:.0f} ms")
                injected_at = load.now
                done, capacity = await self._break(drill, fault, full, counters)
                await self._until_all_ended(drill, load, sending)
            finally:
                over.set()
                await asyncio.gather(watching, return_exceptions=True)
            with suppress(PenstockError, OSError, ValueError):
                counters.take(await asyncio.to_thread(self.place.metrics))
        return result(
            drill, done, load.records.since(mark), counters,
            injected_at=injected_at, capacity_seconds=capacity, stalls=stalls_of(load),
            more={**fault.figures, "stall_before": before, "client_late": load.late},
        )  # fmt: skip

    async def _until_all_ended(self, drill: Drill, load: Load, sending: asyncio.Task[Records]) -> None:
        """What was under way when all was well again belongs to this drill, not to the next one."""
        if drill.name == "supervisor-crash":  # the load's addresses are those of the lost platform
            return
        full_at = load.now
        await self._until(lambda: load.oldest is None or load.oldest > full_at, sending, "requests do not end")

    async def _until(self, reached: Callable[[], bool], sending: asyncio.Task[Records], lacking: str) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while not reached():
            if time.monotonic() > deadline:
                raise PenstockError(f"After {SETTLE_SECONDS:.0f} s {lacking}.", "See `penstock status`.")
            await self._pause(POLL_SECONDS, sending)

    async def _pause(self, seconds: float, sending: asyncio.Task[Records]) -> None:
        await asyncio.wait({sending}, timeout=seconds)
        if sending.done():
            sending.result()
            raise PenstockError("The load ended before the drill.")

    async def _break(self, drill: Drill, fault: Fault, full: Capacity, counters: Counters) -> tuple[str, float]:
        """What was done, and the seconds from the end of the fault to full capacity."""
        hold = drill.hold_seconds if self.options.seconds is None else min(self.options.seconds, 600.0)
        moment = time.monotonic()
        try:
            done = await asyncio.to_thread(fault.inject, self.place)
            self.progress.say(done)
            if drill.hold_seconds:
                await asyncio.sleep(hold)
                await self._until_told(drill, counters)
                moment = time.monotonic()
        finally:
            await self._undo(drill, fault)
        return done, max(0.0, await self._until_full(full) - (fault.over or moment))

    async def _until_told(self, drill: Drill, counters: Counters) -> None:
        for _ in range(round(TELLING_SECONDS / POLL_SECONDS)):
            if not counters.untold(drill.telling):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _undo(self, drill: Drill, fault: Fault) -> None:
        """Also where the drill was interrupted: an undo is not cut short by a second Ctrl-C of asyncio's."""
        undoing = asyncio.ensure_future(asyncio.to_thread(fault.undo, self.place))
        try:
            await asyncio.shield(undoing)
        except asyncio.CancelledError:
            await undoing
            raise
        except (PenstockError, OSError, LookupError, ValueError) as problem:
            raise UndoError(
                f"The undo of {drill.name} failed: {problem} The platform is not as it was before.",
                "See `penstock status`; `make down` and `make up` make a new one.",
            ) from problem
        if drill.name == "supervisor-crash":
            self.access = open_stack(self.access.checkout, self.access.name)
            self.place = Place(self.access)

    async def _until_full(self, full: Capacity) -> float:
        """The moment from which on everything was there, without a break for STEADY_SECONDS: what was just killed is
        still counted as ready."""
        deadline = time.monotonic() + CAPACITY_SECONDS
        since: float | None = None
        while True:
            asked = time.monotonic()
            try:
                now = await asyncio.to_thread(self.place.capacity)
                lacking = now.missing(full)
            except PenstockError as problem:
                lacking = str(problem)
            since = None if lacking else asked if since is None else since
            if since is not None and asked - since >= STEADY_SECONDS:
                return since
            self.progress.detail(f"not at full capacity: {lacking}")
            if time.monotonic() > deadline:
                raise UndoError(
                    f"Not at full capacity {CAPACITY_SECONDS:.0f} s after the fault: {lacking}.",
                    "See `penstock status`.",
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def _watch(self, counters: Counters, over: asyncio.Event) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), METRICS_SECONDS)
            with suppress(PenstockError, OSError, ValueError):  # a platform that is down has no figures
                counters.take(await asyncio.to_thread(self.place.metrics))


def begin_stalls(load: Load) -> float:
    """Forgets the gaps so far and returns the largest of them: a drill's worst stall is one of the fault's time."""
    before = 0.0
    for gaps in load.records.gaps.values():
        before = max(before, gaps.largest)
        gaps.counts.clear()
        gaps.total, gaps.largest = 0, 0.0
    return before


def stalls_of(load: Load) -> Buckets:
    return load.records.all_gaps()


@contextmanager
def one_at_a_time(place: Place) -> Generator[None]:
    """Raises RefusedError while another drill runs on this platform. The lock dies with its process."""
    with (place.layout.checkout / ".penstock" / "drill.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError("Another drill runs on this platform.") from None
        yield


def plenty(streams: int) -> int:
    """Some are always between two streams."""
    return max(min(streams, 1), streams * 3 // 4)
