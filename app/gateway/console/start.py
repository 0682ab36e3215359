"""Brings the console to life in a gateway. Imported only where it is configured."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from app.gateway.console.desk import Desk
from app.gateway.console.fleet import Exchange
from app.gateway.console.snapshot import MOST_ERRORS, Snapshot, take
from app.gateway.console.web import Console
from app.gateway.settings import SettingsError

if TYPE_CHECKING:
    from app.gateway.server import Surroundings
    from app.gateway.service import Service


def start(service: Service, around: Surroundings, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Raises SettingsError."""
    config = service.config.console
    if config is None:
        return
    if around.keys is None:
        raise SettingsError(
            "console: sign-ins and releases are kept in the database: set PENSTOCK_KEYS_DATABASE and "
            "PENSTOCK_DATABASE_ADDRESS, or leave `console` out"
        )
    identity = os.urandom(8).hex()
    name = around.environment.get("POD_NAME") or f"gateway-{identity[:6]}"
    service.recent = deque(maxlen=MOST_ERRORS)

    def own() -> Snapshot:
        viewers = 0 if service.console is None else service.console.broadcast.viewers
        return take(service, identity, name, around.zone, viewers)

    exchange = Exchange(service.loop, own, service.log, around.cache_address, around.cache_token, tls=around.cache_tls)
    desk = Desk(around.keys, service.keys, service.log)
    service.console = Console(service, config, desk, exchange)
    spawn(desk.prepare())
    spawn(exchange.run())
