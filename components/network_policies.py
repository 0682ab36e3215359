"""Who may talk to whom among the pods, as NetworkPolicy specs in Kubernetes' own spelling. Pure functions."""

from collections.abc import Mapping, Sequence

from components.manifests import CACHE_PORT, DATABASE_PORT, ENGINE_PORT, GATEWAY_PORT, PART_OF
from components.migration import APP as MIGRATION
from components.pods import Manifest

DNS_PORT = 53
HTTPS_PORT = 443
IDENTITY_AGENT = "169.254.170.23/32"
"""Where the EKS Pod Identity agent gives out credentials, on every node (EKS user guide)."""
IDENTITY_PORT = 80
SCALER, SCALER_NAMESPACE = "keda-operator", "keda"
"""Reads the gateways' demand where models scale."""
WORKER = "engine-worker"
"""Pods that compute for an engine of several pods, and answer nobody: `app.kubernetes.io/name`."""
COLLECTOR = "collector"
"""Scrapes gateways, engines and workers of jobs where a stack has it."""
JOBS, WORKER_PORT = "jobs", 8080
"""Workers of jobs, and where they answer probes and show their metrics."""


def network_policies(
    vpc_cidr: str, edge_cidrs: Sequence[str], *, scaled: bool = False, grouped: bool = False
) -> dict[str, Manifest]:
    """The `spec` of each NetworkPolicy, by name. A pod's own node reaches it always, so probes need no rule.

    A pod that no policy but `default-deny` names reaches nothing and is reached by nobody. `scaled`: KEDA reads the
    gateways' metrics; `grouped`: engines of several pods, which talk to each other on ports of their own choice.
    """
    gateways, engines = _app("gateway"), _app("engine")
    cluster_dns = _to([_pods_of("kube-system", {"k8s-app": "kube-dns"})], DNS_PORT, "UDP", "TCP")
    identity = _to([_range(IDENTITY_AGENT)], IDENTITY_PORT)
    return {
        "default-deny": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        "gateway": {
            "podSelector": gateways,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [_range(cidr) for cidr in edge_cidrs], "ports": [_port(GATEWAY_PORT)]},
                {"from": [{"podSelector": _app(COLLECTOR)}], "ports": [_port(GATEWAY_PORT)]},
                *([{"from": [scaler()], "ports": [_port(GATEWAY_PORT)]}] if scaled else []),
            ],
            "egress": [
                cluster_dns,
                identity,
                _to([{"podSelector": engines}], ENGINE_PORT),
                _to([_range(vpc_cidr)], CACHE_PORT),
                _to([_range(vpc_cidr)], DATABASE_PORT),
                # The API server, AWS, and outside model providers.
                _to([_range("0.0.0.0/0")], HTTPS_PORT),
            ],
        },
        "migration": {
            "podSelector": _app(MIGRATION),
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [
                cluster_dns,
                identity,
                _to([_range(vpc_cidr)], DATABASE_PORT),
                # Secrets Manager, which keeps the owner's password.
                _to([_range("0.0.0.0/0")], HTTPS_PORT),
            ],
        },
        "engine": {
            "podSelector": engines,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [{"podSelector": gateways}, {"podSelector": _app(COLLECTOR)}],
                    "ports": [_port(ENGINE_PORT)],
                }
            ],
            "egress": [
                cluster_dns,
                identity,
                # Weights come from S3, whose addresses are outside the VPC; nothing inside is an engine's business.
                _to([{"ipBlock": {"cidr": "0.0.0.0/0", "except": [vpc_cidr]}}], HTTPS_PORT),
            ],
        },
        **(_groups() if grouped else {}),
    }


def _groups() -> dict[str, Manifest]:
    """Engines of several pods: these talk to each other, and the pods behind the first one to S3 beside."""
    members = [{"podSelector": _app("engine")}, {"podSelector": _app(WORKER)}]
    every = {"protocol": "TCP", "port": 1024, "endPort": 65535}
    among = {"ingress": [{"from": members, "ports": [every]}], "egress": [{"to": members, "ports": [every]}]}
    both = ["Ingress", "Egress"]
    outside = [
        _to([_pods_of("kube-system", {"k8s-app": "kube-dns"})], DNS_PORT, "UDP", "TCP"),
        _to([_range(IDENTITY_AGENT)], IDENTITY_PORT),
        _to([_range("0.0.0.0/0")], HTTPS_PORT),
    ]
    return {
        "engine-group": {"podSelector": _app("engine"), "policyTypes": both, **among},
        "engine-worker": {
            "podSelector": _app(WORKER),
            "policyTypes": both,
            "ingress": among["ingress"],
            "egress": [*among["egress"], *outside],
        },
    }


def to_aws() -> list[Manifest]:
    """Egress of a controller that acts on AWS: DNS, its credentials, and HTTPS to the API server and to AWS."""
    return [
        _to([_pods_of("kube-system", {"k8s-app": "kube-dns"})], DNS_PORT, "UDP", "TCP"),
        _to([_range(IDENTITY_AGENT)], IDENTITY_PORT),
        _to([_range("0.0.0.0/0")], HTTPS_PORT),
    ]


def scaler() -> Manifest:
    """KEDA's operator, as a peer."""
    return _pods_of(SCALER_NAMESPACE, {"app.kubernetes.io/name": SCALER})


def scaler_egress() -> list[Manifest]:
    """As a controller, and to the gateways whose demand and the workers whose queue it reads."""
    platform = {"namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": PART_OF}}}
    return [
        *to_aws(),
        _to([platform | {"podSelector": _app("gateway")}], GATEWAY_PORT),
        _to([platform | {"podSelector": _app(JOBS)}], WORKER_PORT),
    ]


def collector_egress() -> list[Manifest]:
    """As a controller, and to what it scrapes."""
    return [
        *to_aws(),
        _to([{"podSelector": _app("gateway")}], GATEWAY_PORT),
        _to([{"podSelector": _app("engine")}], ENGINE_PORT),
        _to([{"podSelector": _app(JOBS)}], WORKER_PORT),
    ]


def _app(name: str) -> Manifest:
    return {"matchLabels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PART_OF}}


def _pods_of(namespace: str, labels: Mapping[str, str]) -> Manifest:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": dict(labels)},
    }


def _range(cidr: str) -> Manifest:
    return {"ipBlock": {"cidr": cidr}}


def _port(port: int, protocol: str = "TCP") -> Manifest:
    return {"port": port, "protocol": protocol}


def _to(peers: Sequence[Manifest], port: int, *protocols: str) -> Manifest:
    return {"to": list(peers), "ports": [_port(port, protocol) for protocol in protocols or ("TCP",)]}
