"""The rules that span several keys. Each is a function from the parsed shape to the problems that it finds."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from components import shares
from infra.settings import capacity, drain
from infra.settings.accelerators import gpus_of
from infra.settings.cluster_rules import CLUSTER_RULES
from infra.settings.data_rules import DATA_RULES
from infra.settings.edge_rules import EDGE_RULES
from infra.settings.engine_rules import ENGINE_RULES
from infra.settings.errors import Problem
from infra.settings.gateway_rules import GATEWAY_RULES
from infra.settings.memory_rules import MEMORY_RULES
from infra.settings.model import ColourRelease, Shape
from infra.settings.network_rules import NETWORK_RULES
from infra.settings.outside_rules import OUTSIDE_RULES
from infra.settings.pipeline_rules import PIPELINE_RULES
from infra.settings.placeholder_rules import PLACEHOLDER_RULES
from infra.settings.release_rules import RELEASE_RULES
from infra.settings.reservation_rules import RESERVATION_RULES
from infra.settings.scaling_rules import SCALING_RULES

SMALLEST_PREFIX = 20
LARGEST_PREFIX = 16
SLUG_LENGTH = 40


def model_slug(name: str) -> str:
    """A model's name as it may stand in the name of a Kubernetes object: `Qwen3-0.6B` becomes `qwen3-0-6b`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def colours(shape: Shape) -> dict[str, ColourRelease]:
    return {"blue": shape.release.blue, "green": shape.release.green}


def weights_make_a_hundred(shape: Shape) -> Iterator[Problem]:
    given = {colour: release.weight for colour, release in colours(shape).items()}
    if problem := shares.breach(given):
        yield Problem("release.green.weight", problem)


def a_colour_with_weight_can_answer(shape: Shape) -> Iterator[Problem]:
    for colour, release in colours(shape).items():
        if release.weight == 0:
            continue
        takes = f"the colour takes {release.weight} % of the traffic; allowed: 1 or more"
        if release.gateway_replicas == 0:
            yield Problem(f"release.{colour}.gatewayReplicas", f"0 is too small, {takes}")
        for model, replicas in release.engine_replicas.items():
            if replicas == 0:
                yield Problem(f"release.{colour}.engineReplicas.{model}", f"0 is too small, {takes}")


def engine_replicas_name_the_models(shape: Shape) -> Iterator[Problem]:
    names = [model.name for model in shape.models]
    for colour, release in colours(shape).items():
        path = f"release.{colour}.engineReplicas"
        for name in release.engine_replicas.keys() - set(names):
            yield Problem(f"{path}.{name}", f"no such model; allowed here: {', '.join(names)}")
        for name in set(names) - release.engine_replicas.keys():
            yield Problem(f"{path}.{name}", "is missing")


def models_do_not_clash(shape: Shape) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    slugs: dict[str, str] = {}
    for index, model in enumerate(shape.models):
        for path, name in [
            (f"models[{index}].name", model.name),
            *((f"models[{index}].aliases[{at}]", alias) for at, alias in enumerate(model.aliases)),
            *((f"models[{index}].loraAdapters[{at}].name", each.name) for at, each in enumerate(model.lora_adapters)),
        ]:
            if name in taken:
                yield Problem(path, f"{name!r} is taken by {taken[name]}; each name may stand once")
            taken.setdefault(name, path)
        slug = model_slug(model.name)
        if len(slug) > SLUG_LENGTH:
            yield Problem(f"models[{index}].name", f"has {len(slug)} characters; allowed: {SLUG_LENGTH} or fewer")
        if slug in slugs:
            yield Problem(
                f"models[{index}].name",
                f"{model.name!r} and {slugs[slug]!r} would both name Kubernetes objects {slug!r}",
            )
        slugs.setdefault(slug, model.name)
        if model.max_output_tokens > model.max_model_len:
            yield Problem(
                f"models[{index}].maxOutputTokens",
                f"{model.max_output_tokens} is too large; allowed: maxModelLen, {model.max_model_len}, or less",
            )


