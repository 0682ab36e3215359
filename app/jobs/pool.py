"""A few connections to the database that are used again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import asyncpg

from app.gateway.database.connection import connect
from app.gateway.database.settings import Database


class Pool:
    def __init__(self, database: Database, application: str, most: int = 4) -> None:
        self._database = database
        self._application = application
        self._places = asyncio.Semaphore(most)
        self._idle: list[asyncpg.Connection] = []

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncGenerator[asyncpg.Connection]:
        """Raises FAILURES. A connection in which something went wrong is not used again."""
        async with self._places:
            found = None
            while self._idle and found is None:
                one = self._idle.pop()
                if not one.is_closed():
                    found = one
            if found is None:
                found = await connect(self._database, self._application)
            try:
                yield found
            except BaseException:
                found.terminate()
                raise
            self._idle.append(found)

    def close(self) -> None:
        for one in self._idle:
            one.terminate()
        self._idle.clear()
