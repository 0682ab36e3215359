"""A client of the Kubernetes API, as small as the agent needs it: JSON in, JSON out, one kind of error."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

Json = dict[str, Any]
"""A decoded object."""


class ApiError(Exception):
    """A refused or failed request. `status` is the HTTP status, 0 where no answer came."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status or 'no answer'} {reason}: {message}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Credentials:
    """Where the API server is and how to speak to it."""

    server: str
    token: str
    tls: ssl.SSLContext | None

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Credentials:
        """Reads the current context: server, CA (data or file) and a static token. Raises KeyError where one lacks."""
        content = yaml.safe_load(path.read_text())
        named = {kind: {e["name"]: e for e in content[kind]} for kind in ("contexts", "clusters", "users")}
        context = named["contexts"][content["current-context"]]["context"]
        cluster = named["clusters"][context["cluster"]]["cluster"]
        user = named["users"][context["user"]]["user"]
        return cls(cluster["server"].rstrip("/"), user["token"], _tls(cluster, path.parent))


def _tls(cluster: Mapping[str, Any], folder: Path) -> ssl.SSLContext | None:
    if cluster["server"].startswith("http://"):
        return None
    if data := cluster.get("certificate-authority-data"):
        return ssl.create_default_context(cadata=base64.b64decode(data).decode())
    return ssl.create_default_context(cafile=str(folder / cluster["certificate-authority"]))


class Api:
    """Requests to one API server. Bounded: at most `concurrency` at a time, each with a time-out."""

    def __init__(self, credentials: Credentials, *, timeout_seconds: float = 10.0, concurrency: int = 24) -> None:
        self._base = credentials.server
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._slots = asyncio.Semaphore(concurrency)
        connector = aiohttp.TCPConnector(ssl=credentials.tls or True, limit=0, keepalive_timeout=30)
        headers = {"Authorization": f"Bearer {credentials.token}", "User-Agent": "penstock-node-agent"}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers)

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """One request. Raises ApiError for every failure."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type} if data is not None else None
        try:
            async with (
                self._slots,
                self._session.request(
                    method, self._base + path, data=data, headers=headers, params=query, timeout=self._timeout
                ) as reply,
            ):
                return _checked(reply.status, await reply.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, type(error).__name__, str(error) or f"{method} {path}") from error

    async def get(self, path: str, **query: str) -> Json:
        return await self.request("GET", path, query=query)

    async def post(self, path: str, body: Json) -> Json:
        return await self.request("POST", path, body)

    async def patch(self, path: str, body: Json, content_type: str = MERGE) -> Json:
        return await self.request("PATCH", path, body, content_type=content_type)

    async def delete(self, path: str, body: Json | None = None) -> Json:
        return await self.request("DELETE", path, body)

    @asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[AsyncIterator[Json]]:
        """An open watch as a stream of events. Bookmarks come each minute, so 90 s of silence are a failure."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
        try:
            async with self._session.get(
                self._base + path, params={**query, "watch": "true"}, timeout=timeout
            ) as reply:
                if reply.status != 200:
                    _checked(reply.status, await reply.read())
                yield _lines(reply.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, type(error).__name__, str(error) or f"watch {path}") from error


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[Json]:
    """JSON documents, one a line; aiohttp's own line reader is bounded below the size of a ConfigMap."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _checked(status: int, raw: bytes) -> Json:
    try:
        content = json.loads(raw) if raw else {}
    except ValueError:
        content = {"message": raw[:200].decode(errors="replace")}
    if status >= 400:
        raise ApiError(status, str(content.get("reason") or "Error"), str(content.get("message") or ""))
    return content
