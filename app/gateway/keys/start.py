"""Brings a gateway's sources of keys to life: the database and the issuer. What is not used is not imported."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.gateway.database.settings import Database
    from app.gateway.service import Service

Spawn = Callable[[Coroutine[Any, Any, None]], None]


def start(service: Service, database: Database | None, spawn: Spawn) -> None:
    if database is not None:
        from app.gateway.keys.admin import Admin
        from app.gateway.keys.follower import Follower  # asyncpg takes 4 MB
        from app.gateway.keys.metrics import KeyMetrics

        ring, limiter = service.keys, service.limiter

        def tenants_changed() -> None:
            limiter.take_tenants(
                {name: tenant.limits for name, tenant in ring.tenants.items() if tenant.limits is not None}
            )

        metrics = KeyMetrics(service.metrics.registry, ring)
        service.key_follower = follower = Follower(database, ring, metrics, service.log, tenants_changed)
        service.admin = Admin(service, database)
        spawn(follower.run())
    if service.config.jwt is not None:
        from app.gateway.keys.tokens import Tokens  # joserfc and cryptography take 20 MB

        service.keys.tokens = tokens = Tokens(service.config.jwt, service.metrics.registry, service.log)
        spawn(tokens.run())
