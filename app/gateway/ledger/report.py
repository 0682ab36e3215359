"""Sums of usage for the operator: GET /admin/v1/usage?since=2026-11-01&until=2026-11-21&by=tenant,day&limit=100."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from app.gateway.errors import NO_RETRY, Problem, Refused, retry_after
from app.gateway.ledger.report_schema import GROUPS

if TYPE_CHECKING:
    from app.gateway.database.settings import Database

REPORT_SECONDS = 20.0
"""A report that takes longer is ended, in the database too."""
MOST_DAYS = 3660
MOST_ROWS = 10_000
ROWS = 1000
PATH = "/admin/v1/usage"
NO_LEDGER = Problem(404, "This gateway keeps no ledger: it has no database.", "no_ledger")
AT_ONCE = 2
"""Reports under way in one gateway: they take the database's time from the ledger."""


@dataclass(frozen=True)
class Question:
    since: dt.date
    until: dt.date
    """Both UTC days are in the report."""
    by: tuple[str, ...]
    limit: int


def parse(query: str, today: dt.date) -> Question:
    """Without dates: from the first of the month until today. Raises Refused (400) naming the parameter."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("since", "until", "by", "limit"):
            raise _wrong(name, "there is no such parameter; there are since, until, by and limit")
        if name in given:
            raise _wrong(name, "is given twice")
        given[name] = value
    until = _day("until", given.get("until"), today)
    since = _day("since", given.get("since"), min(until, today.replace(day=1)))
    if since > until:
        raise _wrong("since", f"{since} is after until, {until}")
    if (until - since).days > MOST_DAYS:
        raise _wrong("since", f"is more than {MOST_DAYS} days before until")
    by = tuple(part.strip() for part in given.get("by", "tenant").split(",") if part.strip())
    for part in by:
        if part not in GROUPS:
            raise _wrong("by", f"{part[:50]!r} is not one of {', '.join(GROUPS)}")
    if len(set(by)) < len(by):
        raise _wrong("by", "names one of them twice")
    limit = given.get("limit", str(ROWS))
    if not limit.isascii() or not limit.isdigit() or len(limit) > 6 or not 1 <= int(limit) <= MOST_ROWS:
        raise _wrong("limit", f"{limit[:50]!r} is not a number from 1 to {MOST_ROWS}")
    return Question(since, until, by, int(limit))


def _day(name: str, value: str | None, otherwise: dt.date) -> dt.date:
    if value is None:
        return otherwise
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise _wrong(name, f"{value[:50]!r} is not a day such as 2026-11-21") from None


def _wrong(name: str, why: str) -> Refused:
    return Refused(Problem(400, f"{name[:50]}: {why}.", "invalid_report", name[:50]))


class Reports:
    """Asks the database, a bounded number of times at once. Each report has a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._under_way = 0

    async def answer(self, query: str) -> dict[str, Any]:
        """The report as plain data. Raises Refused: 400, 429 where enough are under way, 503 without the database."""
        question = parse(query, dt.datetime.now(dt.UTC).date())
        if self._under_way >= AT_ONCE:
            raise Refused(
                Problem(429, f"{AT_ONCE} reports are under way here. Try again.", "reports_busy", headers=retry_after())
            )
        self._under_way += 1
        try:
            return await self._ask(question)
        finally:
            self._under_way -= 1

    async def _ask(self, question: Question) -> dict[str, Any]:
        # Imported here: asyncpg takes 4 MB that a gateway without a database does not need.
        import asyncpg

        from app.gateway.database.connection import FAILURES, connect

        try:
            connection = await connect(self._database, "penstock-report", REPORT_SECONDS)
            try:
                async with asyncio.timeout(REPORT_SECONDS + 1):
                    found = await connection.fetch(
                        "SELECT * FROM penstock_ledger.report($1, $2, $3, $4)",
                        question.since,
                        question.until,
                        list(question.by),
                        question.limit + 1,
                    )
            finally:
                connection.terminate()
        except (TimeoutError, asyncpg.QueryCanceledError):
            raise Refused(
                Problem(503, f"The report took longer than {REPORT_SECONDS:.0f} s. Ask for fewer days.", "report_slow")
            ) from None
        except asyncpg.UndefinedFunctionError:
            raise Refused(
                Problem(
                    503,
                    "The ledger's tables are older than this gateway: it was not migrated.",
                    "report_old",
                    headers=(NO_RETRY,),
                )
            ) from None
        except FAILURES as error:
            said = f"The database did not answer ({type(error).__name__})."
            raise Refused(Problem(503, said, "no_database", headers=retry_after())) from None
        return {
            "since": question.since.isoformat(),
            "until": question.until.isoformat(),
            "by": question.by,
            "rows": [_row(question.by, record) for record in found[: question.limit]],
            "truncated": len(found) > question.limit,
        }


def _row(by: tuple[str, ...], record: Any) -> dict[str, Any]:
    ttft = record["mean_ttft_ms"]
    return {
        **dict(zip(by, record["labels"], strict=True)),
        "requests": record["requests"],
        "failed": record["failed"],
        "estimated": record["estimated"],
        "input_tokens": int(record["input_tokens"]),
        "output_tokens": int(record["output_tokens"]),
        "cached_tokens": int(record["cached_tokens"]),
        "cost_usd": float(record["cost_usd"]),
        "mean_ttft_ms": None if ttft is None else round(ttft, 1),
    }
