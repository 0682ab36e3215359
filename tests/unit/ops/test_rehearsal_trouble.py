"""What a rehearsed destroy must have reported of the trouble that was planted."""

import pytest

from infra.ops.cost.prices import Price, Table
from infra.ops.destroy.cloud import Interface
from infra.ops.destroy.orphans import Orphan
from infra.ops.destroy.run import Report
from infra.ops.rehearsal_trouble import Trouble

TROUBLE = Trouble(instance="", interface="eni-1", volume="vol-1")
WITH_A_PRICE = Table("eu-central-1", {"ebs:gp3-gib-month": Price(0.1, "test", "2026-11-22")})
WITHOUT = Table("eu-south-2", {})


def reported(*left: Orphan) -> Report:
    return Report("local", interfaces=[Interface("eni-1", "forgotten", free=True, ours=True)], left=list(left))


@pytest.mark.parametrize(
    ("table", "usd", "words"),
    [
        (WITH_A_PRICE, 10.0, []),
        (WITHOUT, None, []),
        (WITH_A_PRICE, None, ["the orphaned volume was named with a price of None USD a month"]),
        (WITHOUT, 10.0, ["the orphaned volume was named with a price of 10.0 USD a month"]),
    ],
    ids=["priced", "no price in this region", "its price left out", "a price from nowhere"],
)
def test_a_volume_is_named_with_the_price_that_its_region_has(table: Table, usd: float | None, words: list[str]):
    assert TROUBLE.missed(reported(Orphan("arn:aws:ec2:x:1:volume/vol-1", "ec2 volume", usd)), table) == words


def test_a_volume_that_is_not_named_and_anything_else_that_is_left_are_told():
    assert TROUBLE.missed(reported(), WITHOUT) == ["the orphaned volume was not named"]
    found = TROUBLE.missed(reported(Orphan("volume/vol-1", "ec2 volume"), Orphan("vpc/1", "ec2 vpc", 0.0)), WITHOUT)
    assert found == ["more is left: vpc/1"]
