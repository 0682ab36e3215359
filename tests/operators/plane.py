"""A real control plane with what operators need beside it: the aggregation of APIs, and identities with few rights.

Nothing runs pods here: a test looks at what controllers want, or plays the kubelet itself (hollow.py).
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.local import control_plane
from infra.local.layout import Layout
from infra.local.processes import Processes
from infra.local.toolchain.find import Toolchain, ensure
from infra.local.toolchain.tools import ETCD, KUBERNETES, Tool
from infra.ops.progress import Progress
from tests.contracts.control_planes import a_free_slot

Json = dict[str, Any]
CHECKOUT = Path(__file__).resolve().parents[2]
AUTOSCALER_SECONDS = 2
"""How often Kubernetes' autoscaler looks; 15 s where nobody waits for a test."""
FRONT = "front-proxy-client"


@dataclass
class Plane:
    layout: Layout
    toolchain: Toolchain
    processes: Processes
    _context: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def _token(self) -> str:
        return (self.layout.pki / "tokens.csv").read_text().split(",", 1)[0]

    def call(self, method: str, path: str, body: Json | None = None, kind: str = "application/json") -> Json:
        """One request as the administrator. Raises urllib.error.HTTPError."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self.layout.certificate_authority))
        request = urllib.request.Request(  # noqa: S310 - https to our own server
            f"{self.layout.api_server_url}{path}",
            None if body is None else json.dumps(body).encode(),
            {"authorization": f"Bearer {self._token}", "content-type": kind},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20, context=self._context) as reply:  # noqa: S310
            return json.load(reply)

    def get(self, path: str) -> Json | None:
        """None for what is not there."""
        try:
            return self.call("GET", path)
        except urllib.error.HTTPError as error:
            if error.code in {404, 503}:
                return None
            raise

    def merge(self, path: str, change: Json) -> Json:
        return self.call("PATCH", path, change, "application/merge-patch+json")

    def kubectl(self, *arguments: str, text: str = "") -> str:
        command = [str(self.toolchain.path("kubectl")), "--kubeconfig", str(self.layout.admin_kubeconfig), *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def apply(self, *objects: Json) -> None:
        self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def define(self, definitions: Mapping[str, Json]) -> None:
        """Makes custom types and waits until they are served."""
        names = [f"{spec['names']['plural']}.{spec['group']}" for spec in definitions.values()]
        self.apply(
            *(
                {
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": {"name": name},
                    "spec": spec,
                }
                for name, spec in zip(names, definitions.values(), strict=True)
            )
        )
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in names))

    def identity(
        self, name: str, namespace: str, everywhere: Sequence[Json], rights: Sequence[tuple[str, Sequence[Json]]]
    ) -> Path:
        """A kubeconfig of a service account with these rules, in the whole cluster and in namespaces, and no more."""
        role = {"apiGroup": "rbac.authorization.k8s.io"}
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
        version = "rbac.authorization.k8s.io/v1"
        objects: list[Json] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
            {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": list(everywhere)},
            {
                "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": role | {"kind": "ClusterRole", "name": name}, "subjects": subjects,
            },
        ]  # fmt: skip
        for number, (place, rules) in enumerate(rights):
            here = {"name": f"{name}-{number}", "namespace": place}
            objects.append({"apiVersion": version, "kind": "Role", "metadata": here, "rules": list(rules)})
            objects.append(
                {
                    "apiVersion": version, "kind": "RoleBinding", "metadata": here,
                    "roleRef": role | {"kind": "Role", "name": here["name"]}, "subjects": subjects,
                }
            )  # fmt: skip
        self.apply(*objects)
        token = self.kubectl("create", "token", name, "--namespace", namespace, "--duration=2h")
        authority = base64.b64encode(self.layout.certificate_authority.read_bytes()).decode()
        path = self.layout.pki / f"{name}.kubeconfig"
        content = json.loads(self.layout.admin_kubeconfig.read_text())
        content["clusters"][0]["cluster"]["certificate-authority-data"] = authority
        content["users"][0]["user"] = {"token": token}
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path

    def log(self, name: str) -> str:
        return (self.layout.logs / f"{name}.log").read_text(errors="replace")


@contextmanager
def plane(folder: Path, *tools: Tool) -> Generator[Plane]:
    """A control plane for one test module, and `tools` built where they are not in the cache yet."""
    found = ensure(Progress(), tools=(ETCD, KUBERNETES, *tools))
    layout = Layout(CHECKOUT, folder, a_free_slot())
    layout.save()
    processes = Processes(layout.logs)
    made = Plane(layout, found, processes)
    lean = {"GOGC": "50", "PATH": "/usr/bin:/bin"}
    try:
        control_plane.write_credentials(layout)
        processes.start("etcd", control_plane.etcd_command(layout, found), environment=lean)
        command = [*control_plane.api_server_command(layout, found), *_aggregation(layout)]
        server = processes.start("kube-apiserver", command, environment=lean)
        server.wait_until(control_plane.api_server_ready(layout), 120)
        manager = control_plane.controller_manager_command(layout, found)
        # As on EKS each controller has its own account: the autoscaler's needs the right to read metrics.
        manager[manager.index("--use-service-account-credentials=false")] = "--use-service-account-credentials=true"
        manager.append(f"--horizontal-pod-autoscaler-sync-period={AUTOSCALER_SECONDS}s")
        processes.start("kube-controller-manager", manager, environment=lean)
        processes.start("kube-scheduler", control_plane.scheduler_command(layout, found), environment=lean)
        yield made
    finally:
        processes.stop_all()


def _aggregation(layout: Layout) -> list[str]:
    """Flags by which the API server proves to an aggregated API who is asking. EKS has them."""
    now, pki = dt.datetime.now(dt.UTC), layout.pki
    key, authority_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def signed(name: str, public: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.Certificate:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "front-proxy")])
        subject = issuer if authority else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(
            issuer,
            subject,
            public,
            x509.random_serial_number(),
            now - dt.timedelta(hours=1),
            now + dt.timedelta(days=1),
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if not authority:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    ca = signed("front-proxy", authority_key.public_key(), authority=True)
    own = signed(FRONT, key.public_key(), authority=False)
    (pki / "front-ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (pki / "front.crt").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (pki / "front.key").write_bytes(key.private_bytes(*private))
    return [
        f"--requestheader-client-ca-file={pki / 'front-ca.crt'}",
        f"--requestheader-allowed-names={FRONT}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front.crt'}",
        f"--proxy-client-key-file={pki / 'front.key'}",
    ]


def command(program: Path, container: Json, **flags: str) -> list[str]:
    """The container's command line with some flags' values changed: addresses, for all share one machine here."""
    rest = {name.replace("_", "-"): value for name, value in flags.items()}
    words = [str(program)]
    for word in container["args"]:
        name = word.removeprefix("--").partition("=")[0]
        words.append(f"--{name}={rest.pop(name)}" if name in rest else word)
    return [*words, *(f"--{name}={value}" for name, value in rest.items())]


def variables(container: Json) -> dict[str, str]:
    """The container's environment, less what a kubelet fills in."""
    return {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}


def own_address() -> str:
    """An address of this machine that is not loopback: the API server takes no other into an EndpointSlice."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))  # sends nothing
        return probe.getsockname()[0]


def eventually(predicate: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)
    return value


class Loop:
    """Calls `step` over and over in a thread, until it is closed. A failed step is tried again."""

    def __init__(self, step: Callable[[], object], seconds: float) -> None:
        self._ended = threading.Event()
        self._step, self._seconds = step, seconds
        self.problem: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._step()
            except (OSError, KeyError, subprocess.SubprocessError) as problem:
                self.problem = problem

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
