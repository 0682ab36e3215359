"""The rules about types that are had by reservation alone, and about the reservations that a stack file names."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings import versions
from infra.settings.accelerators import BLOCK_FAMILIES, RESERVATION_ONLY, gpus_of
from infra.settings.errors import Problem
from infra.settings.model import Shape

PATH = "nodeGroups.reservations"
RESERVED = f"is had by reservation alone; allowed: a type without one here, and the reservation in {PATH}"


def reserved_types_have_a_reservation(shape: Shape) -> Iterator[Problem]:
    """In a list of types such a type would wait for ever, whatever is reserved: nothing there names a reservation."""
    groups = shape.node_groups
    for path, types in (
        ("nodeGroups.gpu", groups.gpu.instance_types),
        ("nodeGroups.gpuSpot", groups.gpu_spot.instance_types),
        ("controllers.karpenter", shape.controllers.karpenter.instance_types),
    ):
        for index, instance_type in enumerate(types):
            if instance_type in RESERVATION_ONLY:
                yield Problem(f"{path}.instanceTypes[{index}]", f"{instance_type} {RESERVED}")


def reservations_stand_once(shape: Shape) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for index, reservation in enumerate(shape.node_groups.reservations):
        for key, value in (("name", reservation.name), ("id", reservation.id)):
            path = f"{PATH}[{index}].{key}"
            if value in taken:
                yield Problem(path, f"{value!r} is taken by {taken[value]}; each may stand once")
            taken.setdefault(value, path)


def reservations_can_be_used(shape: Shape) -> Iterator[Problem]:
    """What can be known without asking AWS; `penstock preflight` asks whether the reservation is as it is written."""
    karpenter, image = shape.controllers.karpenter, shape.node_groups.gpu.ami_type
    for index, reservation in enumerate(shape.node_groups.reservations):
        path, kind = f"{PATH}[{index}]", reservation.instance_type
        if reservation.zone not in shape.network.zones:
            yield Problem(
                f"{path}.zone",
                f"{reservation.zone!r} is no zone of the stack; allowed: {', '.join(shape.network.zones)}, or a "
                "reservation in one of them",
            )
        try:
            gpus_of(kind)
        except ValueError as problem:
            yield Problem(f"{path}.instanceType", str(problem))
            continue
        if reservation.kind == "capacityBlock" and kind.partition(".")[0] not in BLOCK_FAMILIES:
            yield Problem(
                f"{path}.kind",
                f"EC2 sells no Capacity Blocks of {kind}; allowed: onDemand, or a type of {', '.join(BLOCK_FAMILIES)}",
            )
        fits = versions.architecture_of(kind) == versions.architecture_of_image(image)
        if reservation.used_by == "nodeGroup" and not fits:
            yield Problem(f"{path}.instanceType", f"{kind} does not run nodeGroups.gpu.amiType {image}")
        if reservation.used_by == "karpenter" and not (karpenter.enabled and shape.models):
            yield Problem(
                f"{path}.usedBy",
                "'karpenter' needs controllers.karpenter.enabled: true, and engines; allowed: nodeGroup",
            )
        if karpenter.per_colour:
            yield Problem(
                path,
                "engines of both colours would share these nodes; allowed with controllers.karpenter.perColour: "
                "no reservations",
            )


RESERVATION_RULES = (reserved_types_have_a_reservation, reservations_stand_once, reservations_can_be_used)
