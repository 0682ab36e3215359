"""Rules about where data rests, who may read the cache, and when money is spoken of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings_cases import problems, put


def test_a_region_where_data_may_not_rest_is_refused():
    assert problems(put("aws.allowedRegions", ["eu-west-1", "eu-north-1"])) == {
        "aws.region": "eu-central-1 is not in aws.allowedRegions; allowed: eu-west-1, eu-north-1"
    }


@pytest.mark.parametrize("regions", [[], ["frankfurt"]])
def test_allowed_regions_must_be_regions(regions: list[str]):
    assert any(path.startswith("aws.allowedRegions") for path in problems(put("aws.allowedRegions", regions)))


@pytest.mark.parametrize(("path", "said"), [("region", "region"), ("allowedRegions", "allowedRegions[0]")])
def test_a_region_of_china_is_refused_where_it_is_written(path: str, said: str):
    region = "cn-north-1"
    found = problems(put(f"aws.{path}", region if path == "region" else [region, "eu-central-1"]))
    assert found == {
        f"aws.{said}": "'cn-north-1' is of the partition aws-cn, which is not supported; allowed: a region of aws or "
        "aws-us-gov, such as eu-central-1"
    }


def test_a_region_of_govcloud_is_taken():
    def edit(values: dict[str, Any]) -> None:
        values["aws"] |= {"region": "us-gov-west-1", "allowedRegions": ["us-gov-west-1"]}

    assert [path for path in problems(edit) if path.startswith("aws.")] == []


def test_a_cache_takes_a_token_only_beside_tls():
    assert problems(put("data.cache.auth", True)) == {
        "data.cache.auth": "true needs data.cache.tls: true, as AWS does; allowed: false"
    }


def test_live_data_wants_a_cache_with_a_token():
    found = problems(put("data.cache.auth", False), "prod")
    assert found["data.cache.auth"] == "does not fit protected: true; allowed: true"


@pytest.mark.parametrize("key", ["alertPercents", "forecastPercents"])
def test_percentages_rise(key: str):
    assert problems(put(f"budget.{key}", [90, 90])) == {f"budget.{key}": "must rise, each once: 90"}


@pytest.mark.parametrize("part", ["system", "gpu"])
def test_no_part_may_cost_more_than_the_whole(part: str):
    found = problems(put(f"budget.partUsd.{part}", 51))
    assert found == {f"budget.partUsd.{part}": "51 is too large; allowed: budget.monthlyUsd, 50, or less, in USD"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("watch.runbooksUrl", "http://example.org/runbooks"),
        ("watch.runbooksUrl", "https://example.org/runbooks#top"),
        ("watch.firstByteSeconds", 0),
        ("watch.logRetentionDays.engine", 2),
        ("data.weights.accessLogsBucket", "Upper"),
        ("budget.anomalyUsd", 0),
    ],
)
def test_values_out_of_bounds_are_refused_with_their_path(path: str, value: Any):
    assert path in problems(put(path, value))


def test_copies_go_to_another_allowed_region():
    assert problems(put("data.copyRegion", "us-east-1"), "prod") == {
        "data.copyRegion": "us-east-1 is not another region of aws.allowedRegions; allowed: eu-west-1"
    }
    assert problems(put("data.copyRegion", "eu-central-1"), "dev") == {
        "data.copyRegion": (
            "eu-central-1 is not another region of aws.allowedRegions; "
            "allowed: null, as aws.allowedRegions names no other region"
        )
    }


def test_backups_that_are_not_made_cannot_be_copied():
    def without_backups(values: dict) -> None:
        values["data"]["database"]["backupDays"] = 0

    assert problems(without_backups, "prod")["data.copyRegion"] == (
        "eu-west-1 needs data.database.backupDays of 1 or more; allowed: null"
    )


def test_actions_of_a_budget_rise_and_name_what_there_is():
    key = "budget.actions"
    assert "must rise" in problems(put(f"{key}.thresholds.cheaper", 40))[f"{key}.thresholds"]
    assert problems(put(f"{key}.thresholds.cheaper", None)) == {}
    found = problems(put(f"{key}.cheaperModels", {"huge": "tiny"}))
    assert found == {f"{key}.cheaperModels.huge": "is not known; allowed: tiny"}
    assert "not another model" in problems(put(f"{key}.cheaperModels", {"tiny": "tiny"}))[f"{key}.cheaperModels.tiny"]
    assert (
        "allowed: qwen3-0.6b"
        in problems(put(f"{key}.cheaperModels", {"qwen3-8b": "x"}), "prod")[f"{key}.cheaperModels.qwen3-8b"]
    )

    def both(values: dict[str, Any]) -> None:
        values["budget"]["actions"] |= {"protectedTenants": ["a"], "lowPriorityTenants": ["a", "b"]}

    assert "a: protected as well" in problems(both)[f"{key}.lowPriorityTenants"]


def test_a_major_upgrade_needs_the_backups_from_which_rds_makes_its_snapshot():
    assert problems(put("data.database.allowMajorUpgrade", True))["data.database.allowMajorUpgrade"].startswith(
        "true needs data.database.backupDays of 1 or more"
    )
    assert problems(put("data.database.allowMajorUpgrade", True), "prod") == {}
