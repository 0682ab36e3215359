"""The rules about the cluster's versions, node images and instance types: what cannot work is refused at preview."""

from __future__ import annotations

from collections.abc import Iterator

from components.arns import last_parts
from components.shares import COLOURS
from infra.settings import capacity, versions
from infra.settings.accelerators import gpus_of
from infra.settings.errors import Problem
from infra.settings.model import Shape


def versions_fit_together(shape: Shape) -> Iterator[Problem]:
    cluster = shape.cluster
    if cluster.version not in versions.KUBERNETES:
        yield Problem(
            "cluster.version", f"{cluster.version} is not allowed; allowed: {', '.join(versions.KUBERNETES)}, in quotes"
        )
    major, minor = versions.numbers(cluster.version)
    proxy = cluster.addon_versions.kube_proxy
    oldest = minor - versions.KUBE_PROXY_BEHIND
    if not (major, oldest) <= versions.numbers(proxy) <= (major, minor):
        yield Problem(
            "cluster.addonVersions.kubeProxy",
            f"{proxy} does not fit cluster.version {cluster.version}; allowed: {major}.{oldest} to {major}.{minor}",
        )
    network = cluster.addon_versions.vpc_cni
    if versions.numbers(network) < versions.NETWORK_POLICIES_FROM:
        yield Problem(
            "cluster.addonVersions.vpcCni",
            f"{network} does not enforce network policies; allowed: {_text(versions.NETWORK_POLICIES_FROM)} or later",
        )


def nodes_are_not_newer_than_the_cluster(shape: Shape) -> Iterator[Problem]:
    """So that control plane and nodes can be moved one after the other (Kubernetes skew policy for the kubelet)."""
    major, minor = versions.numbers(shape.cluster.version)
    oldest = minor - versions.KUBELET_BEHIND
    groups = shape.node_groups
    for name, group in (("system", groups.system), ("gpu", groups.gpu), ("gpuSpot", groups.gpu_spot)):
        if group.version and not (major, oldest) <= versions.numbers(group.version) <= (major, minor):
            yield Problem(
                f"nodeGroups.{name}.version",
                f"{group.version} does not fit cluster.version {shape.cluster.version}; "
                f"allowed: {major}.{oldest} to {major}.{minor}, in quotes, or null",
            )
        release = group.release_version
        if release is None or group.ami_type.startswith("BOTTLEROCKET"):
            continue
        if group.version and versions.numbers(release) != versions.numbers(group.version):
            yield Problem(
                f"nodeGroups.{name}.releaseVersion",
                f"{release} is an image for another Kubernetes than nodeGroups.{name}.version {group.version}; "
                f"allowed: {group.version}.x-yyyymmdd, or null",
            )


def node_images_fit_the_instances(shape: Shape) -> Iterator[Problem]:
    groups = shape.node_groups
    for name, group, gpus in (
        ("system", groups.system, False),
        ("gpu", groups.gpu, True),
        ("gpuSpot", groups.gpu_spot, True),
    ):
        path = f"nodeGroups.{name}"
        image = group.ami_type
        if image.startswith(versions.RETIRED_AMI):
            yield Problem(f"{path}.amiType", f"{image} is not made any more; allowed: AL2023_... or BOTTLEROCKET_...")
        if gpus and not versions.carries_driver(image):
            yield Problem(f"{path}.amiType", f"{image} has no NVIDIA driver; allowed: a type that names NVIDIA")
        if gpus and versions.needs_device_plugin(image) and not shape.controllers.device_plugin.enabled:
            yield Problem(
                f"{path}.amiType",
                f"{image} does not carry NVIDIA's device plugin, and controllers.devicePlugin.enabled is false: no pod "
                "would get a GPU; allowed: a Bottlerocket image that names NVIDIA, or the plugin",
            )
        if not gpus and versions.carries_driver(image):
            yield Problem(f"{path}.amiType", f"{image} is for GPU nodes; allowed: a type that does not name NVIDIA")
        wanted = versions.architecture_of_image(image)
        for index, instance_type in enumerate(group.instance_types):
            found = versions.architecture_of(instance_type)
            if found != wanted:
                yield Problem(
                    f"{path}.instanceTypes[{index}]",
                    f"{instance_type} is {found}, and amiType {image} is {wanted}; allowed: the same of both",
                )


