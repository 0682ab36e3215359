"""From a kind to its REST path, as the API server describes itself. Answers are kept; a miss is asked for again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from infra.local.kubernetes.provider.client import ApiClient
from infra.local.kubernetes.provider.errors import ApiError, CancelledError, ProviderError
from infra.local.kubernetes.provider.kinds import Kind

POLL_SECONDS = 0.3


class NoSuchKindError(ProviderError):
    """The cluster does not serve this kind."""


@dataclass(frozen=True)
class Resource:
    """Where objects of a kind are: `plural` is the path element, `namespaced` their scope."""

    kind: Kind
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str = "") -> str:
        base = f"/apis/{self.kind.group}" if self.kind.group else "/api"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{base}/{self.kind.version}{place}/{self.plural}" + (f"/{name}" if name else "")


@dataclass
class Discovery:
    client: ApiClient
    _known: dict[str, dict[str, Resource]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def resource(self, kind: Kind, wait_seconds: float = 0.0, *, retry: bool = True) -> Resource:
        """Raises NoSuchKindError when the cluster does not serve the kind within `wait_seconds`.

        `retry` False takes the first failure to reach the cluster for an answer. A custom resource may follow its
        definition closely: the API server takes a moment to serve it.
        """
        deadline = time.monotonic() + wait_seconds
        fresh = False
        while True:
            found = self._of(kind, fresh=fresh, retry=retry).get(kind.kind)
            if found is not None:
                return found
            if time.monotonic() >= deadline and fresh:
                waited = f" (waited {wait_seconds:.0f} s)" if wait_seconds else ""
                raise NoSuchKindError(
                    f"the cluster does not serve {kind}{waited}: is its CustomResourceDefinition created before it?"
                )
            if fresh and self.client.cancelled.wait(POLL_SECONDS):
                raise CancelledError("stopped")
            fresh = True

    def _of(self, kind: Kind, *, fresh: bool, retry: bool) -> dict[str, Resource]:
        with self._lock:
            if fresh or kind.api_version not in self._known:
                self._known[kind.api_version] = self._read(kind, retry=retry)
            return self._known[kind.api_version]

    def _read(self, kind: Kind, *, retry: bool) -> dict[str, Resource]:
        base = f"/apis/{kind.group}" if kind.group else "/api"
        try:
            listing: dict[str, Any] = self.client.request("GET", f"{base}/{kind.version}", retry=retry)
        except ApiError as error:
            if error.code == 404:
                return {}
            raise
        return {
            entry["kind"]: Resource(Kind(kind.group, kind.version, entry["kind"]), entry["name"], entry["namespaced"])
            for entry in listing.get("resources", ())
            if "/" not in entry["name"]
        }
