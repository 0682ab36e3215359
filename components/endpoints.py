"""Which AWS services a network without a way out must reach from the inside, and where images come from. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NODES = "nodes"
POD_IDENTITY = "pod identity"
TARGET_BINDING = "target binding"
BUDGET_EVENTS = "budget events"
KARPENTER = "karpenter"
MIGRATION = "migration"
COLLECTOR = "collector"
MANAGED_PROMETHEUS = "managed prometheus"
TELEMETRY = "telemetry"
PROVIDER_KEYS = "provider keys"
BEDROCK = "bedrock"

NEEDS: Mapping[str, Sequence[str]] = {
    # A node asks EC2 for its own data and addresses, EKS for its cluster, STS for its token, ECR for its images.
    NODES: ("ec2", "ecr.api", "ecr.dkr", "eks", "sts"),
    # The agent on each node changes a pod's token for credentials.
    POD_IDENTITY: ("eks-auth",),
    # Pods that come and go are registered with the load balancer.
    TARGET_BINDING: ("elasticloadbalancing",),
    # Gateways read what budgets say.
    BUDGET_EVENTS: ("sqs",),
    # It reads the password of the database's owner.
    MIGRATION: ("secretsmanager",),
    # Gateways read the keys of outside providers.
    PROVIDER_KEYS: ("secretsmanager",),
    # They ask models on Bedrock.
    BEDROCK: ("bedrock-runtime",),
    # It starts nodes, finds their images, and hears of interruptions.
    KARPENTER: ("ec2", "eks", "sqs", "ssm"),
    # Metrics of gateways and engines become CloudWatch's as log lines.
    COLLECTOR: ("logs",),
    # And Prometheus's by remote write.
    MANAGED_PROMETHEUS: ("aps-workspaces",),
    # Logs and metrics of nodes and containers.
    TELEMETRY: ("ec2", "logs", "monitoring"),
}
"""Part of the platform -> names of interface endpoints, as in `com.amazonaws.<region>.<name>`. Amazon EKS user guide,
"Deploy private clusters with limited internet access"."""

GATEWAY_SERVICES = ("s3",)
"""Reached by a route and free of charge: weights, and the layers of images in ECR. Every network has it."""

CALLED_BY_AWS = ("kms",)
"""Services that AWS calls for a pod, with the pod's rights: S3 decrypts weights, SQS messages. No endpoint."""

WITHOUT_ENDPOINT = ("iam", "pricing")
"""Services that a region's network cannot reach from the inside; a controller does without them there."""

PULLED_THROUGH = ("public.ecr.aws", "registry.k8s.io", "quay.io", "docker.io", "ghcr.io")
"""Registries that an ECR pull-through cache serves (ECR user guide, "Sync an upstream registry")."""

_PRIVATE_REGISTRY = re.compile(r"^[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$")


def interface_endpoints(parts: Iterable[str]) -> list[str]:
    """The endpoints that these parts need, sorted, each once. Raises ValueError for a part that is not known."""
    parts = list(parts)
    if unknown := sorted(set(parts) - NEEDS.keys()):
        raise ValueError(f"{', '.join(unknown)}: no such part; allowed: {', '.join(sorted(NEEDS))}")
    return sorted({service for part in parts for service in NEEDS[part]})


@dataclass(frozen=True)
class ImageSource:
    """A registry that pods or nodes pull from."""

    registry: str
    images: tuple[str, ...]
    reachable: bool
    """Through the endpoints `ecr.api` and `ecr.dkr` and the gateway endpoint of S3."""
    remedy: str
    """What to do where it is not reachable; empty where it is."""


def image_sources(references: Iterable[str]) -> list[ImageSource]:
    """The registries of these images, sorted. A reference without a registry is Docker Hub's."""
    found: dict[str, set[str]] = {}
    for reference in references:
        first, slash, _ = reference.partition("/")
        named = bool(slash) and ("." in first or ":" in first or first == "localhost")
        found.setdefault(first if named else "docker.io", set()).add(reference)
    return [_source(registry, sorted(images)) for registry, images in sorted(found.items())]


def _source(registry: str, images: Sequence[str]) -> ImageSource:
    reachable = bool(_PRIVATE_REGISTRY.match(registry))
    if reachable:
        remedy = ""
    elif registry in PULLED_THROUGH:
        remedy = f"an ECR pull-through cache rule for {registry}, and the image named through it"
    else:
        remedy = "a copy in a repository of the platform's account"
    return ImageSource(registry, tuple(images), reachable, remedy)


@dataclass(frozen=True)
class PrivateNeeds:
    """All that a network without NAT must have inside."""

    interface_endpoints: tuple[str, ...]
    gateway_endpoints: tuple[str, ...]
    images: tuple[ImageSource, ...]

    @property
    def unreachable(self) -> list[ImageSource]:
        return [source for source in self.images if not source.reachable]


def private_needs(parts: Iterable[str], images: Iterable[str]) -> PrivateNeeds:
    """What must be reachable from the inside for these parts and images. Raises as `interface_endpoints` does."""
    return PrivateNeeds(tuple(interface_endpoints(parts)), GATEWAY_SERVICES, tuple(image_sources(images)))
