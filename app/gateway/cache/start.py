"""Builds the caches of a gateway from its settings and surroundings."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from app.gateway.cache.answers import Answers
from app.gateway.cache.metrics import CacheMetrics
from app.gateway.limits.link import Link

if TYPE_CHECKING:
    from app.gateway.server import Surroundings
    from app.gateway.service import Service


def start(service: Service, around: Surroundings) -> list[Coroutine[Any, Any, None]]:
    """Gives the service its caches; returns what is to run beside the requests."""
    config, log = service.config, service.log.event
    metrics = CacheMetrics(service.metrics.registry, service.targets)
    service.cache = answers = Answers(config, metrics, service.loop.call_soon)
    work: list[Coroutine[Any, Any, None]] = []
    if around.cache_address:

        def changed(up: bool, reason: str) -> None:
            store.changed(up, reason)

        # A connection of its own: a large answer that is slow must not hold up, or end, a check of limits.
        link = Link(
            asyncio.get_running_loop(),
            around.cache_address,
            token=around.cache_token,
            tls=around.cache_tls,
            on_change=changed,
            answer_seconds=config.cache.lookup_seconds,
        )
        store = answers.connect(link, log)
        work += [link.run(), store.keep_looking()]
    else:
        log("cache", usable=False, reason="PENSTOCK_CACHE_ADDRESS is not set")
    return work
