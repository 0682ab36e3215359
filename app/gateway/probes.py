"""Are the cache and the database there? A byte exchange every ten seconds, for the metric `penstock_dependency_up`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

PERIOD_SECONDS = 10.0
TIMEOUT_SECONDS = 2.0

SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
"""PostgreSQL's SSLRequest message: any server answers `S` or `N` and logs nothing."""


async def _exchange(address: str, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls)
    try:
        writer.write(request)
        return await reader.read(64)
    finally:
        writer.close()


async def cache_answers(address: str) -> bool:
    """Redis or Valkey: any reply to PING counts, a refusal too. Tries TLS where plain text gets no reply."""
    reply = b""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reply = await _exchange(address, b"PING\r\n")
    except (OSError, TimeoutError):
        pass  # the TLS attempt below decides
    if reply[:1] in (b"+", b"-"):
        return True
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return (await _exchange(address, b"PING\r\n", ssl.create_default_context()))[:1] in (b"+", b"-")
    except (OSError, TimeoutError, ValueError):
        return False


async def database_answers(address: str) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await _exchange(address, SSL_REQUEST) in (b"S", b"N")
    except (OSError, TimeoutError, ValueError):
        return False


async def watch_dependency(
    probe: Callable[[str], Awaitable[bool]],
    address: str,
    report: Callable[[bool], None],
    period: float = PERIOD_SECONDS,
) -> None:
    """Probes for ever and reports each result."""
    while True:
        report(await probe(address))
        await asyncio.sleep(period)
