"""The subnet plan."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.subnets import LARGEST_PREFIX, MAX_ZONES, SMALLEST_PREFIX, plan

LETTERS = "abcdef"
RESERVED_BY_AWS = 5
FREE_FOR_A_LOAD_BALANCER = 8

networks = st.builds(
    lambda first, prefix: str(IPv4Network(((10 << 24) | (first << 12), prefix), strict=False)),
    st.integers(0, 4095),
    st.integers(LARGEST_PREFIX, SMALLEST_PREFIX),
)
zone_lists = st.integers(1, MAX_ZONES).map(lambda count: list(LETTERS[:count]))


@given(networks, zone_lists)
def test_subnets_lie_inside_the_network_and_never_overlap(cidr: str, zones: list[str]):
    ranges = [IPv4Network(text) for each in plan(cidr, zones) for text in (each.public, each.private, each.intra)]
    assert all(each.subnet_of(IPv4Network(cidr)) for each in ranges)
    assert not any(one.overlaps(other) for one, other in combinations(ranges, 2))


@given(networks, st.integers(2, MAX_ZONES))
def test_every_zone_of_two_to_six_gets_one_subnet_of_each_kind_of_the_same_size(cidr: str, count: int):
    zones = plan(cidr, LETTERS[:count])
    assert [each.zone for each in zones] == list(LETTERS[:count])
    for kind in ("public", "private", "intra"):
        assert len({IPv4Network(getattr(each, kind)).prefixlen for each in zones}) == 1


@given(networks, zone_lists)
def test_a_zone_added_at_the_end_moves_no_subnet(cidr: str, zones: list[str]):
    assert plan(cidr, LETTERS)[: len(zones)] == plan(cidr, zones)


@given(networks, zone_lists)
def test_pods_get_the_largest_ranges_and_load_balancers_enough(cidr: str, zones: list[str]):
    for each in plan(cidr, zones):
        public, private = IPv4Network(each.public), IPv4Network(each.private)
        assert private.num_addresses == 8 * public.num_addresses
        assert public.num_addresses - RESERVED_BY_AWS >= FREE_FOR_A_LOAD_BALANCER


def test_the_plan_of_a_16_network_is_as_documented():
    first = plan("10.64.0.0/16", ["a", "b", "c"])[0]
    assert (first.private, first.public, first.intra) == ("10.64.0.0/19", "10.64.192.0/22", "10.64.224.0/22")


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/21"])
def test_a_network_of_another_size_is_refused(cidr: str):
    with pytest.raises(ValueError, match="allowed: /16 to /20"):
        plan(cidr, ["a"])


@pytest.mark.parametrize("zones", [[], ["a", "a"], list("abcdefg")])
def test_zones_that_cannot_be_served_are_refused(zones: list[str]):
    with pytest.raises(ValueError, match="1 to 6 different zones"):
        plan("10.0.0.0/16", zones)
