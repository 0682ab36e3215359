"""Create, read, update and delete one object of a cluster by server-side apply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.local.kubernetes.provider import directives
from infra.local.kubernetes.provider.client import APPLY, ApiClient
from infra.local.kubernetes.provider.discovery import Discovery, NoSuchKindError, Resource
from infra.local.kubernetes.provider.errors import ApiError, AwaitError, CancelledError, ProviderError, explain
from infra.local.kubernetes.provider.ignoring import left_to_others
from infra.local.kubernetes.provider.kinds import Kind, describe
from infra.local.kubernetes.provider.project import applied
from infra.local.kubernetes.provider.readiness import READY, Readiness, readiness
from infra.local.kubernetes.provider.settings import Settings
from infra.local.kubernetes.provider.values import at
from infra.local.kubernetes.provider.waiting import Waiter

FIELD_MANAGER = "pulumi-kubernetes"
DEFINITION_WAIT_SECONDS = 10.0
"""A custom resource may be declared beside its definition, without an order between them."""
SETTLE_SECONDS = 10.0
"""A new namespace takes a moment to get its default service account, which pods need."""

Say = Callable[[str], None]


class NotReadyError(AwaitError):
    """The object was written but is not ready. `live` is its last known state."""

    def __init__(self, live: Mapping[str, Any], *reasons: str) -> None:
        super().__init__(*reasons)
        self.live = live


@dataclass(frozen=True)
class Reference:
    """An object's place. `namespace` None for a cluster-wide one."""

    namespace: str | None
    name: str

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> Reference:
        """Raises ProviderError where the inputs have no name that is known."""
        name = at(inputs, "metadata", "name")
        if not isinstance(name, str):
            raise ProviderError("metadata.name is not known")
        namespace = at(inputs, "metadata", "namespace")
        return cls(namespace if isinstance(namespace, str) else None, name)

    @classmethod
    def parse(cls, identifier: str) -> Reference:
        """The resource id: `namespace/name` or `name`."""
        namespace, separator, name = identifier.rpartition("/")
        return cls(namespace if separator else None, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass
class Objects:
    """One cluster's objects. Methods raise ProviderError (and its kinds); the message is for people."""

    client: ApiClient
    settings: Settings
    default_namespace: str
    definition_wait_seconds: float = DEFINITION_WAIT_SECONDS
    settle_seconds: float = SETTLE_SECONDS
    discovery: Discovery = field(init=False)
    waiter: Waiter = field(init=False)

    def __post_init__(self) -> None:
        self.discovery = Discovery(self.client)
        self.waiter = Waiter(self.client)

    def read(self, kind: Kind, reference: Reference) -> dict[str, Any] | None:
        """The live object, or None where it, or its whole kind, is gone."""
        try:
            resource = self.discovery.resource(kind)
        except NoSuchKindError:
            return None
        reference = self._placed(resource, reference)
        return self._get(resource, reference)

    def create(self, kind: Kind, inputs: Mapping[str, Any], timeout_seconds: float, say: Say) -> dict[str, Any]:
        """Applies a new object and waits until it is ready. An object that is there already is an error."""
        resource = self.discovery.resource(kind, self.definition_wait_seconds)
        reference = self._placed(resource, Reference.of(inputs))
        existing = self._get(resource, reference)
        if existing and at(existing, "metadata", "deletionTimestamp"):
            uid = str(at(existing, "metadata", "uid"))
            self.waiter.until_gone(resource, reference.namespace, reference.name, uid, timeout_seconds, say)
            existing = None
        if existing and not self.settings.upsert:
            what = describe(kind.kind, reference.namespace, reference.name)
            raise ProviderError(
                f"{what} exists already: import it (pulumi import), rename it, or set upsertExistingObjects "
                "on the provider"
            )
        live = self._apply(resource, reference, inputs)
        return self._until_ready(resource, live, inputs, timeout_seconds, say)

    def update(
        self, kind: Kind, inputs: Mapping[str, Any], timeout_seconds: float, say: Say, ignored: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Applies the inputs to the object, without ignored fields that others set, and waits until it is ready."""
        resource = self.discovery.resource(kind, self.definition_wait_seconds)
        reference = self._placed(resource, Reference.of(inputs))
        live = self._apply(resource, reference, self._ours(resource, reference, inputs, ignored))
        return self._until_ready(resource, live, inputs, timeout_seconds, say)

    def try_out(self, kind: Kind, inputs: Mapping[str, Any], ignored: Sequence[str] = ()) -> dict[str, Any]:
        """What the API server would make of the inputs; nothing is stored. No retries."""
        resource = self.discovery.resource(kind, retry=False)
        reference = self._placed(resource, Reference.of(inputs))
        return self._apply(resource, reference, self._ours(resource, reference, inputs, ignored), dry_run=True)

    def delete(
        self, kind: Kind, reference: Reference, inputs: Mapping[str, Any], timeout_seconds: float, say: Say
    ) -> None:
        """Deletes the object and waits until it is gone. One that is gone already is no error."""
        try:
            resource = self.discovery.resource(kind)
        except NoSuchKindError:
            return
        reference = self._placed(resource, reference)
        what = describe(kind.kind, reference.namespace, reference.name)
        options = {
            "apiVersion": "meta.k8s.io/v1",
            "kind": "DeleteOptions",
            "propagationPolicy": directives.propagation(inputs),
        }
        try:
            answer = self.client.request("DELETE", resource.path(reference.namespace, reference.name), body=options)
        except ApiError as error:
            if error.code == 404:
                return
            raise explain(error, what) from error
        uid = at(answer, "metadata", "uid") or at(answer, "details", "uid")
        if directives.is_true(inputs, directives.SKIP_AWAIT) or not uid:
            return
        self.waiter.until_gone(resource, reference.namespace, reference.name, str(uid), timeout_seconds, say)

    def readiness(self, kind: Kind, live: Mapping[str, Any], inputs: Mapping[str, Any]) -> Readiness:
        """How the object is now, without waiting."""
        return READY if directives.is_true(inputs, directives.SKIP_AWAIT) else readiness(kind, live)

    def _ours(
        self, resource: Resource, reference: Reference, inputs: Mapping[str, Any], ignored: Sequence[str]
    ) -> Mapping[str, Any]:
        live = self._get(resource, reference) if ignored else None
        return left_to_others(inputs, live, ignored, FIELD_MANAGER)

    def _placed(self, resource: Resource, reference: Reference) -> Reference:
        if not resource.namespaced:
            return Reference(None, reference.name)
        return Reference(reference.namespace or self.default_namespace, reference.name)

    def _get(self, resource: Resource, reference: Reference) -> dict[str, Any] | None:
        try:
            return self.client.get(resource.path(reference.namespace, reference.name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise explain(error, describe(resource.kind.kind, reference.namespace, reference.name)) from error

    def _apply(
        self, resource: Resource, reference: Reference, inputs: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        force = self.settings.patch_force or directives.is_true(inputs, directives.PATCH_FORCE)
        query = {
            "fieldManager": FIELD_MANAGER,
            "fieldValidation": "Strict",
            "force": "true" if force else "false",
            **({"dryRun": "All"} if dry_run else {}),
        }
        body = applied(resource.kind, inputs)
        path = resource.path(reference.namespace, reference.name)
        deadline = time.monotonic() + (0 if dry_run else self.settle_seconds)
        while True:
            try:
                return self.client.request("PATCH", path, query, body, APPLY, retry=not dry_run)
            except ApiError as error:
                what = describe(resource.kind.kind, reference.namespace, reference.name)
                if not _settling(error) or time.monotonic() > deadline:
                    raise explain(error, what) from error
                if self.client.cancelled.wait(self.waiter.pace.quick):
                    raise CancelledError("stopped") from error

    def _until_ready(
        self, resource: Resource, live: dict[str, Any], inputs: Mapping[str, Any], timeout_seconds: float, say: Say
    ) -> dict[str, Any]:
        if directives.is_true(inputs, directives.SKIP_AWAIT):
            return live
        try:
            return self.waiter.until_ready(resource, live, timeout_seconds, say)
        except AwaitError as error:
            raise NotReadyError(live, *error.reasons) from error
        except ProviderError as error:
            raise NotReadyError(live, str(error)) from error


def _settling(error: ApiError) -> bool:
    """Refusals that pass by themselves shortly after a namespace or a service account was made."""
    return error.code == 403 and "error looking up service account" in error.message
