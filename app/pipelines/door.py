"""How a step asks this gateway itself: over HTTP at its inner port.

So limits, prices, guards, caches, routes, retries, the ledger and traces hold as for any request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.errors import Problem, Refused, retry_after

if TYPE_CHECKING:
    import aiohttp

MOST_REPLY_BYTES = 32 * 1024 * 1024
MOST_EVENT_BYTES = 1024 * 1024
BROKE = Problem(502, "the answer broke off; the request may be sent again", "upstream_interrupted")
AWAY = Problem(503, "this gateway takes no requests now; try again in 2 s", "draining", headers=retry_after())
_KEPT = ("retry-after", "x-should-retry")


class Door:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp  # 8 MB and 0.2 s that a gateway without pipelines does not need

            # A connection for each request: while the gateway drains, it closes those that are idle.
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, connect=2),
                read_bufsize=256 * 1024,
            )
        return self._session

    async def ask(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """A whole reply. Raises Refused with the refusal as it was."""
        import aiohttp

        try:
            async with self._opened().post(self._url, data=msgspec.json.encode(body), headers=headers) as reply:
                content = await reply.content.read(MOST_REPLY_BYTES)
                if reply.status == 200 and not reply.content.at_eof():
                    content += await reply.read()
        except aiohttp.ClientConnectorError:
            raise Refused(AWAY) from None
        except aiohttp.ClientError:
            raise Refused(BROKE) from None
        if reply.status != 200:
            raise refusal(reply.status, content, reply.headers)
        try:
            found = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused(BROKE) from None
        if not isinstance(found, dict):
            raise Refused(BROKE)
        return found

    async def stream(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncGenerator[dict[str, Any]]:
        """The events of a stream, without the last one. Raises Refused, also for an event that tells an error."""
        import aiohttp

        rest, ended = b"", False
        try:
            async with self._opened().post(self._url, data=msgspec.json.encode(body), headers=headers) as reply:
                if reply.status != 200 or not reply.headers.get("content-type", "").startswith("text/event-stream"):
                    raise refusal(reply.status, await reply.content.read(MOST_EVENT_BYTES), reply.headers)
                async for part in reply.content.iter_any():
                    rest += part
                    if len(rest) > MOST_EVENT_BYTES:
                        raise Refused(BROKE)
                    *events, rest = rest.split(b"\n\n")
                    for event in events:
                        if event == b"data: [DONE]":
                            ended = True
                        elif event.startswith(b"data: "):
                            yield _read(event[6:])
        except aiohttp.ClientConnectorError:
            raise Refused(AWAY) from None
        except aiohttp.ClientError:
            raise Refused(BROKE) from None
        if not ended:
            raise Refused(BROKE)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _read(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(BROKE) from None
    if not isinstance(found, dict):
        raise Refused(BROKE)
    if isinstance(found.get("error"), dict):
        raise Refused(_problem(502, found["error"], ()))
    return found


def refusal(status: int, content: bytes, headers: Mapping[str, str]) -> Refused:
    """A refusal of this gateway's own door."""
    try:
        error = msgspec.json.decode(content)["error"]
        error["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, RecursionError):
        error = {"message": f"it was answered with status {status}"}
    kept = tuple((name.encode(), headers[name].encode("latin-1", "replace")) for name in _KEPT if name in headers)
    return Refused(_problem(status if status >= 400 else 502, error, kept))


def _problem(status: int, error: Mapping[str, Any], headers: tuple[tuple[bytes, bytes], ...]) -> Problem:
    code, kind = error.get("code"), error.get("type")
    return Problem(
        status,
        str(error.get("message", ""))[:1000],
        code if isinstance(code, str) else None,
        type=kind if isinstance(kind, str) else None,
        headers=headers,
    )
