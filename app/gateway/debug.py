"""What a gateway is at, for its operator: GET /debug with an admin key. Bounded; no keys, prompts or answers."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.gateway.service import Service

MOST_ENGINES = 200
MOST_REQUESTS = 100


def snapshot(service: Service) -> dict[str, Any]:
    """As of now. Seconds are ages."""
    now = monotonic()
    oldest = sorted(service.exchanges, key=lambda one: one.started_at)[:MOST_REQUESTS]
    link, ledger, follower, tokens = service.limiter.link, service.ledger, service.key_follower, service.keys.tokens
    return {
        "colour": service.config.colour,
        "uptime_seconds": int(time.time()) - service.started_at,
        "draining": service.draining,
        "connections": len(service.connections()),
        "models": {
            name: {
                "in_flight": target.in_flight,
                "listed": target.listed,
                "engines": [
                    {"name": engine.name, "zone": engine.zone, "state": engine.state, "in_flight": engine.in_flight}
                    for engine in list(target.pool.engines.values())[:MOST_ENGINES]
                ],
                "engines_left_out": max(0, len(target.pool.engines) - MOST_ENGINES),
            }
            for name, target in service.targets.items()
        },
        "requests": [
            {
                "request_id": one.request_id.decode("ascii"),
                "route": one.route,
                "model": None if one.target is None else one.target.route.name,
                "key": None if one.key is None else one.key.id,
                "seconds": round(now - one.started_at, 3),
                "tries": one.tries,
                "engine": None if one.attempt is None else one.attempt.engine.name,
            }
            for one in oldest
        ],
        "requests_left_out": max(0, len(service.exchanges) - MOST_REQUESTS),
        "limits": {
            "redis": None if link is None else link.up,
            "held": len(service.limiter.held),
        },
        "keys": {
            "all": len(service.keys),
            "database": None if follower is None else follower.state(),
            "tokens": None if tokens is None else tokens.state(),
        },
        "ledger": None if ledger is None else {"spooled_rows": ledger.spool.rows},
        "tasks": dict(
            Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks()).most_common(50)
        ),
        "garbage": {"counts": gc.get_count(), "frozen": gc.get_freeze_count()},
    }
