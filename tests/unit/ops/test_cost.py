"""`penstock cost`: the sums, the price table, and prices that AWS is asked for."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st

from infra.ops import aws
from infra.ops.cli import COMMANDS, run
from infra.ops.context import Context
from infra.ops.cost import prices, refresh
from infra.ops.cost.estimate import HOURS, Estimate, estimate
from infra.ops.cost.prices import Price, Table, TableError
from infra.settings import Settings
from infra.settings.accelerators import GPUS_BY_FAMILY, gpus_of
from tests.unit.settings_cases import CHECKOUT, VALUES, put

REGION = "eu-central-1"
ROUND: dict[str, float] = {
    "ec2:m7i.xlarge": 1,
    "ec2:g6e.2xlarge": 10,
    "ec2:g6e.4xlarge": 12,
    "ec2:g6e.8xlarge": 14,
    "eks:cluster-hour": 2,
    "vpc:nat-hour": 3,
    "vpc:address-hour": 0.5,
    "vpc:endpoint-hour": 0.25,
    "elb:balancer-hour": 4,
    "ebs:gp3-gib-month": 0.1,
    "cache:cache.m7g.large": 5,
    "rds:db.m7g.large": 6,
    "rds:gp3-gib-month": 0.2,
    "kms:key-month": 1,
    "secret:month": 0.4,
    "waf:acl-month": 5,
    "waf:rule-month": 1,
    "s3:gib-month": 0.02,
    "amp:million-samples": 0.1,
    "insights:million-observations": 0.2,
}
"""Figures that a person can multiply."""


COPIES = Table(
    "eu-west-1",
    {
        key: Price(usd, "test", "2026-01-01")
        for key, usd in {"kms:key-month": 1.0, "s3:gib-month": 0.02, "rds:backup-gib-month": 0.1}.items()
    },
)


def table() -> Table:
    return Table(REGION, {key: Price(usd, "test", "2026-01-01") for key, usd in ROUND.items()})


def month(stack: str = "prod", at: Table | None = None, changes: dict[str, Any] | None = None, **more: Any) -> Estimate:
    values = copy.deepcopy(VALUES[stack])
    values["protected"] = False
    values["network"].update(natGateways="perZone")
    for path, value in (changes or {}).items():
        put(path, value)(values)
    given: dict[str, Any] = {"endpoints": 8, "keys": 9, "copies": COPIES, **more}
    return estimate(Settings.parse(values), at or table(), **given)


def test_the_sum_of_prod_is_the_one_that_a_person_would_make():
    parts = month().by_part()
    assert parts == pytest.approx(
        {
            "control plane": 2 * 730,
            "nodes on demand": (3 * 1 + 6 * 10) * 730,
            "nodes on spot": 3 * 14 * 730,
            "storage": (3 * 80 + 6 * 300 + 3 * 300) * 0.1,
            "NAT": 3 * (3 + 0.5) * 730,
            "endpoints": 8 * 3 * 0.25 * 730,
            "load balancer": (4 + 3 * 0.5) * 730,
            "cache": 3 * 5 * 730,
            "database": 2 * 6 * 730 + 2 * 100 * 0.2,
            "keys": 9 * 1 + 6 * 0.4,
            "firewall": 5 + 4 * 1,
            "weights": (15.3 + 1.4) * 0.02,
            # 9 engines and 6 gateways, asked every 30 seconds; 12 nodes of 10 pods, and those 15 pods, each minute.
            "watching": (9 * 520 + 6 * 700) * 87_600 / 1e6 * 0.1 + (12 * 560 + 15 * 50) * 43_800 / 1e6 * 0.2,
            "copies": 2 * 1 + (15.3 + 1.4) * 0.02 + 100 * 0.1,
        }
    )
    assert month().unpriced == []
    # A release takes 12 nodes on demand and 6 on spot, and 6 and 3 run already.
    assert month().release_usd_per_hour == 6 * 10 + 3 * 14


@given(percent=st.floats(1, 100), nodes=st.integers(0, 4))
def test_spot_moves_the_spot_nodes_and_nothing_else(percent: float, nodes: int):
    changes = {"nodeGroups.gpuSpot.desiredNodesPerZone": nodes, "controllers.karpenter.enabled": False}
    full, part = month(changes=changes), month(changes=changes, spot_percent=percent)
    spot = full.by_part().get("nodes on spot", 0)
    assert spot == nodes * 3 * 14 * HOURS
    assert part.month == pytest.approx(full.month - spot * (1 - percent / 100))


def test_what_has_no_price_is_named_and_not_in_the_sum():
    bare = month(at=Table(REGION, {"eks:cluster-hour": Price(1, "test", "2026-01-01")}), copies=None)
    assert bare.month == 730
    assert {"ec2:m7i.xlarge", "ec2:g6e.2xlarge", "cache:cache.m7g.large", "rds:gp3-gib-month"} < set(bare.unpriced)
    assert bare.release_usd_per_hour is None


def test_a_spot_type_without_a_price_is_remarked():
    known = Table(REGION, {key: price for key, price in table().prices.items() if key != "ec2:g6e.8xlarge"})
    (line,) = (line for line in month(at=known).lines if line.part == "nodes on spot")
    assert (line.key, line.remark) == ("ec2:g6e.4xlarge", "no price for g6e.8xlarge")


def test_tokens_have_a_price_only_where_a_throughput_was_given():
    small, large = month(tokens_per_second={"qwen3-8b": 1000.0}, utilisation_percent=50).tokens[::-1]
    assert (small.usd_per_million, small.tokens_per_second) == (None, None)
    # 10 dollars an hour for 1,000 x 3,600 x 50 % = 1.8 million tokens an hour.
    assert large.usd_per_million == pytest.approx(10 / 1.8)
    assert large.sold_at == 0.6


def test_every_packaged_figure_is_a_price_of_something_with_a_source():
    content = json.loads(prices.PACKAGED.read_text())
    for region in {block["region"] for block in content["figures"]}:
        for key, price in prices.parse(content, region, "prices.json").items():
            beginning, _, name = key.partition(":")
            assert beginning in {
                "ec2",
                "eks",
                "vpc",
                "elb",
                "ebs",
                "kms",
                "secret",
                "cache",
                "rds",
                "waf",
                "s3",
                "amp",
                "insights",
            }
            assert price.date == content["date"]
            if beginning == "ec2" and name.partition(".")[0] in GPUS_BY_FAMILY:
                assert 0.3 < price.usd / gpus_of(name) < 12, key


def test_figures_that_nobody_asked_aws_for_are_marked():
    found = prices.parse(json.loads(prices.PACKAGED.read_text()), REGION, "prices.json")
    assert found["eks:cluster-hour"].by_hand
    assert not found["ec2:g6e.2xlarge"].by_hand
    by_hand = Table(REGION, {**table().prices, "eks:cluster-hour": Price(2, "x", "2026-01-01", by_hand=True)})
    marked = {line.item for line in month(at=by_hand).lines if line.remark == "by hand"}
    assert marked == {"EKS cluster"}


def test_what_the_program_makes_is_what_is_counted():
    from components.copies import copy_key_policies
    from components.firewall import rules
    from infra.ops.cost import services
    from infra.parts import key_count

    assert len(rules(100)) == services.FIREWALL_RULES
    prod = Settings.parse(VALUES["prod"])
    table = (CHECKOUT / "tests/program/golden/prod.txt").read_text()
    made = len(re.findall(r"^aws:kms/key:Key ", table, re.MULTILINE))
    assert key_count(prod) + services.COPY_KEYS == made
    assert len(copy_key_policies("aws", "eu-west-1", "123456789012")) == services.COPY_KEYS


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_budgets_of_the_stack_files_bear_their_own_estimate(stack: str):
    settings = Settings.parse(VALUES[stack])
    at, copies = (prices.load(region, Path("nowhere"))[0] for region in (REGION, settings.data.copy_region or REGION))
    found = estimate(settings, at, endpoints=13, keys=10, copies=copies)
    assert found.unpriced == []
    assert found.over_budget == {}


def test_a_budget_below_its_estimate_is_named():
    found = month(changes={"budget.monthlyUsd": 30_000, "budget.partUsd.gpu": 20_000, "budget.partUsd.system": 4_000})
    assert found.over_budget == {"monthlyUsd": found.month, "partUsd.gpu": pytest.approx((60 + 42) * 730 + 2700 * 0.1)}


def test_engines_beyond_the_groups_are_paid_for_on_karpenters_nodes():
    def apart(per_colour: bool) -> dict[str, float]:
        changes = {
            "controllers.karpenter.perColour": per_colour,
            "controllers.karpenter.maxGpus": 9,
            "nodeGroups.gpu": VALUES["prod"]["nodeGroups"]["gpu"] | {"minNodes": 0, "desiredNodes": 0, "maxNodes": 0},
            "nodeGroups.gpuSpot.desiredNodesPerZone": 0,
            "nodeGroups.gpuSpot.maxNodesPerZone": 0,
        }
        return {line.item: line.amount for line in month(changes=changes).lines if line.part.startswith("nodes on")}

    system = {"system: 3 x m7i.xlarge": 3 * 730}
    assert apart(per_colour=False) == {**system, "karpenterSpot: 9 x g6e.8xlarge": 9 * 730}
    assert apart(per_colour=True) == {**system, "karpenterSpot-blue: 9 x g6e.8xlarge": 9 * 730}


@pytest.mark.parametrize("usd", [0, -1, "1", None, True, float("nan")])
def test_a_figure_that_is_no_price_spoils_the_table(usd: Any):
    block = {"region": "us-east-1", "source": "s", "prices": {"ec2:g6.xlarge": usd}}
    with pytest.raises(TableError, match=r"ec2:g6\.xlarge in us-east-1"):
        prices.parse({"date": "2026-01-01", "sources": {"s": "x"}, "figures": [block]}, REGION, "t")


def test_refreshed_figures_win_and_keep_their_own_date(tmp_path: Path):
    cache = prices.cache_file(REGION, {"XDG_CACHE_HOME": str(tmp_path)})
    prices.save(cache, REGION, "2027-01-01", {"ec2:g6.xlarge": 9.5}, "api")
    table, remarks = prices.load(REGION, cache)
    assert table.get("ec2:g6.xlarge") == Price(9.5, "api", "2027-01-01")
    assert table.get("eks:cluster-hour") is not None
    assert remarks == []
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


@pytest.mark.parametrize("text", ["{", "[]", '{"date": "x"}', '{"date": "x", "sources": {}, "figures": [3]}'])
def test_a_damaged_cache_is_left_out_and_said(tmp_path: Path, text: str):
    cache = tmp_path / "prices.json"
    cache.write_text(text)
    table, remarks = prices.load(REGION, cache)
    assert table.get("ec2:g6.xlarge") is not None
    assert remarks[0].startswith("The refreshed prices are left out: ")


WANTED = {"instanceType": "g6.xlarge", "regionCode": REGION}


def product(*usd: str, **attributes: str) -> str:
    dimensions = {f"d{n}": {"unit": "Hrs", "pricePerUnit": {"USD": price}} for n, price in enumerate(usd)}
    terms = {"OnDemand": {"term": {"priceDimensions": dimensions}}}
    return json.dumps({"product": {"attributes": {**WANTED, **attributes}}, "terms": terms})


def test_the_one_price_of_the_right_product_is_taken():
    others = [product("7", regionCode="us-east-1"), product("0.0000000000"), product("1.0064000000")]
    assert refresh.price_of(others, WANTED) == 1.0064


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ([], "0 prices"),
        (None, "0 prices"),
        ([product("1"), product("2")], "2 prices"),
        ([product("0")], "0 prices"),
        ([product("-3")], "no price"),
        ([product("100000")], "no price"),
        ([product("free")], "cannot be read"),
        (["{"], "cannot be read"),
        (["3"], "cannot be read"),
        ([json.dumps({"product": {"attributes": WANTED}, "terms": {"OnDemand": []}})], "cannot be read"),
    ],
)
def test_a_reply_without_one_sane_price_gives_none(reply: Any, words: str):
    with pytest.raises(refresh.PriceError, match=words):
        refresh.price_of(reply, WANTED)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Context(checkout=tmp_path)


def test_the_command_prints_a_month_without_any_credentials(
    checkout: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(aws, "session", lambda _: pytest.fail("AWS was asked"))
    assert run(["cost", "--stack", "dev", "--json", "--tokens-per-second", "qwen3-0.6b=500"], checkout) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["month_usd"] == pytest.approx(sum(line["usd"] or 0 for line in found["lines"]), abs=0.01)
    assert found["million_tokens"][0]["usd_per_million"] > 0
    assert run(["cost", "--stack", "dev"], checkout) == 0
    text = capsys.readouterr().out
    assert "no throughput given (--tokens-per-second qwen3-0.6b=N)" in text
    assert "Without a price" not in text
    assert "Container Insights, million observations" in text


@pytest.mark.parametrize("rate", ["qwen3-0.6b=0", "qwen3-0.6b=fast", "other=5", "7", "qwen3-0.6b=nan"])
def test_a_throughput_that_cannot_be_is_wrong_usage(checkout: Context, capsys: pytest.CaptureFixture[str], rate: str):
    assert run(["cost", "--stack", "dev", "--tokens-per-second", rate], checkout) == 2
    assert "models: qwen3-0.6b" in capsys.readouterr().err


def test_a_stack_that_is_not_there_is_wrong_usage(checkout: Context):
    assert run(["cost", "--stack", "nowhere"], checkout) == 2
    assert "cost" in COMMANDS


def test_refresh_asks_for_what_the_stack_uses_and_keeps_it(
    checkout: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    client = boto3.client("pricing", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test")

    class Session:
        def client(self, service: str, region_name: str) -> Any:
            assert (service, region_name) == ("pricing", "us-east-1")
            return client

    monkeypatch.setattr(aws, "session", lambda _: Session())
    settings = Settings.from_stack_file(checkout.checkout / "Pulumi.dev.yaml")
    groups, data = settings.node_groups, settings.data
    kinds = dict.fromkeys((*groups.system.instance_types, *groups.gpu.instance_types, *groups.gpu_spot.instance_types))
    with Stubber(client) as stub:
        for kind in kinds:
            listed = json.loads(product("2.5", instanceType=kind))
            listed["product"]["attributes"] |= refresh.SERVICES["ec2"][2]
            wanted = {"ServiceCode": "AmazonEC2", "Filters": ANY, "FormatVersion": "aws_v1", "MaxResults": 100}
            stub.add_response("get_products", {"PriceList": [json.dumps(listed)]}, wanted)
        stub.add_response("get_products", {"PriceList": []})
        stub.add_response("get_products", {"PriceList": []})
        assert run(["cost", "--stack", "dev", "--json", "--refresh"], checkout) == 0
        stub.assert_no_pending_responses()
    found = json.loads(capsys.readouterr().out)
    assert found["remarks"] == [
        f"cache:{data.cache.node_type} in {REGION}: 0 prices were offered, one is wanted",
        f"rds:{data.database.instance_class} in {REGION}: 0 prices were offered, one is wanted",
    ]
    with Stubber(client) as stub:
        stub.add_client_error("get_products", "AccessDeniedException", "not you")
        assert run(["cost", "--stack", "dev", "--refresh"], checkout) == 1
    assert "not you" in capsys.readouterr().err
    assert run(["cost", "--stack", "dev", "--json"], checkout) == 0
    kept = json.loads(capsys.readouterr().out)
    assert next(line["usd"] for line in kept["lines"] if line["part"] == "nodes on spot") == 3 * 730 * 2.5
    client.close()
