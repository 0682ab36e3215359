"""The table of docs/data.md, "How long data is kept, and how it goes", against settings, program and tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.gateway.budget.schema import BUDGET
from app.gateway.budget.store import REMEMBERED_DAYS
from app.gateway.cache.schema import CACHE, FORGET_PURGES
from app.gateway.console.release import KEPT_DAYS
from app.gateway.console.schema import CONSOLE
from app.gateway.database.retention import EXPIRED
from app.gateway.feedback.schema import FEEDBACK
from app.gateway.keys.schema import KEYS
from app.gateway.keys.store import REPLAY_HOURS
from app.gateway.ledger.schema import LEDGER
from app.jobs.schema import JOBS
from app.retrieval.schema import RETRIEVAL
from components.jobs import OLD_VERSION_DAYS
from infra.rehearsal import Rehearsal
from infra.settings.reference import paths

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"
SCHEMAS = (LEDGER, KEYS, BUDGET, FEEDBACK, CONSOLE, CACHE, JOBS, RETRIEVAL)
GROUP, BUCKET = "aws:cloudwatch/logGroup:LogGroup", "aws:s3/bucket:Bucket"
LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
DAYS = {
    "watch.logRetentionDays.gateway": 3,
    "watch.logRetentionDays.engine": 5,
    "watch.logRetentionDays.database": 7,
    "cluster.logRetentionDays": 14,
    "network.flowLogDays": 30,
    "audit.accessLogDays": 41,
    "audit.trailDays": 42,
    "data.weights.oldVersionDays": 43,
    "jobs.keepDays": 11,
    "data.database.backupDays": 9,
}
"""A number for each setting that the program hands to AWS, all different."""


@dataclass(frozen=True)
class Row:
    kind: str
    where: str
    kept: str
    by: str

    def names(self, of: str) -> set[str]:
        """Names of log groups or buckets in the second column; or tables."""
        found = set(re.findall(r"`([^`]+)`", self.where))
        tables = {name for name in found if name.startswith("penstock_")}
        if of == "table":
            return tables
        return found - tables if self.where.startswith((f"{of} ", f"{of}s ")) else set()

    @property
    def setting(self) -> str | None:
        found = re.findall(r"`([a-zA-Z.]+)`", self.kept)
        return found[0] if found else None


def table() -> list[Row]:
    text = PAGE.read_text(encoding="utf-8").partition("## How long data is kept")[2].partition("\n`retention` runs")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Class")]
    return [Row(*(cell.strip() for cell in line.strip("|").split(" | "))) for line in lines]


ROWS = table()


def named(of: str) -> list[str]:
    return sorted(name for row in ROWS for name in row.names(of))


@pytest.fixture(scope="module")
def prod(rehearsed_with: Callable[..., Rehearsal]) -> Rehearsal:
    def edit(config: dict) -> None:
        for path, days in DAYS.items():
            first, *rest = path.split(".")
            section = config[f"penstock:{first}"]
            for name in rest[:-1]:
                section = section[name]
            section[rest[-1]] = days

    return rehearsed_with("prod", edit)


def test_each_table_of_the_database_stands_in_one_row():
    made = {
        name
        for schema in SCHEMAS
        for migration in schema.migrations
        for name in re.findall(r"CREATE TABLE (penstock_\w+\.\w+)", migration)
    }
    assert len(made) > 25
    assert named("table") == sorted(made)


def test_each_log_group_and_each_bucket_stands_in_one_row(prod: Rehearsal):
    assert named("log group") == sorted(each.name for each in prod.of_type(GROUP))
    assert named("bucket") == sorted(each.name for each in prod.of_type(BUCKET))


def test_each_setting_that_the_table_names_is_one():
    known = set(paths())
    settings = [row.setting for row in ROWS if row.setting]
    assert len(settings) > 12
    assert [name for name in settings if name not in known] == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.names("log group")], ids=lambda row: row.kind)
def test_a_log_group_is_kept_as_its_row_says(row: Row, prod: Rehearsal):
    assert row.setting in DAYS
    kept = {name: prod.one(GROUP, name).inputs["retentionInDays"] for name in row.names("log group")}
    assert kept == dict.fromkeys(kept, DAYS[row.setting])


@pytest.mark.parametrize("row", [row for row in ROWS if row.names("bucket")], ids=lambda row: row.kind)
def test_a_bucket_is_emptied_as_its_row_says(row: Row, prod: Rehearsal):
    assert row.setting in DAYS
    for name in row.names("bucket"):
        (rule,) = prod.one(LIFECYCLE, name).inputs["rules"]
        old, end = rule["noncurrentVersionExpiration"]["noncurrentDays"], rule.get("expiration", {}).get("days")
        if "until removed" in row.kept:
            assert (end, old) == (None, DAYS[row.setting])
        elif "a day later" in row.by:
            assert (end, old) == (DAYS[row.setting] + 1, OLD_VERSION_DAYS)
        else:
            assert (end, old) == (DAYS[row.setting],) * 2


def test_the_database_backups_are_kept_as_their_row_says(prod: Rehearsal):
    (row,) = (row for row in ROWS if row.where == "RDS")
    assert row.setting == "data.database.backupDays"
    assert prod.one("aws:rds/instance:Instance", "database").inputs["backupRetentionPeriod"] == DAYS[row.setting]


def test_the_daily_job_deletes_what_the_table_says_and_nothing_else():
    said = {name for row in ROWS if "`retention`" in row.by for name in row.names("table")}
    # Days of the ledger go by a function of its own; with feedback goes what was kept of it to measure models by.
    aside = {"penstock_ledger.usage", "penstock_ledger.usage_other", "penstock_feedback.evaluation"}
    assert said == {table for table, _ in EXPIRED.values()} | aside


def test_the_times_that_no_setting_changes_are_those_of_the_code():
    said = {name: row.kept for row in ROWS for name in row.names("table")}
    assert said["penstock_keys.creations"] == f"{REPLAY_HOURS} hours"
    assert said["penstock_budget.messages"] == f"{REMEMBERED_DAYS} days"
    assert said["penstock_console.wishes"] == f"{KEPT_DAYS} days"
    assert said["penstock_cache.purges"] in FORGET_PURGES
