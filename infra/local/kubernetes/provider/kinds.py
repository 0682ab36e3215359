"""Type tokens and what is known of the built-in kinds without asking a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

NOT_OBJECTS = {
    "helm.sh": "Helm charts and releases",
    "yaml": "YAML files",
    "kustomize": "Kustomize directories",
}

CLUSTER_SCOPED = {
    "": {"ComponentStatus", "Namespace", "Node", "PersistentVolume"},
    "admissionregistration.k8s.io": {
        "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
    },
    "apiextensions.k8s.io": {"CustomResourceDefinition"},
    "apiregistration.k8s.io": {"APIService"},
    "certificates.k8s.io": {"CertificateSigningRequest", "ClusterTrustBundle"},
    "flowcontrol.apiserver.k8s.io": {"FlowSchema", "PriorityLevelConfiguration"},
    "networking.k8s.io": {"IngressClass", "IPAddress", "ServiceCIDR"},
    "node.k8s.io": {"RuntimeClass"},
    "rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding"},
    "resource.k8s.io": {"DeviceClass", "DeviceTaintRule", "ResourceSlice"},
    "scheduling.k8s.io": {"PriorityClass"},
    "storage.k8s.io": {"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"},
}  # fmt: skip
"""Kinds without a namespace, by group (Kubernetes 1.36 API reference)."""

BUILT_IN = frozenset({
    *CLUSTER_SCOPED, "apps", "autoscaling", "batch", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io",
    "policy",
})  # fmt: skip


class UnsupportedTypeError(ValueError):
    """A type token that this provider does not serve. The message names it."""


@dataclass(frozen=True)
class Kind:
    """A kind of object: group ("" for core), version, kind."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def built_in(self) -> bool:
        return self.group in BUILT_IN

    @property
    def namespaced(self) -> bool | None:
        """Whether objects live in a namespace; None for a kind that only a cluster can tell."""
        if not self.built_in:
            return None
        return self.kind not in CLUSTER_SCOPED.get(self.group, ())

    def is_a(self, group: str, *kinds: str) -> bool:
        return self.group == group and self.kind in kinds

    def __str__(self) -> str:
        return f"{self.api_version} {self.kind}"


def parse_token(token: str) -> Kind:
    """`kubernetes:apps/v1:Deployment` -> Kind. Raises UnsupportedTypeError, naming the token."""
    parts = token.split(":")
    if len(parts) != 3 or parts[0] != "kubernetes" or not all(parts):
        raise UnsupportedTypeError(f"{token} is not the type token of a Kubernetes object")
    _, api_version, kind = parts
    group, separator, version = api_version.rpartition("/")
    if (group or version) in NOT_OBJECTS:
        what = NOT_OBJECTS[group or version]
        raise UnsupportedTypeError(f"{token} is not supported by the local provider: it serves objects, not {what}")
    if not re.fullmatch(r"v\d+((alpha|beta)\d+)?", version):
        raise UnsupportedTypeError(f"{token} is not supported by the local provider: {version!r} is no API version")
    found = Kind("" if not separator or group == "core" else group, version, kind)
    if found.built_in and kind.endswith("Patch"):
        raise UnsupportedTypeError(
            f"{token} is not supported by the local provider: patch resources are not; declare the object itself"
        )
    if found.built_in and kind.endswith("List"):
        raise UnsupportedTypeError(
            f"{token} is not supported by the local provider: declare the items of the list one by one"
        )
    return found


def describe(kind: str, namespace: str | None, name: str) -> str:
    """How messages name an object: `Deployment penstock/gateway-blue`."""
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
