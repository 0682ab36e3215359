"""What a worker tells of itself: that it lives, that it can work, and figures for Prometheus and for scaling.

    /livez     200 while its loops run; the pod is restarted where one has ended
    /readyz    200 while the database answered within the last `READY_SECONDS`
    /metrics   Prometheus' text format

The queue's depth is that of the tables, the same from each worker: whoever scales takes the greatest, not the sum.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.gateway.database.connection import FAILURES
from app.jobs.queue import Depth

SAMPLE_SECONDS = 10.0
READY_SECONDS = 45.0
"""So old the last look at the queue may be: a few that failed end nothing."""
DEPTH_METRIC = "penstock_jobs_demand"
"""What workers are scaled on."""


class Work(Protocol):
    """What a worker counts."""

    rows_done: int
    rows_failed: int
    rows_retried: int
    rows_pushed_back: int

    @property
    def in_hand(self) -> int: ...

    @property
    def ended_loops(self) -> list[str]: ...

    async def depth(self) -> Depth: ...


class Health:
    def __init__(self, work: Work, clock: Callable[[], float] = time.monotonic) -> None:
        self._work, self._clock = work, clock
        self._depth: Depth | None = None
        self._seen = float("-inf")
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def sample(self) -> None:
        """One look at the queue. The database may be away: then the depth is not known, and soon no longer told."""
        with contextlib.suppress(*FAILURES):
            self._depth, self._seen = await self._work.depth(), self._clock()

    @property
    def fresh(self) -> bool:
        return self._clock() - self._seen < READY_SECONDS

    def collect(self) -> Iterable[Metric]:
        """For the registry. Labels are of these lists alone, so the number of series is fixed."""
        work = self._work
        if (depth := self._depth) is not None and self.fresh:  # an old figure would scale on what is over
            rows = GaugeMetricFamily("penstock_jobs_rows", "Requests in the queue, by state.", labels=["state"])
            rows.add_metric(["queued"], depth.queued)
            rows.add_metric(["running"], depth.running)
            yield rows
            yield GaugeMetricFamily(
                DEPTH_METRIC,
                "Requests that wait or are under way, and batches yet to be checked: what scaling looks at.",
                value=depth.demand,
            )
            yield GaugeMetricFamily(
                "penstock_jobs_oldest_seconds",
                "Age of the oldest batch or job that has not ended; 0 without one.",
                value=depth.oldest_seconds,
            )
        yield GaugeMetricFamily("penstock_jobs_in_hand", "Requests that this worker holds.", value=work.in_hand)
        ended = CounterMetricFamily(
            "penstock_jobs_ended", "Requests whose answers this worker has stored.", labels=["result"]
        )
        ended.add_metric(["done"], work.rows_done)
        ended.add_metric(["failed"], work.rows_failed)
        yield ended
        again = CounterMetricFamily(
            "penstock_jobs_retries",
            "Requests that went back: an engine failed them, or there was no room (429, 503).",
            labels=["reason"],
        )
        again.add_metric(["failed"], work.rows_retried)
        again.add_metric(["pushed_back"], work.rows_pushed_back)
        yield again

    async def _live(self, _request: web.Request) -> web.Response:
        ended = self._work.ended_loops
        if ended:
            return web.Response(status=503, text=f"ended: {', '.join(ended)}\n")
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self.fresh:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=f"the database did not answer for {READY_SECONDS:.0f} s\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"content-type": CONTENT_TYPE_LATEST})

    def application(self) -> web.Application:
        found = web.Application(client_max_size=1024)
        routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._metrics,
        }
        for path, answer in routes.items():
            found.router.add_get(path, answer)
        return found


@contextlib.asynccontextmanager
async def served(health: Health, host: str, port: int, seconds: float = SAMPLE_SECONDS) -> AsyncGenerator[int]:
    """Answers at `host` and `port` (0: a free one, which is given) and looks at the queue. Raises OSError."""
    runner = web.AppRunner(health.application(), access_log=None, keepalive_timeout=15)
    await runner.setup()

    async def look() -> None:
        while True:
            await health.sample()
            await asyncio.sleep(seconds)

    try:
        await web.TCPSite(runner, host, port).start()
        looking = asyncio.ensure_future(look())
        try:
            yield runner.addresses[0][1]
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    finally:
        await runner.cleanup()
