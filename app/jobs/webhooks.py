"""Messages about finished work, in the Standard Webhooks format, to addresses that are safe to call.

A target is called over HTTPS at a public address. Its name is resolved once, each address is judged, and the connection
goes to the very address that was judged: a name that changes its mind in between gains nothing. Redirects are not
followed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.jobs.config import WebhookRules

LONGEST_URL = 2000
WAITS_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Before the second try, the third, and so on: the schedule that the Standard Webhooks specification recommends."""
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_SIX_TO_FOUR = ip_network("2002::/16")


class UnsafeError(OSError):
    """The address may not be called."""


def secret_of(secret: bytes, tenant: str) -> bytes:
    """What a tenant's messages are signed with. Derived, so that it is kept nowhere."""
    return hmac.digest(secret, b"webhook:" + tenant.encode(), hashlib.sha256)


def shown_secret(secret: bytes, tenant: str) -> str:
    return "whsec_" + base64.b64encode(secret_of(secret, tenant)).decode()


def sign(secret: bytes, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message (https://www.standardwebhooks.com)."""
    signed = f"{identity}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def allowed(address: IPv4Address | IPv6Address, rules: WebhookRules) -> bool:
    """Public, or in a network that the operator named."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif any(address in network for network in _NAT64):
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        elif address in _SIX_TO_FOUR and address.sixtofour is not None:
            address = address.sixtofour
    if private(address, rules):
        return True
    return address.is_global and not address.is_multicast and not address.is_reserved


def private(address: IPv4Address | IPv6Address, rules: WebhookRules) -> bool:
    return any(address.version == network.version and address in network for network in rules.networks)


def problem_of(url: str, rules: WebhookRules) -> str:
    """What is wrong with a target, as far as its text tells; empty where nothing is."""
    if len(url) > LONGEST_URL or not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        return f"it must have at most {LONGEST_URL} visible ASCII characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is not a URL"
    if parts.username is not None or parts.password is not None:
        return "it must not have a user name or a password"
    if not parts.hostname or port == 0:
        return "it has no host, or a wrong port"
    if parts.scheme != "https" and not (parts.scheme == "http" and rules.networks):
        return "it must begin with https://"
    try:
        address = ip_address(parts.hostname)
    except ValueError:
        return ""
    return "" if allowed(address, rules) else "this address is not public"


class Pinned(AbstractResolver):
    """Resolves a name to the addresses that may be called, and no other."""

    def __init__(self, rules: WebhookRules, *, plain: bool) -> None:
        self._rules = rules
        self._plain = plain
        """Over HTTP: then only what the operator named."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises UnsafeError where one of the addresses may not be called: such a name is not to be trusted at all."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, where in found:
            address = ip_address(str(where[0]).partition("%")[0])
            if not allowed(address, self._rules) or (self._plain and not private(address, self._rules)):
                raise UnsafeError(f"{host} has an address that may not be called")
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address),
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return results

    async def close(self) -> None:
        pass


async def deliver(url: str, identity: str, body: bytes, secret: bytes, rules: WebhookRules) -> tuple[bool, str]:
    """One try. Whether the message needs no other one, and what happened, in a word for the operator."""
    if problem := problem_of(url, rules):
        return True, f"refused: {problem}"
    # aiohttp does not ask a resolver about an address given as such: `problem_of` has judged that one.
    plain = urlsplit(url).scheme == "http"
    if plain and not named(url, rules):
        return True, "refused: over http only named networks may be called"
    connector = aiohttp.TCPConnector(resolver=Pinned(rules, plain=plain), use_dns_cache=False, limit=1)
    limit = aiohttp.ClientTimeout(total=rules.timeout_seconds)
    headers: dict[str, Any] = sign(secret, identity, int(time.time()), body)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit, trust_env=False) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            # 410: the receiver wants no more of them.
            return 200 <= response.status < 300 or response.status == 410, str(response.status)
    except UnsafeError:
        return True, "refused: the address is not public"
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        if isinstance(error.__cause__, UnsafeError) or isinstance(getattr(error, "os_error", None), UnsafeError):
            return True, "refused: the address is not public"
        return False, type(error).__name__


def named(url: str, rules: WebhookRules) -> bool:
    """Whether a host given as an address is in a network that the operator named. A name is judged when it resolves."""
    try:
        return private(ip_address(urlsplit(url).hostname or ""), rules)
    except ValueError:
        return True  # a name: the resolver judges it