def namespace_is_a_label(shape: Shape) -> Iterator[Problem]:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", shape.namespace):
        yield Problem(
            "namespace", f"{shape.namespace!r} is not allowed; allowed: a-z, 0-9 and '-', at most 63 characters"
        )


def the_network_has_room(shape: Shape) -> Iterator[Problem]:
    prefix = ipaddress.IPv4Network(shape.network.cidr).prefixlen
    if prefix > SMALLEST_PREFIX:
        yield Problem(
            "network.cidr", f"{shape.network.cidr} is too small; allowed: /{LARGEST_PREFIX} to /{SMALLEST_PREFIX}"
        )
    if prefix < LARGEST_PREFIX:
        yield Problem(
            "network.cidr", f"{shape.network.cidr} is too large; allowed: /{LARGEST_PREFIX} to /{SMALLEST_PREFIX}"
        )
    zones = shape.network.zones
    for index, zone in enumerate(zones):
        if zone in zones[:index]:
            yield Problem(f"network.zones[{index}]", f"{zone!r} is given twice; each zone may stand once")
    if list(zones) != sorted(zones):
        yield Problem(
            "network.zones", f"must be in order: {', '.join(sorted(zones))}; a subnet's range follows its place"
        )


def node_counts_are_ordered(shape: Shape) -> Iterator[Problem]:
    groups = shape.node_groups
    for name, low, wanted, high, suffix in (
        ("system", groups.system.min_nodes, groups.system.desired_nodes, groups.system.max_nodes, ""),
        ("gpu", groups.gpu.min_nodes, groups.gpu.desired_nodes, groups.gpu.max_nodes, ""),
        (
            "gpuSpot",
            groups.gpu_spot.min_nodes_per_zone,
            groups.gpu_spot.desired_nodes_per_zone,
            groups.gpu_spot.max_nodes_per_zone,
            "PerZone",
        ),
    ):
        if not low <= wanted <= high:
            yield Problem(
                f"nodeGroups.{name}.desiredNodes{suffix}",
                f"{wanted} is not allowed; allowed: minNodes{suffix} {low} to maxNodes{suffix} {high}",
            )
    zones = len(shape.network.zones)
    if groups.system.desired_nodes < zones:
        yield Problem(
            "nodeGroups.system.desiredNodes",
            f"{groups.system.desired_nodes} leaves a zone empty; allowed: {zones} or more, one for each zone",
        )


def engines_find_gpus(shape: Shape) -> Iterator[Problem]:
    groups = shape.node_groups
    unknown = False
    for path, types in (
        ("nodeGroups.gpu", groups.gpu.instance_types),
        ("nodeGroups.gpuSpot", groups.gpu_spot.instance_types),
    ):
        for index, instance_type in enumerate(types):
            try:
                gpus_of(instance_type)
            except ValueError as problem:
                unknown = True
                yield Problem(f"{path}.instanceTypes[{index}]", str(problem))
    if unknown:
        return
    try:
        pools = capacity.gpu_pools(shape)
    except ValueError:
        return  # another rule names the type
    room = sum(pool.gpus * pool.most for pool in pools)
    wanted = sum(demand.gpus * demand.pods for demand in capacity.demands(shape))
    if wanted > room:
        names = [pool.name for pool in pools]
        yield Problem(
            "release",
            f"the engines of both colours want {wanted} GPUs, {', '.join(names[:-1])} and {names[-1]} have {room} at "
            "most; allowed: fewer engineReplicas or scaling.maxReplicas, or more maxNodes",
        )


def every_engine_fits_a_node(shape: Shape) -> Iterator[Problem]:
    try:
        yield from (Problem(*found) for found in capacity.unplaceable(shape))
    except ValueError:
        return  # engines_find_gpus names the type


