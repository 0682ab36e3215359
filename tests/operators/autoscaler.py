"""KEDA as processes: operator and adapter as the program deploys them, with a kubelet's part played by the test."""

from __future__ import annotations

import base64
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from components import keda_manifests as keda
from components.manifests import GATEWAY_PORT
from components.scaling import METRIC
from tests.operators.plane import Json, Loop, Plane, command, eventually, own_address, variables

NAMESPACE = "penstock"
HURRY = 20
"""Times are so much shorter than in the program; the order of things is the same."""
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"


@dataclass
class Autoscaler:
    plane: Plane

    def replicas(self, name: str) -> int:
        """What the Deployment is asked to have."""
        found = self.plane.call("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}")
        return found["spec"]["replicas"]

    def until(self, name: str, wanted: int, seconds: float = 90.0) -> None:
        eventually(lambda: self.replicas(name) == wanted, f"{wanted} of {name}", seconds)

    def condition(self, name: str, kind: str) -> str:
        found = self.plane.call("GET", f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects/{name}")
        known = found.get("status", {}).get("conditions", [])
        return next((each["status"] for each in known if each["type"] == kind), "Unknown")

    def deploy(self, name: str, replicas: int) -> None:
        """A Deployment whose pods never start: nobody here runs them, and the autoscaler does not ask."""
        marks = {"app": name}
        pod = {"containers": [{"name": "engine", "image": "none"}], "nodeSelector": {"nowhere": "true"}}
        self.plane.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": marks},
                    "template": {"metadata": {"labels": marks}, "spec": pod},
                },
            }
        )

    def expose(self, service: str, port: int, *addresses: str) -> None:
        """What the endpoint slice controller would write of the service's ready pods."""
        self.plane.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": service,
                    "namespace": NAMESPACE,
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
                "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            }
        )

    def scale(self, found: Json, port: int) -> None:
        """Applies a ScaledObject of the program's, with `port` in place of its pods' and shorter times."""
        self.plane.apply({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", **hurried(found, port)})

    def remove(self, name: str) -> None:
        self.plane.kubectl("delete", "-n", NAMESPACE, "--ignore-not-found", f"scaledobject.keda.sh/{name}")
        self.plane.kubectl("delete", "-n", NAMESPACE, "--ignore-not-found", f"deployment/{name}")


def hurried(found: Json, port: int) -> Json:
    """The same object on a clock that runs faster: each time, divided."""
    spec = found["spec"]
    advanced = spec["advanced"]
    behaviour: Json = {}
    for way, rules in advanced["horizontalPodAutoscalerConfig"]["behavior"].items():
        policies = [
            {**each, "periodSeconds": max(1, each["periodSeconds"] // HURRY)} for each in rules.get("policies", ())
        ]
        window = {"stabilizationWindowSeconds": rules["stabilizationWindowSeconds"] // HURRY}
        behaviour[way] = {**rules, **window, **({"policies": policies} if policies else {})}
    triggers = [
        {
            **each,
            "metadata": {**each["metadata"], "url": each["metadata"]["url"].replace(f":{GATEWAY_PORT}/", f":{port}/")},
        }
        for each in spec["triggers"]
    ]
    times = {
        "pollingInterval": 1,
        **({"cooldownPeriod": spec["cooldownPeriod"] // HURRY} if "cooldownPeriod" in spec else {}),
    }
    autoscaler = {**advanced["horizontalPodAutoscalerConfig"], "behavior": behaviour}
    return {
        "metadata": found["metadata"],
        "spec": {
            **spec,
            **times,
            "triggers": triggers,
            "advanced": {**advanced, "horizontalPodAutoscalerConfig": autoscaler},
        },
    }


class Gateway:
    """Answers /metrics as a gateway does: with the demand of each model."""

    def __init__(self) -> None:
        self.demand: dict[str, float] = {}
        self.lines: list[str] = []
        self.address = own_address()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = gateway.page().encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=1.0.0; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer((self.address, 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def page(self) -> str:
        rows = [f'{METRIC}{{model="{model}"}} {demand}' for model, demand in self.demand.items()]
        return "\n".join([f"# TYPE {METRIC} gauge", *rows, *self.lines, ""])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class _Certificates:
    """What the kubelet does for both pods: puts the secret that the operator makes into their folder."""

    plane: Plane
    folder: Path
    seen: dict[str, str] = field(default_factory=dict)

    def mount(self) -> None:
        secret = self.plane.get(f"/api/v1/namespaces/{keda.NAMESPACE}/secrets/{keda.CERTIFICATES}")
        data = (secret or {}).get("data") or {}
        if data != self.seen:
            for name, content in data.items():
                (self.folder / name).write_bytes(base64.b64decode(content))
            self.seen = data


@contextmanager
def start_keda(plane: Plane) -> Generator[Autoscaler]:
    address = plane.layout.address(4, 1)
    folder = plane.layout.state / "certificates"
    folder.mkdir()
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": keda.home()})
    operator = keda.operator(image="", replicas=1, cluster="test", watched=NAMESPACE)["spec"]["template"]["spec"]
    adapter = keda.adapter(image="", replicas=1, watched=NAMESPACE)["spec"]["template"]["spec"]
    (operating,), (adapting,) = operator["containers"], adapter["containers"]
    rights = [
        (NAMESPACE, keda.operator_rules_of_the_platform()),
        (keda.NAMESPACE, keda.operator_rules_of_its_own()),
    ]
    known = plane.identity(keda.OPERATOR, keda.NAMESPACE, keda.operator_rules(), rights)
    asked = plane.identity(
        keda.ADAPTER,
        keda.NAMESPACE,
        keda.adapter_rules(),
        [(keda.SYSTEM_NAMESPACE, keda.adapter_rules_of_the_api()), (NAMESPACE, keda.adapter_rules_of_the_platform())],
    )
    _publish(plane, address)
    certificates = _Certificates(plane, folder)
    kubelet = Loop(certificates.mount, 0.5)
    common = {"POD_NAMESPACE": keda.NAMESPACE, "HOME": str(folder), "GOGC": "50"}
    common["KEDA_CLUSTER_OBJECT_NAMESPACE"] = keda.NAMESPACE  # in a cluster it is read from the account's folder
    try:
        words = command(
            plane.toolchain.path("keda-operator"), operating, cert_dir=str(folder),
            metrics_bind_address=f"{address}:8080", health_probe_bind_address=f"{address}:8081",
            metrics_service_bind_address=f"{address}:{keda.GRPC_PORT}",
        )  # fmt: skip
        child = plane.processes.start(
            "keda-operator", words,
            environment=variables(operating) | common | {"KUBECONFIG": str(known), "POD_NAME": "keda-operator-0"},
        )  # fmt: skip
        # With its first certificates written it ends, to be started again by the kubelet with the folder filled.
        eventually(lambda: not child.running, "the operator has written its certificates")
        eventually((folder / "tls.crt").exists, "the certificates are mounted")
        plane.processes.restart(child)
        words = command(
            plane.toolchain.path("keda-adapter"), adapting, cert_dir=str(folder), bind_address=address, port="0",
            client_ca_file=str(folder / "ca.crt"), tls_cert_file=str(folder / "tls.crt"),
            tls_private_key_file=str(folder / "tls.key"),
            metrics_service_address=f"{address}:{keda.GRPC_PORT}",
            metrics_service_grpc_authority=f"{keda.OPERATOR}.{keda.NAMESPACE}.svc",
            lister_kubeconfig=str(asked), authentication_kubeconfig=str(asked), authorization_kubeconfig=str(asked),
        )  # fmt: skip
        child = plane.processes.start(
            "keda-adapter", words, environment=variables(adapting) | common | {"KUBECONFIG": str(asked)}
        )
        child.wait_until(lambda: plane.get(EXTERNAL) is not None, 180)
        yield Autoscaler(plane)
    finally:
        kubelet.close()


def _publish(plane: Plane, address: str) -> None:
    """The adapter's API. No kube-proxy is here, so its service is a name that stands for an address."""
    service = keda.services()["adapter"]
    published = keda.api_service()
    published["service"] |= {"port": keda.ADAPTER_PORT}
    reader = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keda-metrics-reader"}
    plane.apply(
        {
            "apiVersion": "v1", "kind": "Service", "metadata": service["metadata"],
            "spec": {"type": "ExternalName", "externalName": address},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": f"v1beta1.{keda.EXTERNAL_METRICS}"}, "spec": published,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": reader["name"]}, "rules": keda.reader_rules(),
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": reader["name"]}, "roleRef": reader,
            "subjects": [
                {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": keda.SYSTEM_NAMESPACE}
            ],
        },
    )  # fmt: skip
