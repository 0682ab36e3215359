"""The gateway's address and key, and requests to it with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from infra.ops.errors import NotRunningError, PenstockError

CONNECT_SECONDS = 5.0
READ_SECONDS = 120.0
"""Longest silence before or inside an answer."""
READY_SECONDS = 60.0
NOT_LET_IN = '{"error":{"message":"Not found.","type":"not_found","param":null,"code":404}}'
"""The load balancer's own answer to what no rule takes (components/edge.py); a gateway's 404 has other words."""


@dataclass(frozen=True)
class Endpoint:
    """`url` has no path; `key` is shown in `repr` nowhere."""

    url: str
    key: str = field(repr=False)
    models: tuple[str, ...] = ()

    @property
    def base_url(self) -> str:
        """What OpenAI clients take."""
        return f"{self.url}/v1"

    def as_dict(self) -> dict[str, Any]:
        return {"gateway_url": self.url, "base_url": self.base_url, "api_key": self.key, "models": list(self.models)}


class GatewayError(PenstockError):
    """The gateway refused a request or broke an answer off. `status` is None where there was no answer."""

    def __init__(self, cause: str, next_step: str = "", *, status: int | None = None) -> None:
        super().__init__(cause, next_step)
        self.status = status


def from_outputs(outputs: Mapping[str, Any]) -> Endpoint:
    """From a stack's outputs. Raises NotRunningError where the stack is not deployed."""
    missing = [name for name in ("gatewayUrl", "apiKey") if not outputs.get(name)]
    if missing:
        raise NotRunningError(
            f"The stack has no output {' or '.join(missing)}: it is not deployed.", "Run `penstock up`."
        )
    models = outputs.get("models") or []
    return Endpoint(normalised(outputs["gatewayUrl"]), outputs["apiKey"], tuple(models))


def normalised(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")


@contextmanager
def request(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    read_seconds: float = READ_SECONDS,
    headers: Mapping[str, str] | None = None,
) -> Generator[http.client.HTTPResponse]:
    """One request; the answer can be read while it arrives. Raises GatewayError for what is not 2xx."""
    address = urllib.parse.urlsplit(endpoint.url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=CONNECT_SECONDS)
    try:
        try:
            connection.connect()
            connection.sock.settimeout(read_seconds)
            connection.request(
                method,
                path,
                json.dumps(body) if body is not None else None,
                {"Authorization": f"Bearer {endpoint.key}", "Content-Type": "application/json", **(headers or {})},
            )
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise GatewayError(
                f"The gateway at {endpoint.url} did not answer: {error or type(error).__name__}.",
                "See `penstock status`.",
            ) from None
        if not 200 <= response.status < 300:
            reason, refusal = _reason(response)
            if path.startswith("/admin/") and refusal == NOT_LET_IN:
                raise GatewayError(
                    f"The load balancer at {endpoint.url} lets nobody of this network to the admin API: it is not in "
                    "edge.adminCidrs.",
                    "Put your range there and deploy, or ask a gateway from inside: `kubectl -n NAMESPACE port-forward "
                    "deploy/gateway-blue 8080:8080`, then PENSTOCK_ADMIN_KEY and --url http://127.0.0.1:8080.",
                    status=response.status,
                )
            raise GatewayError(f"The gateway answered {response.status}: {reason}", status=response.status)
        yield response
    finally:
        connection.close()


def list_models(endpoint: Endpoint) -> tuple[str, ...]:
    """The models that the gateway serves. Raises GatewayError."""
    return tuple(context_tokens(endpoint))


def context_tokens(endpoint: Endpoint) -> dict[str, int | None]:
    """The models that the gateway serves, with the tokens that the context of each holds, where it is known.

    Raises GatewayError.
    """
    with request(endpoint, "GET", "/v1/models", read_seconds=CONNECT_SECONDS) as response:
        try:
            return {entry["id"]: entry.get("max_model_len") for entry in json.loads(response.read())["data"]}
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
            raise GatewayError(f"The gateway's list of models cannot be read: {error!r}.") from None


def wait_until_ready(endpoint: Endpoint, seconds: float = READY_SECONDS) -> None:
    """Polls the list of models: it passes the load balancer, a gateway and the key. Raises GatewayError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            list_models(endpoint)
            return
        except GatewayError as error:
            if time.monotonic() > deadline:
                raise GatewayError(
                    f"The gateway was not ready within {seconds:.0f} s. {error.cause}", "See `penstock status`."
                ) from None
        time.sleep(0.2)


def _reason(response: http.client.HTTPResponse) -> tuple[str, str]:
    """For people, and the body as it came."""
    try:
        text = response.read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return "no reason given", ""
    return error_message(text) or text.strip()[:300] or response.reason, text


def error_message(text: str) -> str:
    """The message in an OpenAI-shaped error body, or nothing."""
    try:
        error = json.loads(text).get("error")
    except (ValueError, AttributeError):
        return ""
    return str(error.get("message", "")) if isinstance(error, dict) else str(error or "")
