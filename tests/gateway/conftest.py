"""These tests run on uvloop, as the gateway does. Redis is one server for a file, empty for each test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop

from tests.gateway.real_postgres import as_owner, empty_database, postgres, proxy
from tests.gateway.redis_fixtures import redis, shared_redis

__all__ = ["as_owner", "empty_database", "postgres", "proxy", "redis", "shared_redis"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
