"""EKS: a cluster's endpoint and certificate are the platform's API server's, and its nodes are those that joined it."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import urllib.request
from typing import Any

from infra.local.aws.moto.patching import wrap
from infra.local.layout import Layout

logger = logging.getLogger(__name__)

NODE_GROUP_LABEL = "eks.amazonaws.com/nodegroup"
ANSWER_SECONDS = 2.0


class Clusters:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def connect(self, cluster: Any) -> None:
        """Writes endpoint and certificate into moto's cluster. Without the certificate moto's invented one stays."""
        cluster.endpoint = self._layout.api_server_url
        try:
            certificate = self._layout.certificate_authority.read_bytes()
        except FileNotFoundError:
            logger.debug("cluster %s: the API server has no certificate yet", cluster.name)
        else:
            cluster.certificate_authority = {"data": base64.b64encode(certificate).decode()}

    def settle(self, group: Any) -> None:
        """A new node group is CREATING until its nodes have joined, as at AWS. Pods scheduled before that would all
        land in the zone whose node was first. Without an API server the group is what moto says."""
        if getattr(group, "nodes_have_joined", False) or group.status not in ("ACTIVE", "CREATING"):
            return
        ready = self._ready_nodes(group.nodegroup_name)
        if ready is None:
            return
        group.nodes_have_joined = ready >= group.scaling_config["desiredSize"]
        group.status = "ACTIVE" if group.nodes_have_joined else "CREATING"

    def _ready_nodes(self, group: str) -> int | None:
        """The group's nodes that are Ready; None where the API server cannot be asked."""
        try:
            user = json.loads(self._layout.admin_kubeconfig.read_text())["users"][0]["user"]
            request = urllib.request.Request(  # noqa: S310 - https to the platform's own server
                f"{self._layout.api_server_url}/api/v1/nodes?labelSelector={NODE_GROUP_LABEL}%3D{group}",
                headers={"Authorization": f"Bearer {user['token']}"},
            )
            trust = ssl.create_default_context(cafile=str(self._layout.certificate_authority))
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=trust) as reply:  # noqa: S310
                nodes = json.load(reply)["items"]
        except OSError as error:
            logger.warning("node group %s: the API server cannot be asked for its nodes: %s", group, error)
            return None
        return sum(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in nodes
            for condition in node["status"].get("conditions", [])
        )

    def heal(self) -> None:
        """The API server is the supervisor's, not ours."""

    def stop(self) -> None:
        """The API server is the supervisor's, not ours."""

    def install(self) -> None:
        """Makes moto's EKS call this plane. For a process that serves one platform."""
        from moto.eks.models import EKSBackend  # loads moto's EKS

        def connected(original: Any, backend: Any, *arguments: Any, **named: Any) -> Any:
            cluster = original(backend, *arguments, **named)
            self.connect(cluster)
            return cluster

        def settled(original: Any, backend: Any, *arguments: Any, **named: Any) -> Any:
            group = original(backend, *arguments, **named)
            self.settle(group)
            return group

        wrap(EKSBackend, "create_nodegroup", settled)
        wrap(EKSBackend, "describe_nodegroup", settled)
        wrap(EKSBackend, "create_cluster", connected)
        wrap(EKSBackend, "describe_cluster", connected)
