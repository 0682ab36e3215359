"""EKS: a cluster's endpoint and certificate are those of the platform's Kubernetes API server."""

from __future__ import annotations

import base64
import logging
from typing import Any

from infra.local.aws.moto.patching import wrap
from infra.local.layout import Layout

logger = logging.getLogger(__name__)


class Clusters:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def connect(self, cluster: Any) -> None:
        """Writes endpoint and certificate into moto's cluster. Without the certificate moto's invented one stays."""
        cluster.endpoint = self._layout.api_server_url
        try:
            certificate = self._layout.certificate_authority.read_bytes()
        except FileNotFoundError:
            logger.warning("cluster %s: the API server has no certificate yet", cluster.name)
        else:
            cluster.certificate_authority = {"data": base64.b64encode(certificate).decode()}

    def stop(self) -> None:
        """The API server is the supervisor's, not ours."""

    def install(self) -> None:
        """Makes moto's EKS call this plane. For a process that serves one platform."""
        from moto.eks.models import EKSBackend  # loads moto's EKS

        def connected(original: Any, backend: Any, *arguments: Any, **named: Any) -> Any:
            cluster = original(backend, *arguments, **named)
            self.connect(cluster)
            return cluster

        wrap(EKSBackend, "create_cluster", connected)
        wrap(EKSBackend, "describe_cluster", connected)
