"""Each class of data ends with its time: what is a minute past it goes, what has a minute left stays."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.gateway.budget.schema import BUDGET
from app.gateway.cache.schema import CACHE
from app.gateway.database.connection import connect
from app.gateway.database.migrations import Schema, migrate
from app.gateway.database.retention import retain
from app.gateway.database.settings import Database
from app.gateway.feedback.schema import FEEDBACK
from app.gateway.keys.schema import KEYS
from app.gateway.ledger.database import set_retention
from app.gateway.ledger.schema import LEDGER

LATE, EARLY = "interval '1 minute'", "- interval '1 minute'"
"""Past the end, and before it."""


@dataclass(frozen=True)
class Kept:
    part: str
    """As `retain` names it."""
    schema: Schema
    table: str
    insert: str
    """Of one row: `{name}`, and `{by}`, by how much it is past its end."""
    name: str = "tenant"
    """The column that bears the name."""
    before: str = ""
    """What the row needs, with the same marks."""


FEEDBACK_ROW = (
    "INSERT INTO penstock_feedback.feedback VALUES ('{name}', 'req-1', 'key', 'tiny', 'blue', 3, 'fine', '{{}}', "
    "now() - interval '90 days' - {by}, now() - {by})"
)
CLASSES = (
    Kept("feedback", FEEDBACK, "penstock_feedback.feedback", FEEDBACK_ROW),
    Kept(
        "feedback", FEEDBACK, "penstock_feedback.evaluation",
        "INSERT INTO penstock_feedback.evaluation VALUES ('{name}', 'req-1', 'a prompt', 'an answer')",
        before=FEEDBACK_ROW,
    ),
    Kept(
        "idempotency keys", KEYS, "penstock_keys.creations",
        "INSERT INTO penstock_keys.creations VALUES ('ops', '{name}', 'x', 'k', now() - interval '24 hours' - {by})",
        name="idempotency_key",
    ),
    Kept(
        "budget messages", BUDGET, "penstock_budget.messages",
        "INSERT INTO penstock_budget.messages VALUES ('{name}', now() - interval '15 days' - {by})", name="id",
    ),
    Kept(
        "cached answers", CACHE, "penstock_cache.answers",
        "INSERT INTO penstock_cache.answers "
        "(tenant, model, context, facts, words, embedding, entry, begun, expires_at) "
        "VALUES ('{name}', 'tiny', 'c', 'f', '{{1}}', '[1]', 'a prompt and its answer', now(), now() - {by})",
    ),
)  # fmt: skip


@pytest.mark.parametrize("kept", CLASSES, ids=lambda kept: kept.table)
async def test_a_row_goes_when_its_time_is_over_and_not_before(empty_database: Database, kept: Kept):
    connection = await connect(empty_database)
    try:
        await migrate(connection, kept.schema)
        for name, by in (("late", LATE), ("early", EARLY)):
            for statement in filter(None, (kept.before, kept.insert)):
                await connection.execute(statement.format(name=name, by=by))
        gone = await retain(connection)
        assert gone[kept.part] == 1
        left = await connection.fetch(f"SELECT {kept.name} AS name FROM {kept.table}")  # noqa: S608 - of the list above
        assert [row["name"] for row in left] == ["early"]
        assert (await retain(connection))[kept.part] == 0
    finally:
        connection.terminate()


async def test_a_budget_s_word_goes_with_its_month(empty_database: Database):
    connection = await connect(empty_database)
    month = "to_char((now() AT TIME ZONE 'UTC') - interval '{months} month', 'YYYY-MM')"
    try:
        await migrate(connection, BUDGET)
        for source, months in (("this", 0), ("last", 1)):
            await connection.execute(
                "INSERT INTO penstock_budget.signals (source, kind, month, at, detail) "  # noqa: S608
                f"VALUES ($1, 'actual', {month.format(months=months)}, now(), '')",
                source,
            )
        assert (await retain(connection))["budget signals"] == 1
        assert [row["source"] for row in await connection.fetch("SELECT source FROM penstock_budget.signals")] == [
            "this"
        ]
    finally:
        connection.terminate()


async def test_usage_goes_by_whole_days_and_the_last_day_that_is_kept_stays(empty_database: Database):
    connection = await connect(empty_database)
    keep = 30
    fields = (
        "'id', gen_random_uuid(), 'day', day, 'ended_at', day, 'request_id', $1::text, 'tenant', 'acme', "
        "'key_id', 'k', 'model', 'tiny', 'colour', 'blue', 'route', 'chat', 'status', 200, 'outcome', 'ok', "
        "'stream', false, 'input_tokens', 1, 'output_tokens', 1, 'cached_tokens', 0, 'estimated', false, "
        "'duration_ms', 1, 'tries', 1, 'resumed', 0, 'cost_usd', 1"
    )
    insert = (
        "INSERT INTO penstock_ledger.usage "  # noqa: S608 - the test's own
        f"SELECT (jsonb_populate_record(NULL::penstock_ledger.usage, jsonb_build_object({fields}))).* "
        "FROM (SELECT (now() AT TIME ZONE 'UTC')::date - $2::int AS day) AS days"
    )
    try:
        await migrate(connection, LEDGER)
        await set_retention(connection, keep)
        for name, days in (("today", 0), ("last kept", keep), ("first gone", keep + 1)):
            await connection.execute(insert, name, days)
        await retain(connection)
        left = await connection.fetch("SELECT request_id FROM penstock_ledger.usage ORDER BY day DESC")
        assert [row["request_id"] for row in left] == ["today", "last kept"]
    finally:
        connection.terminate()
