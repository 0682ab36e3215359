"""`python -m infra.local.kubernetes.agent`: runs the node agent of the platform that the environment names."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from infra.local.kubernetes.agent.api import Api, Credentials
from infra.local.kubernetes.agent.aws import Aws
from infra.local.kubernetes.agent.events import Events
from infra.local.kubernetes.agent.identities import Identities, identity_environment
from infra.local.kubernetes.agent.kubelet import Kubelet, end_orphans
from infra.local.kubernetes.agent.nodes import Nodes, NodeServices
from infra.local.kubernetes.agent.options import Options
from infra.local.kubernetes.agent.pod import Services
from infra.local.kubernetes.agent.store import Store
from infra.local.kubernetes.agent.targets import BINDINGS, Targets
from infra.local.layout import Layout

log = logging.getLogger("agent")

DEFAULT_REGION = "eu-central-1"
RESTART_SECONDS = 1.0


async def run(layout: Layout, options: Options, region: str) -> None:
    """Runs until cancelled, then ends the pods' processes."""
    key = (
        os.environ.get("AWS_ACCESS_KEY_ID", "penstock-local"),
        os.environ.get("AWS_SECRET_ACCESS_KEY", "penstock-local"),
    )
    api = Api(Credentials.from_kubeconfig(layout.admin_kubeconfig), timeout_seconds=options.request_seconds)
    aws = Aws(layout.aws_url, region, key, timeout_seconds=options.request_seconds)
    events = Events(api)
    identities = Identities(aws, identity_environment(layout.aws_url, region, key))
    services = Services(api, events, layout, options, identities)
    end_orphans(services)

    nodes, pods = Store(api, "/api/v1/nodes"), Store(api, "/api/v1/pods", fieldSelector="spec.nodeName!=")
    config_maps, secrets = Store(api, "/api/v1/configmaps"), Store(api, "/api/v1/secrets")
    network, bindings = Store(api, "/api/v1/services"), Store(api, BINDINGS)
    kubelet = Kubelet(services, pods, config_maps, secrets)
    reconciler = Nodes(NodeServices(api, aws, events, layout, options), nodes, pods, kubelet)
    targets = Targets(api, aws, options, pods, network, bindings)

    work: dict[str, Callable[[], Awaitable[None]]] = {
        "events": events.run,
        "nodes": reconciler.run,
        "heartbeat": reconciler.heartbeat,
        "kubelet": kubelet.run,
        "watch-nodes": nodes.run,
        "watch-pods": pods.run,
        "watch-configmaps": config_maps.run,
        "watch-secrets": secrets.run,
        "watch-services": network.run,
        "watch-bindings": bindings.run,
    }
    log.info("agent.started state=%s region=%s", layout.state, region)
    try:
        async with asyncio.TaskGroup() as group:
            for name, loop in work.items():
                group.create_task(_kept_running(name, loop))
    finally:
        await targets.close()
        await kubelet.close()
        await api.close()
        await aws.close()
        log.info("agent.stopped")


async def _kept_running(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """A loop that fails in a way nobody foresaw is logged and begun anew; the others go on."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("loop.failed loop=%s", name)
        await asyncio.sleep(RESTART_SECONDS)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.local.kubernetes.agent", description=__doc__)
    parser.add_argument("--region", default=os.environ.get("AWS_REGION") or DEFAULT_REGION)
    parser.add_argument("--restart-backoff", type=float, metavar="SECONDS", help="base of the crash-loop back-off")
    parser.add_argument("--objects-only", action="store_true", help="report pods as running and start no process")
    parser.add_argument("--vllm", type=Path, metavar="FOLDER", help="run this real vLLM, not the simulated engine")
    given = parser.parse_args()
    options = Options(objects_only=given.objects_only, vllm=given.vllm)
    if given.restart_backoff is not None:
        options = dataclasses.replace(options, restart_base_seconds=given.restart_backoff)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    running = asyncio.ensure_future(run(Layout.from_environment(), options, given.region))
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        log.info("agent.ended")


if __name__ == "__main__":
    asyncio.run(main())
