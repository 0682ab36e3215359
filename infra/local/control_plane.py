"""The Kubernetes control plane of a local platform: etcd, API server, controller manager and scheduler, all real.

Flags and their reasons are from measurements on Kubernetes 1.36. What has no meaning on one machine is switched off:
no cloud provider, no endpoint slices (the API server refuses loopback addresses in them, so discovery watches pods).
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from infra.local.certificates import make_server_certificate, make_signing_keys
from infra.local.files import write_whole
from infra.local.layout import Layout
from infra.local.processes import Child, Processes
from infra.local.toolchain.find import Toolchain

READY_SECONDS = 60.0
NODE_GRACE_SECONDS = 20
"""A node without a heartbeat for this long is NotReady. The agent beats every 4 s."""

SERVICE_CIDR, SERVICE_ADDRESS = "172.20.0.0/16", "172.20.0.1"
"""EKS's own default service range; its first address is `kubernetes.default.svc`."""

_CONTROLLERS_LEFT_OUT = (
    "nodeipam",
    "cloud-node-lifecycle",
    "endpointslice-controller",
    "endpoints-controller",
    "endpointslice-mirroring-controller",
)


def write_credentials(layout: Layout) -> str:
    """Makes the platform's keys and kubeconfigs once; returns the admin token."""
    layout.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    tokens = layout.pki / "tokens.csv"
    if not tokens.exists():
        private, public = make_signing_keys()
        _write(layout.pki / "sa.key", private)
        _write(layout.pki / "sa.pub", public)
        server = make_server_certificate(["kubernetes.default.svc", "kubernetes"], [layout.host, SERVICE_ADDRESS])
        _write(layout.certificate_authority, server.authority)
        _write(layout.pki / "apiserver.crt", server.certificate)
        _write(layout.pki / "apiserver.key", server.key)
        _write(tokens, f"{secrets.token_urlsafe(32)},penstock-platform,penstock-platform,system:masters\n".encode())
    token = tokens.read_text().split(",", 1)[0]
    authority = base64.b64encode(layout.certificate_authority.read_bytes()).decode()
    admin = _kubeconfig(layout.api_server_url, {"certificate-authority-data": authority}, {"token": token})
    _write(layout.admin_kubeconfig, json.dumps(admin).encode())
    webhook = _kubeconfig(layout.authenticator_url, {}, {})
    _write(layout.pki / "authenticator.kubeconfig", json.dumps(webhook).encode())
    return token


def _kubeconfig(server: str, cluster: dict[str, str], user: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "local", "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }


def _write(path: Path, content: bytes) -> None:
    write_whole(path, content, mode=0o600)


def etcd_command(layout: Layout, toolchain: Toolchain) -> list[str]:
    return [
        str(toolchain.path("etcd")),
        f"--data-dir={layout.state / 'etcd'}",
        f"--listen-client-urls={layout.etcd_url}",
        f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={layout.etcd_peer_url}",
        f"--initial-advertise-peer-urls={layout.etcd_peer_url}",
        f"--initial-cluster=default={layout.etcd_peer_url}",
        "--unsafe-no-fsync",  # a platform that can be made anew in half a minute does not wait for the disk
        "--log-level=warn",
    ]


def api_server_command(layout: Layout, toolchain: Toolchain) -> list[str]:
    return [
        str(toolchain.path("kube-apiserver")),
        f"--etcd-servers={layout.etcd_url}",
        f"--tls-cert-file={layout.pki / 'apiserver.crt'}",
        f"--tls-private-key-file={layout.pki / 'apiserver.key'}",
        "--secure-port=6443",
        f"--bind-address={layout.host}",
        f"--advertise-address={layout.host}",
        "--endpoint-reconciler-type=none",  # it would publish a loopback address, which the server refuses
        f"--service-account-key-file={layout.pki / 'sa.pub'}",
        f"--service-account-signing-key-file={layout.pki / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--token-auth-file={layout.pki / 'tokens.csv'}",
        f"--authentication-token-webhook-config-file={layout.pki / 'authenticator.kubeconfig'}",
        "--authentication-token-webhook-version=v1",
        "--authentication-token-webhook-cache-ttl=60s",
        "--authorization-mode=RBAC",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--allow-privileged=false",
        "--anonymous-auth=true",  # for /readyz; RBAC gives anonymous nothing else
        "--profiling=false",
    ]


def controller_manager_command(layout: Layout, toolchain: Toolchain) -> list[str]:
    return [
        str(toolchain.path("kube-controller-manager")),
        *_client_flags(layout, layout.controller_manager_port),
        f"--service-account-private-key-file={layout.pki / 'sa.key'}",
        f"--root-ca-file={layout.certificate_authority}",
        "--use-service-account-credentials=false",
        f"--controllers=*,{','.join('-' + name for name in _CONTROLLERS_LEFT_OUT)}",
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
    ]


def scheduler_command(layout: Layout, toolchain: Toolchain) -> list[str]:
    return [str(toolchain.path("kube-scheduler")), *_client_flags(layout, layout.scheduler_port)]


def _client_flags(layout: Layout, port: int) -> list[str]:
    """What the API server's own clients have in common: how they sign in, and where they serve."""
    return [
        f"--kubeconfig={layout.admin_kubeconfig}",
        f"--authentication-kubeconfig={layout.admin_kubeconfig}",
        f"--authorization-kubeconfig={layout.admin_kubeconfig}",
        "--authentication-skip-lookup=true",  # no front proxy: nothing to look up
        "--leader-elect=false",
        f"--bind-address={layout.host}",
        f"--secure-port={port}",
        f"--cert-dir={layout.pki}",
        "--profiling=false",
    ]


def start_storage(layout: Layout, toolchain: Toolchain, processes: Processes) -> Child:
    """Starts etcd and the API server, in that order but without waiting between them: the API server retries."""
    write_credentials(layout)
    processes.start("etcd", etcd_command(layout, toolchain), environment=_lean_go())
    return processes.start("kube-apiserver", api_server_command(layout, toolchain), environment=_lean_go())


def start_controllers(layout: Layout, toolchain: Toolchain, processes: Processes) -> None:
    """Starts controller manager and scheduler. The API server must be ready."""
    command = controller_manager_command(layout, toolchain)
    processes.start("kube-controller-manager", command, environment=_lean_go())
    processes.start("kube-scheduler", scheduler_command(layout, toolchain), environment=_lean_go())


def _lean_go() -> dict[str, str]:
    """A small heap matters more here than the collector's time."""
    return {"GOGC": "50", "PATH": "/usr/bin:/bin"}


def api_server_ready(layout: Layout) -> Callable[[], bool]:
    """A probe of the API server's /readyz that trusts only its own certificate."""

    def ready() -> bool:
        try:
            context = ssl.create_default_context(cafile=str(layout.certificate_authority))
            with urllib.request.urlopen(f"{layout.api_server_url}/readyz", timeout=2, context=context) as reply:  # noqa: S310
                return reply.status == 200
        except (OSError, urllib.error.URLError):
            return False

    return ready
