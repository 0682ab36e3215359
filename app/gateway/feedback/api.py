"""`POST /v1/feedback`, and the sums of it for admins. Each call has a connection of its own: they are rare."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from random import SystemRandom
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from prometheus_client import Counter

from app.gateway.errors import NO_RETRY, Problem, Refused, retry_after, wrong_method
from app.gateway.feedback.forms import MOST_TAGS, NewFeedback
from app.gateway.feedback.privacy import DELTA, Group, private
from app.gateway.feedback.schema import FEEDBACK, SPEND
from app.gateway.guards.pii import Finder, masked
from app.gateway.keys import forms
from app.gateway.ledger.schema import LEDGER

if TYPE_CHECKING:
    import asyncpg

    from app.gateway.database.settings import Database
    from app.gateway.feedback.settings import FeedbackConfig
    from app.gateway.keys.admin import Call
    from app.gateway.keys.grant import Grant
    from app.gateway.keys.store import Store
    from app.gateway.service import Service

PATH = "/v1/feedback"
REQUEST_SECONDS = 5.0
MOST_WAITING = 32
AT_ONCE = 4
GROUPS = {"day": "(at AT TIME ZONE 'UTC')::date::text", "model": "model", "tenant": "tenant", "colour": "colour",
          "tag": "tag"}  # fmt: skip
MOST_GROUPS = 1000
LEAST_EPSILON, MOST_EPSILON = 0.01, 10.0
UNKNOWN = Problem(
    404,
    "No request of your tenant has this `request_id`. One that ended just now is known within some seconds: try again.",
    "unknown_request",
    "request_id",
    headers=retry_after(),
)
AWAY = Problem(503, "Feedback cannot be stored now. Try again in 2 s.", "feedback_away", headers=retry_after())
NO_FEEDBACK = Problem(404, "There is no feedback here: `feedback` is not configured.", "no_feedback")


class Feedback:
    def __init__(self, service: Service, database: Database, config: FeedbackConfig) -> None:
        self._service = service
        self._database = database
        self._config = config
        self.epsilon_per_month = config.epsilon_per_month
        self._finder = Finder(config.masked) if config.masked else None
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._migrated = False
        registry = service.metrics.registry
        self._taken = Counter("penstock_feedback", "Feedback taken.", ["rating"], registry=registry)
        self._kept = Counter("penstock_evaluation_samples", "Requests put into the evaluation set.", registry=registry)

    def mask(self, text: str) -> str:
        """Personal data of the kinds configured become `[KIND]`."""
        if self._finder is None:
            return text
        raw = text.encode()
        return masked(raw, self._finder.find(raw)).decode("utf-8", "replace")

    def chosen(self, tenant: str, request_id: str) -> bool:
        """Whether a request is of the sample: by a hash, so that all gateways agree."""
        digest = hashlib.sha256(f"{tenant}\0{request_id}".encode()).digest()
        return int.from_bytes(digest[:6]) / (1 << 48) * 100 < self._config.sampled(tenant)

    async def take(self, key: Grant, method: str, body: bytes) -> tuple[int, Any]:
        """Status and content. Raises Refused."""
        if method != "POST":
            raise Refused(wrong_method(method, PATH, "POST"))
        given = forms.read(NewFeedback, body)
        tenant = key.tenant
        row = (given.rating, self.mask(given.comment), sorted(set(given.tags)))
        sampled = given.evaluation is not None and self.chosen(tenant, given.request_id)
        async with self._connection() as connection, connection.transaction():
            found = await connection.fetchrow(
                "SELECT * FROM penstock_ledger.request_of($1, $2)", tenant, given.request_id
            )
            if found is None:
                raise Refused(UNKNOWN)
            await connection.execute(
                "INSERT INTO penstock_feedback.feedback (tenant, request_id, key_id, model, colour, rating, comment, "
                "tags, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(days => $9)) "
                "ON CONFLICT (tenant, request_id) DO UPDATE SET rating = excluded.rating, comment = excluded.comment, "
                "tags = excluded.tags, at = now(), key_id = excluded.key_id, expires_at = excluded.expires_at",
                tenant,
                given.request_id,
                key.id,
                found["model"],
                found["colour"],
                *row,
                self._config.keep(tenant),
            )
            if sampled and given.evaluation is not None:
                messages = [{"role": one.role, "content": self.mask(one.content)} for one in given.evaluation.input]
                await connection.execute(
                    "INSERT INTO penstock_feedback.evaluation VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, request_id) "
                    "DO UPDATE SET input = excluded.input, output = excluded.output",
                    tenant,
                    given.request_id,
                    json.dumps(messages).replace("\\u0000", ""),
                    self.mask(given.evaluation.output).replace("\0", ""),
                )
        self._taken.labels(str(given.rating)).inc()
        if sampled:
            self._kept.inc()
        tracer = self._service.tracer
        scored = (
            tracer is not None
            and given.trace is not None
            and tracer.score(given.trace, "user_rating", (given.rating - 1) / 4, explanation=row[1])
        )
        return 201, {
            "object": "feedback",
            "request_id": given.request_id,
            "rating": given.rating,
            "comment": row[1],
            "tags": row[2],
            "scored": scored,
            "sampled": sampled,
        }

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncGenerator[asyncpg.Connection]:
        """Raises Refused (503)."""
        from app.gateway.database.connection import FAILURES, DatabaseError, connect
        from app.gateway.database.migrations import migrate_as_user

        if self._waiting >= MOST_WAITING:
            raise Refused(AWAY)
        self._waiting += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS), self._places:
                connection = await connect(self._database, "penstock-feedback", REQUEST_SECONDS)
                try:
                    if not self._migrated:
                        for schema in (LEDGER, FEEDBACK):  # a request is looked up in the ledger
                            await migrate_as_user(connection, schema)
                        self._migrated = True
                    yield connection
                finally:
                    connection.terminate()
        except (*FAILURES, DatabaseError) as error:
            self._service.log.event("feedback_failed", reason=type(error).__name__)
            raise Refused(AWAY) from None
        finally:
            self._waiting -= 1


def work(service: Service, call: Call, parts: list[str]) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """GET /admin/v1/feedback?since=&until=&by=&epsilon=. Raises Refused."""
    if service.feedback is None or parts != ["feedback"]:
        raise Refused(NO_FEEDBACK)
    if call.method != "GET":
        raise Refused(wrong_method(call.method, call.path, "GET"))
    since, until, by, epsilon = _question(call.query, dt.datetime.now(dt.UTC).date())
    columns = [GROUPS[one] for one in by]
    labels = f"ARRAY[{', '.join(columns)}]::text[]"
    tags = ", unnest(tags) AS tag" if "tag" in by else ""
    # `S608`: parts of fixed lists alone are put in.
    statement = (
        f"SELECT {labels} AS labels, count(*) AS count, sum(rating)::bigint AS total "  # noqa: S608
        f"FROM penstock_feedback.feedback{tags} WHERE at >= $1 AND at < $2 "
        f"{'GROUP BY ' + ', '.join(columns) if columns else ''} ORDER BY 2 DESC, 1 LIMIT {MOST_GROUPS}"
    )

    most = service.feedback.epsilon_per_month

    async def ask(store: Store) -> tuple[int, Any]:
        first, last = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (since, until + dt.timedelta(days=1)))
        rows = await store.connection.fetch(statement, first, last)
        left = None if epsilon is None else await _spend(store.connection, first, last, epsilon, most)
        found = [Group(tuple(row["labels"]), row["count"], row["total"] or 0) for row in rows]
        shown = found if epsilon is None else private(found, epsilon, MOST_TAGS if "tag" in by else 1, SystemRandom())
        return 200, {
            "object": "feedback.report",
            "since": since.isoformat(),
            "until": until.isoformat(),
            "by": by,
            "epsilon": epsilon,
            "delta": None if epsilon is None else DELTA,
            "epsilon_left": left,
            "rows": [
                {
                    **dict(zip(by, one.labels, strict=True)),
                    "count": one.count,
                    "mean_rating": None if one.mean is None else round(one.mean, 3),
                }
                for one in shown
            ],
            "truncated": len(rows) == MOST_GROUPS,
        }

    return ask


async def _spend(
    connection: asyncpg.Connection, first: dt.datetime, last: dt.datetime, epsilon: float, most: float
) -> float:
    """What the tenant with the least has left of this month. Raises Refused, and then nothing is spent."""
    async with connection.transaction():
        spent = max((row["epsilon"] for row in await connection.fetch(SPEND, first, last, epsilon)), default=0.0)
        if spent > most + 1e-9:
            left = max(most - spent + epsilon, 0.0)
            text = (
                f"Private reports may spend {most:g} of epsilon on a tenant in a month (UTC); {left:g} is left, and "
                f"this one asks for {epsilon:g}. Ask for less, or publish a report that was made already."
            )
            raise Refused(Problem(429, text, "privacy_budget_spent", "epsilon", headers=(NO_RETRY,)))
    return round(most - spent, 6)


def _question(query: str, today: dt.date) -> tuple[dt.date, dt.date, list[str], float | None]:
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(given.keys() - {"since", "until", "by", "epsilon"})
    if unknown:
        raise _wrong(unknown[0][:50], "there is no such parameter; there are since, until, by and epsilon")
    by = [one for one in given.get("by", "model").split(",") if one]
    for one in by:
        if one not in GROUPS or by.count(one) > 1:
            raise _wrong("by", f"must be some of {', '.join(GROUPS)}, each once")
    days = {}
    for name, otherwise in (("until", today), ("since", today - dt.timedelta(days=30))):
        try:
            days[name] = dt.date.fromisoformat(given[name]) if name in given else otherwise
        except ValueError:
            raise _wrong(name, "is not a day such as 2026-11-21") from None
    if days["since"] > days["until"] or days["until"].year > 9000:
        raise _wrong("since", "is after until")
    epsilon = None
    if "epsilon" in given:
        text = given["epsilon"]
        epsilon = float(text) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text) else 0.0
        if not LEAST_EPSILON <= epsilon <= MOST_EPSILON:
            raise _wrong("epsilon", f"must be a number from {LEAST_EPSILON} to {MOST_EPSILON:g}")
    return days["since"], days["until"], by, epsilon


def _wrong(name: str, why: str) -> Refused:
    return Refused(Problem(400, f"`{name}` {why}.", "invalid_query", name))