def karpenter_fits(shape: Shape) -> Iterator[Problem]:
    wanted = shape.controllers.karpenter
    path = "controllers.karpenter"
    floor = versions.KARPENTER_FLOOR.get(shape.cluster.version)
    if floor and versions.numbers(wanted.version) < floor:
        yield Problem(
            f"{path}.version",
            f"{wanted.version} does not know Kubernetes {shape.cluster.version}; allowed: {_text(floor)} or later",
        )
    for index, instance_type in enumerate(wanted.instance_types):
        try:
            gpus_of(instance_type)
        except ValueError as problem:
            yield Problem(f"{path}.instanceTypes[{index}]", str(problem))
    if len({versions.architecture_of(each) for each in wanted.instance_types}) > 1:
        yield Problem(
            f"{path}.instanceTypes", "x86_64 and arm64 stand together; allowed: one kind, as the engine image"
        )
    if (
        wanted.enabled
        and versions.needs_device_plugin_alias(wanted.ami_alias)
        and not shape.controllers.device_plugin.enabled
    ):
        yield Problem(
            f"{path}.amiAlias",
            f"{wanted.ami_alias} does not carry NVIDIA's device plugin, and controllers.devicePlugin.enabled is false; "
            "allowed: bottlerocket@..., or the plugin",
        )
    if wanted.termination_grace_hours * 3600 < shape.drain.grace_seconds:
        yield Problem(
            f"{path}.terminationGraceHours",
            f"{wanted.termination_grace_hours} h is shorter than drain.graceSeconds {shape.drain.grace_seconds}; "
            "allowed: as long or longer",
        )


def colours_share_no_node(shape: Shape) -> Iterator[Problem]:
    """Pools of a colour are of use only where its engines run nowhere else."""
    wanted, path = shape.controllers.karpenter, "controllers.karpenter.perColour"
    if shape.budget.colour_usd is not None and not (wanted.per_colour and wanted.enabled and shape.models):
        yield Problem(
            "budget.colourUsd",
            f"{shape.budget.colour_usd}: AWS bills nodes, and both colours share them; allowed: null, or engines with "
            f"{path}: true",
        )
    if not wanted.per_colour:
        return
    if not wanted.enabled:
        yield Problem(path, "true needs controllers.karpenter.enabled: true; allowed: false")
    groups = shape.node_groups
    for key, most in (
        ("gpu.maxNodes", groups.gpu.max_nodes),
        ("gpuSpot.maxNodesPerZone", groups.gpu_spot.max_nodes_per_zone),
    ):
        if most:
            yield Problem(
                f"nodeGroups.{key}", f"{most}: engines of both colours would share these nodes; allowed with {path}: 0"
            )


def each_colour_fits_its_pools(shape: Shape) -> Iterator[Problem]:
    """The other colour's room is of no use to a colour with pools of its own."""
    if not (shape.controllers.karpenter.per_colour and shape.models):
        return
    try:
        now = capacity.situations(shape)[0]
    except ValueError:
        return  # another rule names the type
    if now.left:
        wanted = ", ".join(f"{colour} {now.of_colour(colour)['gpus']}" for colour in COLOURS)
        most = shape.controllers.karpenter.max_gpus
        yield Problem(
            "controllers.karpenter.maxGpus",
            f"{most} in each of a colour's two pools is too small: wanted are {wanted} GPUs, and {now.left} engine "
            "pods find none; allowed: more, or fewer engineReplicas",
        )


def load_balancer_controller_fits(shape: Shape) -> Iterator[Problem]:
    wanted = shape.controllers.load_balancer
    if versions.numbers(wanted.version)[0] != 3:
        yield Problem(
            "controllers.loadBalancer.version", f"{wanted.version} has other flags than are written; allowed: 3.x"
        )


def boundary_is_in_the_account(shape: Shape) -> Iterator[Problem]:
    boundary = shape.access.permissions_boundary_arn
    if boundary and boundary.split(":")[4] not in ("aws", shape.aws.account_id):
        yield Problem(
            "access.permissionsBoundaryArn",
            f"{boundary} is of another account; allowed: a policy of aws.accountId {shape.aws.account_id}",
        )


def administrators_have_names_of_their_own(shape: Shape) -> Iterator[Problem]:
    try:
        last_parts(shape.cluster.administrators)
    except ValueError as problem:
        yield Problem("cluster.administrators", str(problem))


def a_prometheus_endpoint_has_a_writer(shape: Shape) -> Iterator[Problem]:
    watch = shape.watch
    if watch.prometheus != "none" and not watch.collector.enabled:
        yield Problem(
            "watch.prometheus",
            f"{watch.prometheus!r} would stay empty, for watch.collector.enabled is false; allowed: none",
        )


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


CLUSTER_RULES = (
    versions_fit_together,
    nodes_are_not_newer_than_the_cluster,
    node_images_fit_the_instances,
    karpenter_fits,
    colours_share_no_node,
    each_colour_fits_its_pools,
    load_balancer_controller_fits,
    boundary_is_in_the_account,
    administrators_have_names_of_their_own,
    a_prometheus_endpoint_has_a_writer,
)
