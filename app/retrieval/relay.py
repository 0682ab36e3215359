"""Sends a grounded chat through this gateway's own door and relays the answer, with its citations."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from app.gateway.errors import Problem, Refused
from app.retrieval.embed import AWAY
from app.retrieval.ground import citations_event, with_citations

if TYPE_CHECKING:
    import aiohttp

    from app.retrieval.embed import Door

PASSED = ("content-type", "retry-after", "x-request-id", "x-should-retry")
"""Headers of the answer that the client gets, beside x-penstock-* and x-ratelimit-*."""
PREFIXES = ("x-penstock-", "x-ratelimit-")
BROKE = Problem(502, "The answer broke off. The request may be sent again.", "upstream_interrupted")

Headers = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Relay:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def chat(
        self,
        body: bytes,
        cited: list[dict[str, Any]],
        model: str,
        *,
        stream: bool,
        authorization: bytes,
        receive: Receive,
        send: Send,
        more: Headers,
    ) -> int:
        """The status. Raises Refused before the first byte of a reply. Where the client leaves, the engine stops."""
        work = asyncio.ensure_future(self._chat(body, cited, model, stream, authorization, send, more))
        gone = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else 499
        finally:
            for task in (work, gone):
                task.cancel()
            for task in (work, gone):
                with contextlib.suppress(asyncio.CancelledError, Refused):
                    await task

    async def _chat(
        self,
        body: bytes,
        cited: list[dict[str, Any]],
        model: str,
        stream: bool,
        authorization: bytes,
        send: Send,
        more: Headers,
    ) -> int:
        import aiohttp

        headers = {"authorization": authorization.decode("latin-1"), "content-type": "application/json"}
        url = f"{self._door.url}/v1/chat/completions"
        try:
            async with self._door.session().post(url, data=body, headers=headers) as reply:
                events = reply.headers.get("content-type", "").startswith("text/event-stream")
                passed = _headers(reply, cited, more)
                if stream and events:
                    return await self._stream(reply, citations_event(model, cited, int(time.time())), passed, send)
                content = await reply.read()
        except aiohttp.ClientConnectorError:
            raise Refused(AWAY) from None
        except aiohttp.ClientError:
            raise Refused(BROKE) from None
        if reply.status == 200:
            content = with_citations(content, cited)
        passed.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": passed})
        await send({"type": "http.response.body", "body": content})
        return reply.status

    async def _stream(self, reply: aiohttp.ClientResponse, first: bytes, headers: Headers, send: Send) -> int:
        import aiohttp

        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        try:
            async for part in reply.content.iter_any():
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except aiohttp.ClientError:
            event = b"data: " + BROKE.body() + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return reply.status


async def _left(receive: Receive) -> None:
    """Returns when the client has."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(reply: aiohttp.ClientResponse, cited: list[dict[str, Any]], more: Headers) -> Headers:
    found = [
        (name.lower().encode(), value.encode("latin-1", "replace"))
        for name, value in reply.headers.items()
        if name.lower() in PASSED or name.lower().startswith(PREFIXES)
    ]
    own = {name for name, _ in found}
    return [
        *found,
        *((name, value) for name, value in more if name not in own),
        (b"x-penstock-citations", str(len(cited)).encode()),
    ]
