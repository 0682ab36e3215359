"""Builds the caches of a gateway from its settings and surroundings."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from app.gateway.cache.answers import Answers
from app.gateway.cache.metrics import CacheMetrics
from app.gateway.limits.link import Link

if TYPE_CHECKING:
    from app.gateway.service import Service
    from app.gateway.surroundings import Surroundings


def start(service: Service, around: Surroundings) -> list[Coroutine[Any, Any, None]]:
    """Gives the service its caches; returns what is to run beside the requests."""
    config, log = service.config, service.log.event
    metrics = CacheMetrics(service.metrics.registry, service.targets)
    service.cache = service.last_answers = answers = Answers(config, metrics, service.loop.call_soon)
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
    semantic = config.cache.semantic_cache
    database = around.keys
    if semantic is not None and database is not None:
        # Imported here: asyncpg's memory and start-up time are for those who use it.
        from app.gateway.cache.embed import Embedder
        from app.gateway.cache.semantic import Semantic

        target = service.by_name[semantic.model]
        revision = config.cache.revisions.get(target.route.name, config.colour)
        embedder = Embedder(service.client, target, revision)
        answers.semantic = Semantic(semantic, database, embedder, metrics, log)
        work += [answers.semantic.read(), answers.semantic.write()]
    elif semantic is not None:
        log("semantic_cache", connected=False, reason="PENSTOCK_DATABASE_USER is not set")
    return work
