"""Waits for an object to become ready or to be gone, within a bound, and says what is in the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.kubernetes.provider.client import ApiClient
from infra.local.kubernetes.provider.discovery import Resource
from infra.local.kubernetes.provider.errors import ApiError, AwaitError, CancelledError
from infra.local.kubernetes.provider.kinds import describe
from infra.local.kubernetes.provider.pods import Endurance, Trouble, Watchlist, refusals, troubles
from infra.local.kubernetes.provider.readiness import Readiness, condition, readiness
from infra.local.kubernetes.provider.values import at

POD_LIMIT = "200"
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Pace:
    """Seconds between looks: quick at first, calmer for what takes long."""

    quick: float = 0.3
    calm: float = 1.0
    calm_after: float = 30.0
    pods: float = 1.5
    """Pods are many: they are listed less often than the object is read."""


@dataclass
class Waiter:
    client: ApiClient
    pace: Pace = field(default_factory=Pace)
    endurance: Endurance = field(default_factory=Endurance)

    @property
    def cancelled(self) -> threading.Event:
        return self.client.cancelled

    def until_ready(
        self, resource: Resource, live: dict[str, Any], seconds: float, status: Callable[[str], None]
    ) -> dict[str, Any]:
        """The ready object. Raises AwaitError (failed, or late), CancelledError, ApiError, UnreachableError."""
        kind = resource.kind
        namespace, name = at(live, "metadata", "namespace"), str(at(live, "metadata", "name"))
        what = describe(kind.kind, namespace, name)
        watchlist = Watchlist(self.endurance)
        started, looked, seen = time.monotonic(), float("-inf"), list[Trouble]()
        while True:
            state = readiness(kind, live)
            if state.done:
                if state.message:
                    status(f"{kind.kind} {name}: {state.message}")
                return live
            now = time.monotonic()
            if state.owns_pods and (state.failure or now - looked >= self.pace.pods):
                looked, seen = now, [*refusals(live), *troubles(self._pods(resource, live))]
                hopeless = watchlist.hopeless(seen, now)
                if hopeless:
                    raise AwaitError(f"{what}: {state.message or state.failure}", *_distinct(hopeless))
            if state.failure:
                raise AwaitError(f"{what}: {state.failure}", *_distinct(seen))
            status(f"{kind.kind} {name}: {_line(state, seen)}")
            if now - started >= seconds:
                raise AwaitError(f"{what} was not ready within {seconds:.0f} s: {state.message}", *_distinct(seen))
            self._pause(started, what)
            try:
                live = self.client.get(resource.path(namespace, name))
            except ApiError as error:
                if error.code == 404:
                    raise AwaitError(f"{what} was deleted by somebody else while it was waited for") from error
                raise

    def until_gone(
        self, resource: Resource, namespace: str | None, name: str, uid: str, seconds: float, say: Callable[[str], None]
    ) -> None:
        """Returns when the object with this uid is gone; finalizers and graceful ends are waited for."""
        started = time.monotonic()
        what = describe(resource.kind.kind, namespace, name)
        while True:
            try:
                live = self.client.get(resource.path(namespace, name))
            except ApiError as error:
                if error.code == 404:
                    return
                raise
            if at(live, "metadata", "uid") != uid:
                # Somebody made another object of that name.
                return
            held = _what_holds(live)
            say(f"{resource.kind.kind} {name}: being deleted{held and ', ' + held}")
            if time.monotonic() - started >= seconds:
                raise AwaitError(f"{what} was not gone within {seconds:.0f} s{held and ': ' + held}")
            self._pause(started, what)

    def _pause(self, started: float, what: str) -> None:
        early = time.monotonic() - started < self.pace.calm_after
        if self.cancelled.wait(self.pace.quick if early else self.pace.calm):
            raise CancelledError(f"{what}: no longer waited for, the command was stopped")

    def _pods(self, resource: Resource, live: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The pods of the present template; pods of an old one say nothing about the rollout."""
        if resource.kind.is_a("", "Pod"):
            return [live]
        namespace = str(at(live, "metadata", "namespace"))
        selector = label_selector(at(live, "spec", "selector") or {})
        if selector is None:
            return []
        if resource.kind.is_a("apps", "Deployment"):
            template = self._template_hash(live, namespace, selector)
            if template is None:
                return []
            selector = f"{selector},pod-template-hash={template}"
        query = {"labelSelector": selector, "limit": POD_LIMIT}
        return self.client.get(f"/api/v1/namespaces/{namespace}/pods", query).get("items") or []

    def _template_hash(self, live: Mapping[str, Any], namespace: str, selector: str) -> str | None:
        path = f"/apis/apps/v1/namespaces/{namespace}/replicasets"
        revision = at(live, "metadata", "annotations", REVISION)
        for replica_set in self.client.get(path, {"labelSelector": selector}).get("items") or ():
            owners = [owner.get("uid") for owner in at(replica_set, "metadata", "ownerReferences") or ()]
            newest = at(replica_set, "metadata", "annotations", REVISION) == revision
            if newest and at(live, "metadata", "uid") in owners:
                return at(replica_set, "metadata", "labels", "pod-template-hash")
        return None


def label_selector(selector: Mapping[str, Any]) -> str | None:
    """A LabelSelector as a query parameter; None for one that selects nothing in particular."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or ():
        values = ",".join(rule.get("values") or ())
        parts += {
            "In": [f"{rule['key']} in ({values})"],
            "NotIn": [f"{rule['key']} notin ({values})"],
            "Exists": [rule["key"]],
            "DoesNotExist": [f"!{rule['key']}"],
        }.get(rule["operator"], [])
    return ",".join(parts) or None


def _line(state: Readiness, seen: list[Trouble]) -> str:
    return f"{state.message} ({seen[0].message})" if seen else state.message


def _distinct(found: list[Trouble], limit: int = 3) -> list[str]:
    """The first few messages: three replicas mostly fail for one reason."""
    rest = f"and {len(found) - limit} more pods" if len(found) > limit else ""
    return [trouble.message for trouble in found[:limit]] + ([rest] if rest else [])


def _what_holds(live: Mapping[str, Any]) -> str:
    """Why an object that is being deleted is still there."""
    finalizers = at(live, "metadata", "finalizers")
    if finalizers:
        return f"finalizers left: {', '.join(finalizers)}"
    for name in ("NamespaceContentRemaining", "NamespaceFinalizersRemaining", "NamespaceDeletionContentFailure"):
        found = condition(live, name)
        if found.get("status") == "True":
            return str(found.get("message"))
    return ""
