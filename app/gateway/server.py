"""Runs a gateway: listens, keeps its surroundings in view, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.gateway import probes
from app.gateway.choose import Sighting
from app.gateway.config import GatewayConfig, KeyFile
from app.gateway.keys import start as keys_start
from app.gateway.limits import scripts
from app.gateway.limits.link import Link
from app.gateway.log import Log
from app.gateway.pages import Pages
from app.gateway.protocol import Connection, make_config
from app.gateway.providers.start import keys_and_roles
from app.gateway.service import Service
from app.gateway.settings import SettingsError, load_keys
from app.gateway.surroundings import Surroundings

if TYPE_CHECKING:
    from app.gateway.watch import Api

KEY_FILE_SECONDS = 1.0
IDLE_GRACE_SECONDS = 2.0
"""After SIGTERM an idle connection stays open this long: a request may be on its way on it."""
FLUSH_SECONDS = 0.25
BACKLOG = 2048


@dataclass
class Gateway:
    config: GatewayConfig
    keys: KeyFile
    surroundings: Surroundings
    log: Log
    key_file: Path | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _api: Api | None = None
    _inner: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port (a free one where `port` is 0). Raises OSError, SettingsError."""
        loop = asyncio.get_running_loop()
        self.service = service = Service(self.config, self.keys, self.log, zone=self.surroundings.zone, loop=loop)
        uvicorn_config = make_config(Pages(service))
        self._hurry = asyncio.Event()
        self._keep_ledger()
        keys_start.start(service, self.surroundings.keys, self._spawn)
        self._keep_answers()
        self._keep_budget()
        self._keep_feedback()
        self._keep_guards()
        self._keep_traces()
        self._keep_jobs()
        if self.config.shadow is not None:
            from app.gateway.shadow.mirror import Mirror

            service.shadow = Mirror(service, self.config.shadow)
        self._keep_console()
        self._server = await loop.create_server(
            lambda: Connection(service, uvicorn_config), host, port, backlog=BACKLOG
        )
        service.start()
        if self.config.retrieval is not None or service.pipelines is not None:
            await self._open_inner_port(uvicorn_config)
        self._watch_surroundings()
        return self._server.sockets[0].getsockname()[1]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def _watch_surroundings(self) -> None:
        around, service = self.surroundings, self.service
        for model in self.config.models:
            if around.engines:
                fixed = [Sighting(f"{h}:{p}", f"{h}:{p}", h, p, around.zone, True, False) for h, p in around.engines]
                service.update_engines(model.name, fixed)
        if not around.engines:
            self._watch_pods()
        for work in keys_and_roles(service, around.environment):
            self._spawn(work)
        gauge = service.metrics.dependency_up
        if around.cache_address:
            self._keep_limits(around)
            self._spawn(probes.watch_dependency(probes.cache_answers, around.cache_address, gauge.labels("cache").set))
        if around.database_address:
            report = gauge.labels("database").set
            self._spawn(probes.watch_dependency(probes.database_answers, around.database_address, report))
        if self.key_file is not None:
            self._spawn(self._follow_keys(self.key_file))

    def _keep_ledger(self) -> None:
        settings, service = self.surroundings.ledger, self.service
        if settings is not None:
            from app.gateway.ledger.metrics import LedgerMetrics
            from app.gateway.ledger.writer import Ledger

            try:
                service.ledger = ledger = Ledger(settings, self.log, LedgerMetrics(service.metrics.registry))
            except OSError as error:
                raise SettingsError(f"PENSTOCK_LEDGER_FOLDER: {settings.folder}: {error.strerror or error}") from None
            self._spawn(ledger.run())
        elif self.surroundings.database_address:
            self.log.event("ledger", enabled=False, reason="PENSTOCK_DATABASE_USER is not set")

    def _keep_answers(self) -> None:
        if self.config.cache.enabled:
            from app.gateway.cache.start import start

            for work in start(self.service, self.surroundings):
                self._spawn(work)

    def _keep_feedback(self) -> None:
        if self.config.feedback is not None:
            if self.surroundings.keys is None or self.surroundings.ledger is None:
                raise SettingsError(
                    "feedback: it is kept in the database, beside keys and ledger; set both, or leave it out"
                )
            from app.gateway.feedback.api import Feedback  # RE2 takes 5 MB

            self.service.feedback = Feedback(self.service, self.surroundings.keys, self.config.feedback)

    def _keep_budget(self) -> None:
        if self.config.budget is not None:
            from app.gateway.budget.start import start

            start(
                self.service,
                self.surroundings.keys,
                self.surroundings.events_queue_url,
                self.surroundings.environment,
                self._spawn,
            )

    def _keep_traces(self) -> None:
        if self.config.traces is not None:
            from app.gateway.trace.export import attach
            from app.gateway.trace.tracer import Tracer

            self.service.tracer = tracer = Tracer(self.config.traces, self.service.metrics.registry)
            attach(tracer, self.config.colour, self.surroundings.trace_headers)

    def _keep_guards(self) -> None:
        if self.config.guards is not None:
            from app.gateway.guards.stage import Guards  # RE2 takes 5 MB

            key = self.surroundings.classifier_key
            self.service.guards = Guards(self.config.guards, self.service.metrics.registry, key=key)

    def _keep_jobs(self) -> None:
        place = self.surroundings.jobs
        if self.config.jobs is not None:
            if place is None:
                raise SettingsError("PENSTOCK_JOBS_BUCKET is not set, and `jobs` of the configuration needs it")
            from app.jobs.start import start  # botocore takes 15 MB

            start(self.service, self.config.jobs, place)

    def _keep_console(self) -> None:
        if self.config.console is not None:
            from app.gateway.console.start import start  # the page's files, and asyncpg

            start(self.service, self.surroundings, self._spawn)

    async def _open_inner_port(self, uvicorn_config: Any) -> None:
        """Where this gateway asks itself: open until the end, as what is under way in a drain still needs it."""
        service = self.service
        self._inner = await asyncio.get_running_loop().create_server(
            lambda: Connection(service, uvicorn_config), "127.0.0.1", 0, backlog=BACKLOG
        )
        url = f"http://127.0.0.1:{self._inner.sockets[0].getsockname()[1]}"
        if self.config.retrieval is not None:
            from app.retrieval.start import start

            start(service, self.config.retrieval, self.surroundings.keys, url)
            if service.retrieval is not None:
                self._spawn(service.retrieval.run())
        if service.pipelines is not None:
            service.pipelines.secret = None if self.surroundings.jobs is None else self.surroundings.jobs.secret
            service.pipelines.open(url)

    def _keep_limits(self, around: Surroundings) -> None:
        limiter = self.service.limiter
        limiter.link = link = Link(
            asyncio.get_running_loop(),
            around.cache_address,
            token=around.cache_token,
            tls=around.cache_tls,
            scripts=(scripts.ADMIT, scripts.SETTLE),
            on_change=limiter.changed,
        )
        self._spawn(link.run())
        self._spawn(limiter.keep_renewing())

    def _watch_pods(self) -> None:
        # Imported here: aiohttp takes 8 MB and 0.2 s that a gateway with fixed engines does not need.
        from app.gateway.watch import Api, PodWatch

        self._api = api = Api(self.surroundings.api_url, self.surroundings.credentials)
        for model in self.config.models:
            name = model.name
            gauge = self.service.metrics.watch_connected.labels(name)
            last: dict[str, bool | None] = {"connected": None}

            def connected(up: bool, reason: str, name: str = name, gauge: Any = gauge, last: Any = last) -> None:
                gauge.set(int(up))
                if last["connected"] is not up:
                    last["connected"] = up
                    self.log.event("watch", model=name, connected=up, reason=reason)

            def changed(sightings: Any, name: str = name) -> None:
                self.service.update_engines(name, sightings)

            watch = PodWatch(api, self.config.namespace, model.selector, model.port, changed, connected)
            self._spawn(watch.run())
        self._watch_the_other_colour(api)
        if self.config.peers is not None:
            self._watch_peers(api, self.config.peers)

    def _watch_the_other_colour(self, api: Api) -> None:
        """Its engines, where copies of requests go there. A watch that is lost shows with the peers' one, as both ask
        the same API server."""
        from app.gateway.watch import PodWatch

        shadow, config = self.service.shadow, self.config.shadow
        if shadow is None or config is None:
            return
        for target in config.targets:

            def changed(sightings: Any, model: str = target.model) -> None:
                shadow.update(model, sightings)

            watch = PodWatch(api, self.config.namespace, target.selector, target.port, changed, lambda *_: None)
            self._spawn(watch.run())

    def _watch_peers(self, api: Api, selector: str) -> None:
        """Counts the gateways that share the limits. While the API server is away the last count stays."""
        from app.gateway.watch import PodWatch

        def changed(sightings: Any) -> None:
            ready = sum(each.ready and not each.draining for each in sightings)
            self.service.limiter.share_among(max(1, ready))

        told: list[bool] = []

        def connected(up: bool, reason: str) -> None:
            if told[-1:] != [up]:
                told[:] = [up]
                self.log.event("watch", peers=selector, connected=up, reason=reason)

        self._spawn(PodWatch(api, self.config.namespace, selector, 0, changed, connected).run())

    async def _follow_keys(self, path: Path) -> None:
        """Takes over a changed key file within a second. An unusable one changes nothing, and shows in a metric."""
        seen = _version(path)
        while True:
            await asyncio.sleep(KEY_FILE_SECONDS)
            version = _version(path)
            if version == seen:
                continue
            seen = version
            try:
                keys = load_keys(path)
            except SettingsError as error:
                self.service.metrics.keys_valid.set(0)
                self.log.event("keys", valid=False, reason=str(error))
                continue
            self.service.keys.take_file(keys.keys, keys.admins)
            self.service.metrics.keys_valid.set(1)
            self.log.event("keys", valid=True, count=len(keys.keys))

    async def drain(self) -> None:
        """Not ready and closed to new connections at once; what is under way gets `drain_seconds`."""
        service, loop = self.service, asyncio.get_running_loop()
        service.draining = True
        self._server.close()
        if service.console is not None:
            service.console.close()
        for connection in service.connections():
            connection.shutdown()
        self.log.event("drain", in_flight=len(service.exchanges))
        begun = loop.time()
        idle_until = begun + min(IDLE_GRACE_SECONDS, self.config.drain_seconds)
        while (
            service.state.connections and loop.time() < begun + self.config.drain_seconds and not self._hurry.is_set()
        ):
            await asyncio.sleep(0.05)
            if loop.time() >= idle_until:
                for connection in service.connections():
                    connection.close_if_idle()
        cut = list(service.exchanges)
        for exchange in cut:
            exchange.stop()
        if service.state.connections:
            await asyncio.sleep(FLUSH_SECONDS)
        self.log.event("stopped", cut=len(cut))

    def hurry(self) -> None:
        """Ends a drain now."""
        self._hurry.set()

    async def stop(self) -> None:
        """Ends what is left. To be called after `drain`, or alone in tests."""
        self._server.close()
        if self.service.console is not None:
            await self.service.console.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.service.connections():
            connection.transport.abort()
        self.service.stop()
        if self._inner is not None:
            self._inner.close()
        if self.service.pipelines is not None:
            await self.service.pipelines.close()
        if self.service.jobs is not None:
            self.service.jobs.close()
        if self.service.retrieval is not None:
            await self.service.retrieval.close()
        if self.service.guards is not None:
            await self.service.guards.close()
        if self.service.tracer is not None and self.service.tracer.exporter is not None:
            await asyncio.to_thread(self.service.tracer.exporter.close)
        if self.service.ledger is not None:
            await self.service.ledger.close()
        if self._api is not None:
            await self._api.close()
        await asyncio.sleep(0)


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


async def run(gateway: Gateway, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends the drain. Raises OSError (cannot listen)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            gateway.hurry()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    bound = await gateway.start(host, port)
    gc.collect()
    gc.freeze()  # what start-up made stays: later collections need not look at it
    gc.collect()  # from now on what lives long is measured by what came later, and not by what start-up made
    gateway.log.event("listening", host=host, port=bound, colour=gateway.config.colour)
    await stop.wait()
    await gateway.drain()
    await gateway.stop()
