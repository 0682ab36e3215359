"""Runs a worker: `python -m app.jobs`. It finds gateways by their pods, or takes those of --gateway.

Settings come from PENSTOCK_JOBS_BUCKET, _SECRET, _CONFIG and PENSTOCK_DATABASE_*, and AWS's own variables.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.gateway.log import Log
from app.gateway.settings import SettingsError
from app.jobs.config import JobsConfig
from app.jobs.settings import Place, read_config, read_place

if TYPE_CHECKING:
    from app.gateway.watch import Api

GATEWAY_PORT = 8080
SELECTOR = "app.kubernetes.io/name=gateway,app.kubernetes.io/part-of=penstock"


class Gateways:
    """The ready gateway pods, or fixed addresses."""

    def __init__(self, fixed: tuple[str, ...]) -> None:
        self._known: tuple[str, ...] = fixed
        self._api: Api | None = None

    def __call__(self) -> tuple[str, ...]:
        return self._known

    async def watch(self, namespace: str, log: Log) -> None:
        from app.gateway.watch import Api, PodWatch

        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        credentials = os.environ.get("KUBERNETES_CREDENTIALS") or "/var/run/secrets/kubernetes.io/serviceaccount"
        self._api = Api(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", Path(credentials))

        def changed(sightings: Any) -> None:
            self._known = tuple(f"http://{one.host}:{one.port}" for one in sightings if one.ready and not one.draining)

        def connected(up: bool, reason: str) -> None:
            log.event("watch", connected=up, reason=reason)

        await PodWatch(self._api, namespace, SELECTOR, GATEWAY_PORT, changed, connected).run()

    async def close(self) -> None:
        if self._api is not None:
            await self._api.close()


async def _run(
    config: JobsConfig, place: Place, fixed: tuple[str, ...], namespace: str, grace: float, listen: tuple[str, int]
) -> None:
    from app.jobs.health import Health, served
    from app.jobs.worker import Worker

    log = Log()
    gateways = Gateways(fixed)
    worker = Worker(config, place, gateways, log)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    watching = None if fixed else asyncio.ensure_future(gateways.watch(namespace, log))
    try:
        async with contextlib.AsyncExitStack() as told:
            try:
                port = await told.enter_async_context(served(Health(worker), *listen))
            except OSError as error:
                raise SettingsError(f"cannot listen at {listen[0]}:{listen[1]}: {error.strerror or error}") from error
            log.event("working", concurrency=config.concurrency, port=port)
            await worker.run(grace)
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await gateways.close()
        log.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.jobs", description=__doc__)
    parser.add_argument(
        "--gateway", action="append", default=[], help="a gateway, as http://HOST:PORT; may be repeated"
    )
    parser.add_argument("--namespace", default="", help="where gateway pods are watched, without --gateway")
    parser.add_argument("--grace", type=float, default=20.0, help="seconds for requests under way after SIGTERM")
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="for probes and metrics; port 0: a free one"
    )
    options = parser.parse_args(arguments)
    try:
        config, place = read_config(os.environ), read_place(os.environ)
        if not options.gateway and not (options.namespace and os.environ.get("KUBERNETES_SERVICE_HOST")):
            raise SettingsError("give --gateway, or --namespace in a Kubernetes pod")
        listen = _address(options.listen)
        fixed = tuple(one.rstrip("/") for one in options.gateway)
        asyncio.run(_run(config, place, fixed, options.namespace, options.grace, listen))
    except SettingsError as error:
        print(f"penstock jobs: {error}", file=sys.stderr)
        return 2
    return 0


def _address(given: str) -> tuple[str, int]:
    """Raises SettingsError."""
    host, _, port = given.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"--listen {given}: allowed is HOST:PORT, such as 0.0.0.0:8080")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
