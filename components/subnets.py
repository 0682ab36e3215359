"""The subnet plan: how a VPC's range is cut up. Pure arithmetic.

The range is cut into eight equal parts. Parts 0 to 5 are the private subnets, one for each zone (pods live there and
need most addresses); part 6 is cut into eight again for the public subnets, part 7 for the intra subnets, which have no
way out. A zone's ranges depend on its place in the list alone, so a zone added at the end moves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

PARTS_BITS = 3
MAX_ZONES = 6
SMALLEST_PREFIX = 20
"""A /20 gives public subnets of 32 addresses; AWS keeps 5 of each, and a load balancer asks for 8 free ones."""
LARGEST_PREFIX = 16
"""The largest VPC that AWS makes."""


@dataclass(frozen=True)
class ZonePlan:
    zone: str
    """Zone letter."""
    public: str
    private: str
    intra: str


def plan(cidr: str, zones: Sequence[str]) -> list[ZonePlan]:
    """The ranges of each zone, in the order given. Raises ValueError for a range or a list that cannot be served."""
    network = IPv4Network(cidr)
    if not LARGEST_PREFIX <= network.prefixlen <= SMALLEST_PREFIX:
        raise ValueError(f"{cidr} cannot be cut up; allowed: /{LARGEST_PREFIX} to /{SMALLEST_PREFIX}")
    if not 1 <= len(zones) <= MAX_ZONES or len(set(zones)) != len(zones):
        raise ValueError(f"{list(zones)} cannot be served; allowed: 1 to {MAX_ZONES} different zones")
    parts = list(network.subnets(prefixlen_diff=PARTS_BITS))
    public = list(parts[6].subnets(prefixlen_diff=PARTS_BITS))
    intra = list(parts[7].subnets(prefixlen_diff=PARTS_BITS))
    return [
        ZonePlan(zone, public=str(public[index]), private=str(parts[index]), intra=str(intra[index]))
        for index, zone in enumerate(zones)
    ]
