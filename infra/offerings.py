"""Which instance types EC2 offers in the stack's zones, asked at preview: a group that could never start is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pulumi
import pulumi_aws as aws

from infra.settings import Settings


def groups_of(settings: Settings) -> dict[str, Sequence[str]]:
    """The instance types of each managed group that may have nodes, by the key of the stack file."""
    groups = settings.node_groups
    found = {"nodeGroups.system.instanceTypes": groups.system.instance_types}
    if groups.gpu.max_nodes:
        found["nodeGroups.gpu.instanceTypes"] = groups.gpu.instance_types
    if groups.gpu_spot.max_nodes_per_zone:
        found["nodeGroups.gpuSpot.instanceTypes"] = groups.gpu_spot.instance_types
    return found


def pools_of(settings: Settings) -> dict[str, Sequence[str]]:
    """The same for Karpenter's pools, which start a node wherever there is one."""
    wanted = settings.controllers.karpenter
    if not (wanted.enabled and wanted.max_gpus and settings.runs_engines):
        return {}
    return {"controllers.karpenter.instanceTypes": wanted.instance_types}


def reservations_of(settings: Settings) -> dict[str, tuple[str, str]]:
    """Instance type and full name of the zone of each reservation, by the key of the stack file."""
    return {
        f"nodeGroups.reservations[{index}]": (each.instance_type, f"{settings.aws.region}{each.zone}")
        for index, each in enumerate(settings.node_groups.reservations)
    }


def not_offered(
    groups: Mapping[str, Sequence[str]],
    pools: Mapping[str, Sequence[str]],
    zones: Sequence[str],
    offered: Collection[tuple[str, str]],
    reservations: Mapping[str, tuple[str, str]] | None = None,
) -> list[str]:
    """What cannot start, as sentences. `zones` are full names, `offered` pairs of instance type and zone.

    A managed group has subnets in every zone, so each zone must offer a type of its list; a pool needs one zone. A
    reservation is in one zone, which must offer its type.
    """
    found = []
    for path, types in groups.items():
        empty = [zone for zone in zones if not any((kind, zone) in offered for kind in types)]
        if empty:
            found.append(
                f"penstock:{path}: EC2 offers none of {', '.join(types)} in {', '.join(empty)}; "
                "allowed: a list with a type for each zone of penstock:network.zones, or other zones"
            )
    for path, types in pools.items():
        if not any((kind, zone) in offered for kind in types for zone in zones):
            found.append(
                f"penstock:{path}: EC2 offers none of {', '.join(types)} in {', '.join(zones)}; "
                "allowed: types that a zone of penstock:network.zones offers"
            )
    for path, (kind, zone) in (reservations or {}).items():
        if (kind, zone) not in offered:
            found.append(
                f"penstock:{path}: EC2 offers no {kind} in {zone}, so the reservation is another; "
                "allowed: the zone and the type that EC2 shows for its id"
            )
    return found


def types_are_offered(settings: Settings, provider: pulumi.ProviderResource) -> pulumi.Output[bool]:
    """True once EC2 said so, at preview already. Fails with pulumi.RunError for a group or pool that cannot start."""
    groups, pools, reservations = groups_of(settings), pools_of(settings), reservations_of(settings)
    zones = [f"{settings.aws.region}{zone}" for zone in settings.network.zones]
    listed = {kind for each in (*groups.values(), *pools.values()) for kind in each}
    types = sorted(listed | {kind for kind, _ in reservations.values()})
    reply = aws.ec2.get_instance_type_offerings_output(
        location_type="availability-zone",
        filters=[{"name": "instance-type", "values": types}, {"name": "location", "values": zones}],
        opts=pulumi.InvokeOutputOptions(provider=provider),
    )

    def judged(answer: aws.ec2.GetInstanceTypeOfferingsResult) -> bool:
        offered = set(zip(answer.instance_types, answer.locations, strict=True))
        if refused := not_offered(groups, pools, zones, offered, reservations):
            raise pulumi.RunError("; ".join(refused))
        return True

    return reply.apply(judged)
