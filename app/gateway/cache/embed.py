"""Asks an engine of this gateway for the embedding of a text, outside any client's request."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from app.gateway.cache.question import read_embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.gateway.choose import Engine
    from app.gateway.client import Client, Connection, Sink
    from app.gateway.service import Target

MOST_BYTES = 1024 * 1024


class EmbedError(Exception):
    """No embedding came. The message says why."""


class _Answer:
    """Collects one reply."""

    def __init__(self, result: asyncio.Future[bytes]) -> None:
        self.result = result
        self.connection: Connection | None = None
        self._status = 0
        self._parts: list[bytes] = []
        self._size = 0

    def _fail(self, reason: str) -> None:
        if not self.result.done():
            self.result.set_exception(EmbedError(reason))

    def upstream_connected(self, connection: Connection) -> None:
        self.connection = connection

    def upstream_unreachable(self, error: OSError) -> None:
        self._fail(f"the engine cannot be reached: {error.strerror or error}")

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status

    def upstream_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MOST_BYTES:
            connection, self.connection = self.connection, None
            if connection is not None:
                connection.abort()
            self._fail("the reply is too long")
        else:
            self._parts.append(data)

    def upstream_end(self) -> None:
        self.connection = None
        if self._status != 200:
            self._fail(f"the engine answered with status {self._status}")
        elif not self.result.done():
            self.result.set_result(b"".join(self._parts))

    def upstream_lost(self, *, stale: bool) -> None:
        self.connection = None
        self._fail("the connection broke")

    def upstream_fault(self, error: Exception) -> None:
        self.connection = None
        self._fail(f"the gateway failed: {type(error).__name__}")


class Embedder:
    def __init__(self, client: Client, target: Target, revision: str) -> None:
        """`revision`: of the engines and weights, where an own model makes the vectors."""
        self._client = client
        self._target = target
        self._model = target.route.name
        outside = target.outside
        made_by = revision if outside is None else outside.models[self._model].upstream
        self.vectors = f"{self._model}:{made_by}"
        """Who makes them: those of another model are not to be compared with them, though it has the same name here."""

    async def embed(self, text: str) -> list[float]:
        """Raises EmbedError. To be called with a time limit; cancelling it closes the engine's connection."""
        found = read_embedding(await self._reply(text))
        if found is None:
            raise EmbedError("the reply holds no embedding")
        return found

    async def _reply(self, text: str) -> bytes:
        outside = self._target.outside
        body = msgspec.json.encode({"model": self._model, "input": text})
        if outside is not None:
            from app.gateway.providers.asking import CallError, ask_bedrock, ask_compatible

            try:
                if outside.provider.kind == "bedrock":
                    return await ask_bedrock(outside, self._model, text)
                return await _ask(
                    outside.client, outside.engine, lambda sink: ask_compatible(outside, self._model, body, sink)
                )
            except CallError as error:
                raise EmbedError(str(error)) from None
        engine = self._target.pool.choose(monotonic())
        if engine is None:
            raise EmbedError("no engine is ready")
        head = (
            b"POST /v1/embeddings HTTP/1.1\r\nhost: %b:%d\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % (engine.host.encode(), engine.port, len(body))
        )
        return await _ask(self._client, engine, lambda sink: self._client.send(engine, sink, head, body))


async def _ask(client: Client, engine: Engine, send: Callable[[Sink], None]) -> bytes:
    sink = _Answer(asyncio.get_running_loop().create_future())
    engine.in_flight += 1
    try:
        send(sink)
        return await sink.result
    finally:
        engine.in_flight -= 1
        if sink.connection is not None:
            sink.connection.abort()
        else:
            client.cancel_connect(sink)
