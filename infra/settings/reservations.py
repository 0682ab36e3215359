"""The shape of capacity that was reserved in EC2 beforehand, and is named in the stack file by its id."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from infra.settings.kinds import InstanceType, Strict, Whole, Zone

ReservationId = Annotated[str, Field(pattern=r"^cr-([0-9a-f]{8}|[0-9a-f]{17})$")]


class Reservation(Strict):
    """Instances of one type in one zone. Nodes start in it alone, and never beside it."""

    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$")] = Field(
        description="Names the node group or the node pool; another name makes new nodes."
    )
    kind: Literal["onDemand", "capacityBlock"] = Field(
        description="An On-Demand Capacity Reservation, or a Capacity Block for ML, which ends on its day."
    )
    id: ReservationId = Field(description="Of EC2's, such as cr-0123456789abcdef0.")
    zone: Zone = Field(description="Where it is; the letter must be one of network.zones.")
    instance_type: InstanceType = Field(description="Of all its instances, a type with GPUs.")
    nodes: Whole = Field(
        ge=0, le=450, description="How many of its instances the stack takes; 0 until a Capacity Block has begun."
    )
    used_by: Literal["nodeGroup", "karpenter"] = Field(
        description="A managed group of so many nodes, as nodeGroups.gpu has image and volume; or a pool of "
        "Karpenter's, which starts so many at most, for pods that wait."
    )
