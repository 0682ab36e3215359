"""Signing in: a static token, a token file, or an exec plug-in whose token is kept until it expires."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.local.kubernetes.provider.errors import ProviderError
from infra.local.kubernetes.provider.kubeconfig import Access, ExecPlugin

PLUGIN_TIMEOUT_SECONDS = 30.0
RENEW_BEFORE_SECONDS = 20.0
"""A token this close to its end is renewed, so that it does not expire on the way."""


@dataclass
class Credentials:
    """The bearer token of one context. Safe to use from many threads: one of them runs the plug-in, the others wait."""

    access: Access
    timeout_seconds: float = PLUGIN_TIMEOUT_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _token: str = field(default="", repr=False)
    _expires: float = float("inf")

    def token(self, refused: str | None = None) -> str:
        """The token to send, "" for none. `refused` is a token that the API server answered 401 to.

        Raises ProviderError where the plug-in cannot be run or prints no credential.
        """
        if self.access.token:
            return self.access.token
        if self.access.token_file:
            return Path(self.access.token_file).read_text().strip()
        plugin = self.access.exec_plugin
        if plugin is None:
            return ""
        with self._lock:
            late = time.time() > self._expires - RENEW_BEFORE_SECONDS
            if not self._token or late or self._token == refused:
                status = self._run(plugin)
                self._token = str(status.get("token") or "")
                self._expires = _epoch(status.get("expirationTimestamp"))
            return self._token

    @property
    def renewable(self) -> bool:
        return not self.access.token and bool(self.access.token_file or self.access.exec_plugin)

    def _run(self, plugin: ExecPlugin) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": False}
        if plugin.cluster_info:
            authority = b64encode(self.access.authority.encode()).decode()
            spec["cluster"] = {"server": self.access.server, "certificate-authority-data": authority}
        info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
        environment = {**os.environ, **dict(plugin.environment), "KUBERNETES_EXEC_INFO": json.dumps(info)}
        line = [plugin.command, *plugin.arguments]
        try:
            done = subprocess.run(
                line,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self.timeout_seconds,
                check=False,
            )
        except FileNotFoundError as error:
            hint = f": {plugin.install_hint.strip()}" if plugin.install_hint else ""
            raise ProviderError(f"the kubeconfig's exec command {plugin.command} was not found{hint}") from error
        except OSError as error:
            raise ProviderError(f"the kubeconfig's exec command {plugin.command}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise ProviderError(
                f"the kubeconfig's exec command {plugin.command} gave no token within {self.timeout_seconds:.0f} s"
            ) from error
        if done.returncode != 0:
            words = (done.stderr.strip().splitlines() or ["(no message)"])[-1]
            raise ProviderError(
                f"the kubeconfig's exec command {plugin.command} failed with status {done.returncode}: {words}"
            )
        return _status(done.stdout, plugin)


def _status(output: str, plugin: ExecPlugin) -> dict[str, Any]:
    try:
        credential = json.loads(output)
        status = credential["status"]
        if credential["kind"] != "ExecCredential" or not isinstance(status["token"], str):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        # What it printed may hold a token: it is not repeated.
        raise ProviderError(f"the kubeconfig's exec command {plugin.command} printed no token") from error
    return status


def _epoch(timestamp: Any) -> float:
    """Seconds since 1970 of an RFC 3339 time; without one a token lasts until it is refused."""
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return float("inf")
