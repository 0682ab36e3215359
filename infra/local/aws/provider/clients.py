"""boto3 clients of the embedded AWS: one per service and region, with short time-outs, never for the real AWS."""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from infra.local.aws.provider.calls import Recorder, attach

CONNECT_SECONDS = 3
READ_SECONDS = 60
"""Starting a database or a cache happens inside the call."""


class RefusedError(RuntimeError):
    """The environment does not point at a local AWS. The message says what is missing."""


def local_endpoint(environment: Mapping[str, str]) -> str:
    """AWS_ENDPOINT_URL, which must be a loopback address. Raises RefusedError otherwise."""
    endpoint = environment.get("AWS_ENDPOINT_URL", "")
    if not endpoint:
        raise RefusedError(
            "the local provider of package `aws` works on the embedded AWS only: AWS_ENDPOINT_URL is not set "
            "(`penstock env` prints the environment; for a real account install the official plug-in)"
        )
    host = urlsplit(endpoint).hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise RefusedError(
            f"the local provider refuses AWS_ENDPOINT_URL={endpoint}: its host is not a loopback address"
        )
    return endpoint


class Clients:
    """Makes boto3 clients lazily; safe to use from many threads."""

    def __init__(self, endpoint: str, record: Recorder | None = None) -> None:
        self.endpoint = endpoint
        self._record = record
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self._session: Any = None

    def get(self, service: str, region: str) -> Any:
        # Making clients from one session is not thread-safe; using them is.
        with self._lock:
            client = self._clients.get((service, region))
            if client is None:
                client = self._clients[service, region] = self._make(service, region)
            return client

    def _make(self, service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config

        if self._session is None:
            self._session = boto3.session.Session(
                aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "penstock-local"),
                aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "penstock-local"),
                aws_session_token=os.environ.get("AWS_SESSION_TOKEN"),
            )
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"max_attempts": 2, "mode": "standard"},
            max_pool_connections=32,
            s3={"addressing_style": "path"},
        )
        client = self._session.client(service, region_name=region, endpoint_url=self.endpoint, config=config)
        if self._record:
            attach(client, self._record)
        return client
