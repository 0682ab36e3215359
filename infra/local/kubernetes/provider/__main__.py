"""`python -m infra.local.kubernetes.provider [ENGINE]`: serves the provider to one Pulumi command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from infra.local.plugin import serve

if TYPE_CHECKING:
    from infra.local.kubernetes.provider.servicer import KubernetesProvider


def make() -> KubernetesProvider:
    from infra.local.kubernetes.provider.progress import EngineReporter
    from infra.local.kubernetes.provider.servicer import KubernetesProvider

    return KubernetesProvider(EngineReporter(sys.argv[1]) if len(sys.argv) > 1 else None)


if __name__ == "__main__":
    serve(make)
