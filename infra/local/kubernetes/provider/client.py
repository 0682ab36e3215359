"""HTTP to one API server: pooled connections, time-outs on each call, bounded retries, one fresh token after a 401."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from infra.local.kubernetes.provider.credentials import Credentials
from infra.local.kubernetes.provider.errors import ApiError, CancelledError, ProviderError, UnreachableError
from infra.local.kubernetes.provider.kubeconfig import Access, KubeconfigError

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
"""Server-side apply; JSON is YAML."""

RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long one call may take and how often it is tried. Seconds."""

    connect_seconds: float = 5.0
    read_seconds: float = 35.0
    """A little over the API server's own bound for webhooks (30 s)."""
    retry_seconds: float = 20.0
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 2.0


@dataclass
class ApiClient:
    """Requests to the API server that `access` names. Safe to use from many threads.

    Every request made here is idempotent (reads, server-side apply, deletions), so a lost answer is asked for again.
    """

    access: Access
    cancelled: threading.Event = field(default_factory=threading.Event)
    patience: Patience = field(default_factory=Patience)
    credentials: Credentials = field(init=False)
    _pool: urllib3.PoolManager = field(init=False)

    def __post_init__(self) -> None:
        self.credentials = Credentials(self.access)
        options: dict[str, Any] = {}
        if self.access.server.startswith("https:"):
            options["ssl_context"] = tls(self.access)
            if self.access.insecure:
                options["assert_hostname"] = False
                options["cert_reqs"] = "CERT_NONE"
            elif self.access.server_name:
                options["assert_hostname"] = self.access.server_name
                options["server_hostname"] = self.access.server_name
        self._pool = urllib3.PoolManager(
            maxsize=32,
            retries=False,
            timeout=urllib3.Timeout(connect=self.patience.connect_seconds, read=self.patience.read_seconds),
            **options,
        )

    def close(self) -> None:
        self._pool.clear()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self.request("GET", path, query)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        *,
        retry: bool = True,
    ) -> dict[str, Any]:
        """The answer's object. Raises ApiError (refused), UnreachableError (no answer), CancelledError."""
        url = f"{self.access.server}{path}" + (f"?{urlencode(query)}" if query else "")
        payload = json.dumps(body).encode() if body is not None else None
        deadline = time.monotonic() + (self.patience.retry_seconds if retry else 0)
        pause = self.patience.first_pause_seconds
        while True:
            failure, after = self._once(method, url, payload, content_type)
            if not isinstance(failure, ProviderError):
                return failure
            wait = after if after is not None else pause
            if not _worth_retrying(failure) or time.monotonic() + wait > deadline:
                raise failure
            if self.cancelled.wait(wait):
                raise CancelledError("stopped") from failure
            pause = min(pause * 2, self.patience.longest_pause_seconds)

    def _once(
        self, method: str, url: str, payload: bytes | None, content_type: str
    ) -> tuple[dict[str, Any] | ProviderError, float | None]:
        """One try: the object or the error, and the pause in seconds that the server asked for."""
        token = self.credentials.token()
        answer = self._send(method, url, payload, content_type, token)
        if isinstance(answer, urllib3.BaseHTTPResponse) and answer.status == 401 and self.credentials.renewable:
            answer = self._send(method, url, payload, content_type, self.credentials.token(refused=token))
        if isinstance(answer, UnreachableError):
            return answer, None
        content = _object(answer.data)
        if 200 <= answer.status < 300:
            return content, None
        after = answer.headers.get("Retry-After", "")
        return ApiError(answer.status, content), float(after) if after.isdigit() else None

    def _send(
        self, method: str, url: str, payload: bytes | None, content_type: str, token: str
    ) -> urllib3.BaseHTTPResponse | UnreachableError:
        headers = {"Accept": JSON, "User-Agent": "penstock-pulumi-kubernetes"}
        if payload is not None:
            headers["Content-Type"] = content_type
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            return self._pool.request(method, url, body=payload, headers=headers)
        except HTTPError as error:
            return UnreachableError(f"the cluster at {self.access.server} cannot be reached: {_cause(error)}")


def _worth_retrying(failure: ProviderError) -> bool:
    if isinstance(failure, ApiError):
        return failure.code in RETRIED_STATUS and not failure.malformed
    return isinstance(failure, UnreachableError)


def _object(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace").strip()[:500]}
    return content if isinstance(content, dict) else {"message": str(content)[:500]}


def _cause(error: BaseException) -> str:
    """The innermost reason: urllib3 wraps `Connection refused` several times."""
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # a subclass of the next one
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError) and not refused:
        return "no connection in time"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "no answer in time"
    found = error
    while found.__cause__ is not None or found.__context__ is not None:
        found = found.__cause__ or found.__context__ or found
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({found.verify_message})"
    return str(getattr(found, "strerror", None) or found) or type(found).__name__


def tls(access: Access) -> ssl.SSLContext:
    """Trust and client certificate. Raises KubeconfigError for a certificate that cannot be read."""
    # Not create_default_context: its strict mode (Python 3.13) refuses the authorities that EKS makes.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif access.authority:
            context.load_verify_locations(cadata=access.authority)
        else:
            context.load_default_certs()
        if access.certificate:
            _load_client_certificate(context, access)
    except ssl.SSLError as error:
        raise KubeconfigError(f"kubeconfig: a certificate or key cannot be used: {error.reason or error}") from error
    return context


def _load_client_certificate(context: ssl.SSLContext, access: Access) -> None:
    """OpenSSL takes client certificates from files only: a private one, gone at once."""
    handle, name = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{access.certificate}\n{access.key}\n")
        context.load_cert_chain(name)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - a name from mkstemp
