"""Which kinds live in a namespace: known for built-in kinds, else from definitions in the program or the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.kubernetes.provider.discovery import Discovery, NoSuchKindError
from infra.local.kubernetes.provider.errors import ProviderError
from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.values import at


@dataclass
class Scopes:
    _declared: dict[tuple[str, str], bool] = field(default_factory=dict)
    _silent: bool = False
    """The cluster did not answer: it is not asked again."""

    def learn(self, kind: Kind, inputs: Mapping[str, Any]) -> None:
        """Remembers the scope that a CustomResourceDefinition of the program declares."""
        if not kind.is_a("apiextensions.k8s.io", "CustomResourceDefinition"):
            return
        group, name = at(inputs, "spec", "group"), at(inputs, "spec", "names", "kind")
        scope = at(inputs, "spec", "scope")
        if isinstance(group, str) and isinstance(name, str) and isinstance(scope, str):
            self._declared[group, name] = scope == "Namespaced"

    def namespaced(self, kind: Kind, discovery: Discovery | None) -> bool | None:
        """None where neither the program nor the cluster tells."""
        if kind.namespaced is not None:
            return kind.namespaced
        if (kind.group, kind.kind) in self._declared:
            return self._declared[kind.group, kind.kind]
        if discovery is None or self._silent:
            return None
        try:
            return discovery.resource(kind, retry=False).namespaced
        except NoSuchKindError:
            return None
        except ProviderError:
            self._silent = True
            return None
