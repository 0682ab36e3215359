"""Reads a cluster's API with an EKS token: no kubectl and no kubeconfig, so it works for any stack."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from infra.ops.errors import PenstockError
from infra.ops.stacks import Resource, StackAccess

REQUEST_SECONDS = 4.0
METRICS_BYTES = 8 * 1024 * 1024


class NotFoundError(PenstockError):
    """The API server knows no such object or kind."""


@dataclass(frozen=True)
class Pod:
    """What `status` and `logs` need of a pod. `models` are those that an engine serves."""

    name: str
    app: str
    colour: str
    zone: str
    ip: str
    phase: str
    ready: bool
    model: str
    reason: str

    @classmethod
    def parse(cls, item: dict[str, Any]) -> Pod:
        metadata, status = item["metadata"], item.get("status") or {}
        labels = metadata.get("labels") or {}
        conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or []}
        waiting = [
            (state.get("state") or {}).get("waiting", {}).get("reason", "")
            for state in status.get("containerStatuses") or []
        ]
        return cls(
            name=metadata["name"],
            app=labels.get("app.kubernetes.io/name", ""),
            colour=labels.get("penstock.dev/colour", ""),
            zone=labels.get("topology.kubernetes.io/zone", ""),
            ip=status.get("podIP", ""),
            phase="Terminating" if metadata.get("deletionTimestamp") else status.get("phase", "Unknown"),
            ready=conditions.get("Ready") == "True" and not metadata.get("deletionTimestamp"),
            model=labels.get("penstock.dev/model", ""),
            reason=next((reason for reason in waiting if reason), ""),
        )


@dataclass(frozen=True)
class Cluster:
    """An API server and a token for it. Made by `connect`."""

    url: str
    token: str
    trust: ssl.SSLContext

    def pods(self, namespace: str) -> list[Pod]:
        """The platform's pods, but for those whose work is done. Raises PenstockError."""
        query = urllib.parse.urlencode(
            {
                "labelSelector": "app.kubernetes.io/part-of=penstock",
                "fieldSelector": "status.phase!=Succeeded",
                "limit": 1000,
            }
        )
        content = json.loads(self.read(f"/api/v1/namespaces/{namespace}/pods?{query}"))
        return sorted((Pod.parse(item) for item in content["items"]), key=lambda pod: pod.name)

    def metrics(self, namespace: str, pod: Pod, port: int) -> str:
        """A pod's /metrics: directly where its address is on this machine, else through the API server's proxy.

        That proxy refuses loopback addresses. Raises PenstockError.
        """
        if pod.ip and ipaddress.ip_address(pod.ip).is_loopback:
            return _get(urllib.request.Request(f"http://{pod.ip}:{port}/metrics"), None)
        return self.read(f"/api/v1/namespaces/{namespace}/pods/{pod.name}:{port}/proxy/metrics")

    def read(self, path: str) -> str:
        """Raises PenstockError."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})  # noqa: S310
        return _get(request, self.trust)

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects that a path lists; none where the kind is not installed. Raises PenstockError."""
        try:
            return json.loads(self.read(f"{path}?limit=5000"))["items"]
        except NotFoundError:
            return []

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """DELETE, or PATCH with a JSON merge patch. An object that is gone is no error. Raises PenstockError."""
        headers = {"Authorization": f"Bearer {self.token}"}
        headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(  # noqa: S310
            self.url + path, json.dumps(body).encode(), headers, method=method
        )
        with contextlib.suppress(NotFoundError):
            _get(request, self.trust)


def connect(access: StackAccess, name: str, region: str) -> Cluster:
    """Asks EKS for the cluster's address and certificate, and makes a token. Raises PenstockError."""
    from infra.ops.eks_token import token

    found = access.aws("eks").describe_cluster(name=name)["cluster"]
    authority = base64.b64decode(found["certificateAuthority"]["data"]).decode("ascii")
    bearer = token(access.session(), name, region)
    return Cluster(found["endpoint"], bearer, ssl.create_default_context(cadata=authority))


def name_and_region(cluster: Resource) -> tuple[str, str]:
    """What `connect` needs, of the cluster in a stack's state."""
    return str(cluster.outputs.get("name") or cluster.id), str(cluster.outputs["arn"]).split(":")[3]


def _get(request: urllib.request.Request, trust: ssl.SSLContext | None) -> str:
    where = urllib.parse.urlsplit(request.full_url)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=trust)] if trust else []
    if where.hostname and where.hostname.startswith("127."):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy cannot reach this machine's loopback
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=REQUEST_SECONDS) as response:
            return response.read(METRICS_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        kind = NotFoundError if error.code == HTTPStatus.NOT_FOUND else PenstockError
        raise kind(f"{where.netloc} answered {error.code}.") from None
    except OSError as error:
        raise PenstockError(f"{where.netloc} did not answer: {getattr(error, 'reason', error)}.") from None
