"""`python -m infra.ops.diff.record_kubernetes [ENGINE]`: the provider `kubernetes` without a cluster behind it."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime.proto import provider_pb2

from infra.local.kubernetes.provider.outputs import as_outputs
from infra.local.kubernetes.provider.servicer import KubernetesProvider, _kind
from infra.local.kubernetes.provider.session import Session
from infra.local.kubernetes.provider.values import at, decode, encode, has_unknown
from infra.local.plugin import serve

CLUSTER_SETTINGS = ("kubeconfig", "context", "cluster")


class RecordingProvider(KubernetesProvider):
    """Checks and compares as the local provider does; creates, updates and deletes nothing."""

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the protocol, here and below
        arguments = decode(request.args)
        known = {
            key: value for key, value in arguments.items() if key not in CLUSTER_SETTINGS and not has_unknown(value)
        }
        self.session = Session.configure(known, self.cancelled)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.preview:
            return super().Create(request, context)
        kind, inputs = _kind(request), decode(request.properties)
        name = str(at(inputs, "metadata", "name") or request.urn.split("::")[-1])
        namespace = at(inputs, "metadata", "namespace")
        outputs = as_outputs(kind, inputs, inputs)
        return provider_pb2.CreateResponse(id=f"{namespace}/{name}" if namespace else name, properties=encode(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        return Empty()


def make() -> RecordingProvider:
    return RecordingProvider()


if __name__ == "__main__":
    serve(make)
