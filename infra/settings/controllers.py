"""The shape of what runs in the cluster beside the platform itself, and of the limits of roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from infra.settings.kinds import AddonVersion, InstanceType, Strict, Truth, Whole

ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]


class Karpenter(Strict):
    enabled: Truth = Field(description="Nodes for engines beyond the node groups: spot first, on demand behind.")
    version: Version = Field(description="Of the image; it must fit cluster.version.")
    image: ImageDigest = Field(description="Digest in the platform's own karpenter repository.")
    replicas: Whole = Field(ge=1, le=3, description="One leads, the others wait.")
    ami_alias: str = Field(
        pattern=r"^(bottlerocket@v[0-9]+\.[0-9]+\.[0-9]+|al2023@v[0-9]{8})$",
        description="A pinned node image, such as bottlerocket@v1.50.0; never the latest.",
    )
    instance_types: tuple[InstanceType, ...] = Field(min_length=1, max_length=60, description="GPU types, all alike.")
    volume_gib: Whole = Field(ge=20, le=16384, description="Data volume of each node, GiB of gp3.")
    max_gpus: Whole = Field(ge=0, le=1000, description="Ceiling of each pool, in GPUs.")
    per_colour: Truth = Field(
        description="Each colour has pools of its own, tagged with it, so that AWS can tell what it costs. No node is "
        "shared then: it needs node groups without GPUs (maxNodes and maxNodesPerZone 0)."
    )
    expire_after_hours: Whole = Field(ge=24, le=8760, description="A node is replaced at this age.")
    termination_grace_hours: Whole = Field(ge=1, le=168, description="A leaving node's pods are killed after this.")
    consolidate_after_minutes: Whole = Field(ge=1, le=1440, description="An empty node goes after this.")


class LoadBalancerController(Strict):
    enabled: Truth = Field(description="Binds gateway pods to target groups; false where another one does it.")
    version: Version = Field(description="Of the image, 3.x: its flags are those of 3.5.")
    image: ImageDigest = Field(description="Digest in the platform's own load-balancer-controller repository.")
    replicas: Whole = Field(ge=1, le=3, description="One leads, the others wait.")
    readiness_gates: Truth = Field(
        description="A gateway is ready once the load balancer sees it healthy; whoever binds pods must open gates."
    )


class DevicePlugin(Strict):
    enabled: Truth = Field(description="Tells the kubelet of GPUs on Amazon Linux; Bottlerocket has its own.")
    version: Version = Field(description="Of the image, NVIDIA's k8s-device-plugin.")
    image: ImageDigest = Field(description="Digest in the platform's own device-plugin repository.")


class Keda(Strict):
    enabled: Truth = Field(description="Scales deployments by triggers; needed by scaled objects alone.")
    version: Version = Field(description="Of both images.")
    operator_image: ImageDigest = Field(description="Digest in the platform's own keda repository.")
    adapter_image: ImageDigest = Field(description="Digest in the platform's own keda-metrics-apiserver repository.")
    replicas: Whole = Field(ge=1, le=3, description="Of the operator, of which one leads, and of the adapter.")


class Controllers(Strict):
    karpenter: Karpenter
    device_plugin: DevicePlugin = Field(description="NVIDIA's device plugin.")
    keda: Keda
    load_balancer: LoadBalancerController = Field(description="The AWS Load Balancer Controller.")


class ContainerInsights(Strict):
    enabled: Truth = Field(
        description="Logs of all pods and metrics of nodes, pods and GPUs to CloudWatch, at a price."
    )
    addon_version: AddonVersion = Field(description="Of EKS's add-on amazon-cloudwatch-observability.")


class Collector(Strict):
    enabled: Truth = Field(description="Metrics of gateways and engines to CloudWatch, with alarms on them.")
    version: Version = Field(description="Of the image, AWS Distro for OpenTelemetry.")
    image: ImageDigest = Field(description="Digest in the platform's own collector repository.")


class Access(Strict):
    permissions_boundary_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/")] | None = (
        Field(description="A managed policy that limits every role that the program makes; null: none.")
    )