def engines_survive_a_zone(shape: Shape) -> Iterator[Problem]:
    """Replicas, and node maxima with both colours up: where live data is, a lost zone must not end the service."""
    if shape.protected:
        for path, message in capacity.shortfalls(shape):
            yield Problem(path, f"{message}; protected: true needs it")


def drain_contract_holds(shape: Shape) -> Iterator[Problem]:
    for breach in drain.breaches(
        **shape.drain.model_dump(),
        probe_period_seconds=shape.probes.period_seconds,
        probe_failures=shape.probes.failure_threshold,
        spot=shape.node_groups.gpu_spot.max_nodes_per_zone > 0 or shape.controllers.karpenter.enabled,
    ):
        yield Problem(f"drain.{breach.key}", breach.message)


def storage_can_grow(shape: Shape) -> Iterator[Problem]:
    database = shape.data.database
    if database.max_storage_gib < database.storage_gib:
        yield Problem(
            "data.database.maxStorageGib",
            f"{database.max_storage_gib} is too small; allowed: storageGib = {database.storage_gib} or more, in GiB",
        )


def live_data_survives_a_zone(shape: Shape) -> Iterator[Problem]:
    """`protected: true` stands for production: what would lose data or a zone there is refused."""
    if not shape.protected:
        return
    demands = [
        (len(shape.network.zones) >= 3, "network.zones", "three zones or more"),
        (shape.network.nat_gateways != "one", "network.natGateways", "perZone, or none"),
        (
            "0.0.0.0/0" not in shape.cluster.public_endpoint_cidrs,
            "cluster.publicEndpointCidrs",
            "named ranges, or none",
        ),
        (shape.data.cache.replicas >= 1, "data.cache.replicas", "1 or more"),
        (shape.data.cache.tls, "data.cache.tls", "true"),
        (shape.data.cache.auth, "data.cache.auth", "true"),
        (shape.data.database.multi_zone, "data.database.multiZone", "true"),
        (shape.data.database.tls == "verify-full", "data.database.tls", "verify-full"),
        (shape.data.database.backup_days >= 7, "data.database.backupDays", "7 or more, in days"),
        (
            shape.edge.certificate_arn is not None or shape.edge.hosted_zone_id is not None,
            "edge.certificateArn",
            "a certificate, or edge.hostedZoneId to make one, so that clients speak HTTPS",
        ),
    ]
    zones = len(shape.network.zones)
    for colour, release in colours(shape).items():
        images = [("gatewayImage", release.gateway_image)]
        if shape.models:
            images.append(("engineImage", release.engine_image))
        for key, image in images:
            demands.append((image.startswith("sha256:"), f"release.{colour}.{key}", "a digest, sha256:..."))
        if release.weight:
            demands.append(
                (
                    release.gateway_replicas >= zones,
                    f"release.{colour}.gatewayReplicas",
                    f"{zones} or more, one for each zone",
                )
            )
    for holds, path, allowed in demands:
        if not holds:
            yield Problem(path, f"does not fit protected: true; allowed: {allowed}")


RULES = (
    weights_make_a_hundred,
    a_colour_with_weight_can_answer,
    engine_replicas_name_the_models,
    models_do_not_clash,
    namespace_is_a_label,
    the_network_has_room,
    node_counts_are_ordered,
    engines_find_gpus,
    every_engine_fits_a_node,
    drain_contract_holds,
    storage_can_grow,
    *DATA_RULES,
    *RELEASE_RULES,
    live_data_survives_a_zone,
    *EDGE_RULES,
    *GATEWAY_RULES,
    *NETWORK_RULES,
    *OUTSIDE_RULES,
    *PIPELINE_RULES,
    engines_survive_a_zone,
    *CLUSTER_RULES,
    *RESERVATION_RULES,
    *ENGINE_RULES,
    *MEMORY_RULES,
    *SCALING_RULES,
    *PLACEHOLDER_RULES,
)


def problems_of(shape: Shape) -> list[Problem]:
    return [problem for rule in RULES for problem in rule(shape)]
