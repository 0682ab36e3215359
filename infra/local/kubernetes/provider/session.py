"""A configured provider: its settings, the cluster they lead to, what was learnt on the way."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from infra.local.kubernetes.provider.client import ApiClient
from infra.local.kubernetes.provider.errors import ProviderError
from infra.local.kubernetes.provider.kubeconfig import Access, KubeconfigError, load
from infra.local.kubernetes.provider.objects import Objects
from infra.local.kubernetes.provider.preview import Preview
from infra.local.kubernetes.provider.scopes import Scopes
from infra.local.kubernetes.provider.settings import Settings

DEFAULT_NAMESPACE = "default"


@dataclass
class Session:
    """Nothing is sent to the cluster before it is needed: a provider is also started to be asked its version."""

    settings: Settings = field(default_factory=Settings)
    access: Access | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    scopes: Scopes = field(default_factory=Scopes)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def configure(cls, arguments: Mapping[str, Any], cancelled: threading.Event) -> Session:
        """Raises SettingsError or KubeconfigError. The kubeconfig's own files are read; no request is sent."""
        settings = Settings.parse(arguments)
        access = load(settings.kubeconfig, settings.context) if settings.kubeconfig else None
        if access is not None and not access.loopback:
            raise KubeconfigError(
                f"the local provider works on this machine's cluster only, but the kubeconfig names {access.server}"
            )
        return cls(settings, access, cancelled)

    @property
    def default_namespace(self) -> str:
        """The provider's namespace, else the context's, else `default`."""
        return self.settings.namespace or (self.access.namespace if self.access else "") or DEFAULT_NAMESPACE

    @property
    def objects(self) -> Objects:
        """Raises ProviderError where no kubeconfig was given."""
        objects = self.preview.objects
        if objects is None:
            raise ProviderError("the kubernetes provider has no cluster: pass kubeconfig to kubernetes.Provider")
        return objects

    @property
    def preview(self) -> Preview:
        with self._lock:
            return self._preview

    @cached_property
    def _preview(self) -> Preview:
        if self.access is None:
            return Preview(None)
        client = ApiClient(self.access, self.cancelled)
        return Preview(Objects(client, self.settings, self.default_namespace))
