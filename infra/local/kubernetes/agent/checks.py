"""What a probe or a lifecycle hook does: ask over HTTP, open a socket, run a command, sleep."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infra.local.kubernetes.agent.api import Json

BODY_LIMIT = 10 * 1024
"""Bytes of a reply that are read for courtesy (kubelet's own limit)."""

Exec = Callable[[list[str]], Awaitable[int]]
"""Runs a command as the container would; returns its exit code."""


@dataclass(frozen=True)
class Outcome:
    passed: bool
    message: str


async def check(action: Json, address: str, ports: dict[str, int], run: Exec, timeout_seconds: float) -> Outcome:
    """Runs one httpGet, tcpSocket, exec or sleep action. Never raises for what the action meets."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _act(action, address, ports, run)
    except TimeoutError:
        return Outcome(False, f"no answer within {timeout_seconds:g} s")
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        return Outcome(False, f"{type(error).__name__}: {error}")


async def _act(action: Json, address: str, ports: dict[str, int], run: Exec) -> Outcome:
    if http := action.get("httpGet"):
        return await _http_get(http, http.get("host") or address, port_number(http["port"], ports))
    if tcp := action.get("tcpSocket"):
        port = port_number(tcp["port"], ports)
        _, writer = await asyncio.open_connection(tcp.get("host") or address, port)
        writer.close()
        return Outcome(True, f"connected to port {port}")
    if command := action.get("exec"):
        code = await run(list(command["command"]))
        return Outcome(code == 0, f"command ended with exit code {code}")
    if sleep := action.get("sleep"):
        await asyncio.sleep(float(sleep["seconds"]))
        return Outcome(True, "slept")
    return Outcome(False, f"no known action among {', '.join(sorted(action))}")


def port_number(port: int | str, ports: dict[str, int]) -> int:
    """A port given as number or by a container port's name. Raises ValueError for an unknown name."""
    if isinstance(port, int):
        return port
    if port in ports:
        return ports[port]
    if port.isdigit():
        return int(port)
    raise ValueError(f"no container port is named {port!r}; named: {', '.join(sorted(ports)) or 'none'}")


async def _http_get(http: Json, host: str, port: int) -> Outcome:
    """HTTP/1.1 by hand: many short requests a second, of which only the status matters. 200 to 399 passes."""
    path = http.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*"}
    headers |= {h["name"]: h["value"] for h in http.get("httpHeaders") or ()} | {"Connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    tls = _unverified() if http.get("scheme") == "HTTPS" else None
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        status_line = (await reader.readline()).decode(errors="replace").strip()
        parts = status_line.split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/") or not parts[1].isdigit():
            return Outcome(False, f"no HTTP answer: {status_line[:80]!r}")
        await reader.read(BODY_LIMIT)
        return Outcome(200 <= int(parts[1]) < 400, f"HTTP probe failed with statuscode: {parts[1]}")
    finally:
        writer.close()


def _unverified() -> ssl.SSLContext:
    """Probes over HTTPS skip verification, as kubelet's do."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
