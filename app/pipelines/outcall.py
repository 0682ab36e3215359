"""Posts a text to a host that the operator named: HTTPS, judged addresses, no redirects, bounded, signed.

The judging of addresses and the signature are those of webhooks (app/jobs/webhooks.py): the name is resolved once, and
the connection goes to the very address that was judged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

import aiohttp
import msgspec

from app.jobs.config import WebhookRules
from app.jobs.webhooks import Pinned, UnsafeError, named, problem_of, sign

SECRET_LABEL = b"pipeline call out:"


class CallOutError(Exception):
    """What went wrong, in a sentence for client and operator; without the host's own words."""


def secret_of(base: bytes, host: str) -> bytes:
    """Each host has a secret of its own, so that none of them can sign for another."""
    return hmac.digest(base, SECRET_LABEL + host.encode(), hashlib.sha256)


def shown(secret: bytes) -> str:
    """As libraries of Standard Webhooks take it."""
    return "whsec_" + base64.b64encode(secret).decode()


async def call_out(
    url: str,
    identity: str,
    content: dict[str, object],
    base: bytes,
    networks: Sequence[IPv4Network | IPv6Network],
    max_bytes: int,
) -> str:
    """The reply's text. `identity`: the message's id, the same when it is sent again. Raises CallOutError."""
    rules = WebhookRules(networks=tuple(networks))
    if told := problem_of(url, rules):
        raise CallOutError(f"its address is refused: {told}")
    parts = urlsplit(url)
    plain = parts.scheme == "http"
    if plain and not named(url, rules):
        raise CallOutError("its address is refused: over http only named networks may be called")
    body = msgspec.json.encode(content)
    headers = sign(secret_of(base, parts.hostname or ""), identity, int(time.time()), body)
    connector = aiohttp.TCPConnector(resolver=Pinned(rules, plain=plain), use_dns_cache=False, limit=1)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=False) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as reply,
        ):
            if reply.status != 200:
                raise CallOutError(f"its host answered with status {reply.status}")
            found = bytearray()
            async for part in reply.content.iter_chunked(16 * 1024):
                found += part
                if len(found) > max_bytes:
                    raise CallOutError(f"its host's reply has more than {max_bytes} bytes")
    except (aiohttp.ClientError, OSError) as error:
        if _unsafe(error):
            raise CallOutError("its host has an address that may not be called") from None
        raise CallOutError(f"its host could not be reached ({type(error).__name__})") from None
    return found.decode("utf-8", "replace")


def _unsafe(error: BaseException) -> bool:
    return any(isinstance(one, UnsafeError) for one in (error, error.__cause__, getattr(error, "os_error", None)))
