"""The release as its runner tells it, and the wishes of those who look: under /admin/v1/release.

The weights are Pulumi's: a gateway has no right over the load balancer. A running `penstock release` tells how it
stands and asks for wishes in one call a second; a wish names the release and the stand that its clicker saw, is carried
out once, and ends by itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from app.gateway.errors import Problem, Refused, unknown_url, wrong_method
from app.gateway.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from app.gateway.keys.admin import Call
    from app.gateway.keys.store import Store

ATTENDED_SECONDS = 6
"""A runner that says nothing for so long is taken for gone."""
WISH_SECONDS = 30
"""A wish that nobody took in this time is over."""
KEPT_DAYS = 30
MOST_SHOWN = 10
COMMAND = "penstock release attend --stack STACK"

Colour = Literal["blue", "green"]
Kind = Literal["promote", "rollback"]
Line = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Word = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Share(Strict):
    bad: int = Field(ge=0)
    total: int = Field(ge=0)


class Finding(Strict):
    rule: Word
    state: Literal["good", "waiting", "bad"]
    new: Share
    live: Share
    margin: float
    over_seconds: float | None
    reason: Line


class Watching(Strict):
    """A step under watch. Seconds."""

    seconds: float = Field(ge=0)
    soak_seconds: float = Field(ge=0)
    wait_seconds: float = Field(ge=0)
    state: Literal["good", "waiting", "bad", "unseen"]
    findings: tuple[Finding, ...] = Field(default=(), max_length=50)


class Done(Strict):
    wish: int
    outcome: Line


class Told(Strict):
    """What a runner says, once a second."""

    runner: Word = Field(description="One process: its letters are of no meaning.")
    state: Literal["idle", "working", "watching"] = Field(description="idle: it waits for wishes alone.")
    doing: Line = Field(default="", description="For people: what it does now.")
    release: Word | None = Field(default=None, description="The release's id; null: there was none yet.")
    at: Word = Field(description="The stand that a wish must name: it changes with each step and each end.")
    colour: Colour | None = None
    steps: tuple[Annotated[int, Field(ge=0, le=100)], ...] = Field(default=(), max_length=100)
    passed: int = Field(default=0, ge=0)
    outcome: Literal["open", "held", "promoted", "rolled back", ""] = ""
    direction: Literal["forward", "back"] = "forward"
    reason: Line = ""
    weights: dict[Colour, Annotated[int, Field(ge=0, le=100)]] | None = Field(
        default=None, description="Per cent, as the load balancer says."
    )
    watching: Watching | None = None
    offers: tuple[Kind, ...] = Field(default=(), max_length=2, description="Wishes that it can carry out now.")
    done: tuple[Done, ...] = Field(default=(), max_length=20, description="Wishes that it has carried out.")


class Wish(Strict):
    kind: Kind
    release: Word = Field(description="As the clicker saw it.")
    at: Word = Field(description="As the clicker saw it.")


def work(call: Call, parts: list[str]) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """GET and PUT /admin/v1/release, POST /admin/v1/release/wishes. Raises Refused."""
    from app.gateway.keys import forms

    if parts == ["release"]:
        if call.method == "GET":
            return _show
        if call.method != "PUT":
            raise Refused(wrong_method(call.method, call.path, "GET, PUT"))
        told = forms.read(Told, call.body)
        return lambda store: _take(store, told)
    if parts != ["release", "wishes"]:
        raise Refused(unknown_url(call.method, call.path))
    if call.method != "POST":
        raise Refused(wrong_method(call.method, call.path, "POST"))
    wish = forms.read(Wish, call.body)
    return lambda store: _wish(store, wish)


async def _show(store: Store) -> tuple[int, Any]:
    return 200, await shown(store.connection)


async def shown(connection: asyncpg.Connection) -> dict[str, Any]:
    """Raises FAILURES."""
    row = await connection.fetchrow(
        "SELECT content, told_at, extract(epoch FROM now() - told_at)::float8 AS age FROM penstock_console.release"
    )
    wishes = await connection.fetch(
        "SELECT *, expires_at < now() AND taken_at IS NULL AS over FROM penstock_console.wishes "
        "ORDER BY id DESC LIMIT $1",
        MOST_SHOWN,
    )
    attended = row is not None and row["age"] < ATTENDED_SECONDS
    return {
        "object": "release",
        "attended": attended,
        "told_at": None if row is None else row["told_at"].timestamp(),
        "command": COMMAND,
        "told": None if row is None else json.loads(row["content"]),
        "wishes": [_shown_wish(one) for one in wishes],
    }


def _shown_wish(row: asyncpg.Record) -> dict[str, Any]:
    state = (
        "done" if row["done_at"] else "taken" if row["taken_at"] else "expired" if row["over"] else "open"
    )  # fmt: skip
    return {
        "id": row["id"],
        "kind": row["kind"],
        "release": row["release"],
        "at": row["step"],
        "actor": row["actor"],
        "asked_at": row["at"].timestamp(),
        "state": state,
        "outcome": row["outcome"],
    }


async def _take(store: Store, told: Told) -> tuple[int, Any]:
    """Keeps what a runner says, and hands it a wish. An idle runner does not speak over one that works."""
    connection = store.connection
    async with connection.transaction():
        before = await connection.fetchrow(
            "SELECT content, runner, told_at > now() - make_interval(secs => $1) AS attended "
            "FROM penstock_console.release FOR UPDATE",
            float(ATTENDED_SECONDS),
        )
        done: list[tuple[str, str, dict[str, Any]]] = []
        for one in told.done:
            row = await connection.fetchrow(
                "UPDATE penstock_console.wishes SET done_at = now(), outcome = $2 "
                "WHERE id = $1 AND taken_by = $3 AND done_at IS NULL RETURNING kind, release, step, actor",
                one.wish,
                one.outcome,
                told.runner,
            )
            if row is not None:
                detail = {"wish": one.wish, "wished_by": row["actor"], "at": row["step"], "outcome": one.outcome}
                done.append((f"release.{row['kind']}.done", row["release"], detail))
        heard = before is None or before["runner"] == told.runner or not before["attended"] or told.state != "idle"
        wish = await _hear(connection, told) if heard else None
        for action, target, detail in done:
            await store.audit_row(action, target, detail)
    found = None
    if wish is not None:
        found = {"id": wish["id"], "kind": wish["kind"], "release": wish["release"], "at": wish["step"],
                 "actor": wish["actor"]}  # fmt: skip
    return 200, {"object": "release.reply", "heard": heard, "wish": found}


async def _hear(connection: asyncpg.Connection, told: Told) -> asyncpg.Record | None:
    """Keeps what was told. Returns the wish that the runner takes with it."""
    await connection.execute(
        "INSERT INTO penstock_console.release (content, runner) VALUES ($1, $2) ON CONFLICT (only_row) "
        "DO UPDATE SET content = excluded.content, runner = excluded.runner, told_at = now()",
        told.model_dump_json(exclude={"done", "runner"}),
        told.runner,
    )
    wish = await connection.fetchrow(
        "UPDATE penstock_console.wishes SET taken_at = now(), taken_by = $1 WHERE id = (SELECT id FROM "
        "penstock_console.wishes WHERE done_at IS NULL AND taken_at IS NULL AND expires_at > now() "
        "AND release = $2 AND step = $3 AND kind = ANY($4) ORDER BY kind DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED) "
        "RETURNING id, kind, release, step, actor",
        told.runner,
        told.release or "",
        told.at,
        list(told.offers),
    )
    # What was taken by a runner that died, or what nobody took, must not stand in the way of the next click.
    await connection.execute(
        "UPDATE penstock_console.wishes SET done_at = now(), outcome = coalesce(outcome, 'nobody carried it out') "
        "WHERE done_at IS NULL AND (expires_at < now() AND taken_at IS NULL OR taken_by <> $1 AND release = $2 "
        "OR taken_at < now() - interval '1 hour')",
        told.runner,
        told.release or "",
    )
    return wish


async def _wish(store: Store, wish: Wish) -> tuple[int, Any]:
    """The same wish for the same stand is one wish, whoever clicks how often. Raises Refused (409)."""
    connection = store.connection
    async with connection.transaction():
        now = await shown(connection)
        told = now["told"]
        if told is None or not now["attended"]:
            raise Refused(
                Problem(409, f"No runner attends the release. On the operator's machine: `{COMMAND}`.", "no_runner")
            )
        if (told.get("release"), told["at"]) != (wish.release, wish.at):
            message = f"The release has moved on: it is at `{told['at']}` now. Look again, then ask again."
            raise Refused(Problem(409, message, "release_moved"))
        if wish.kind not in told["offers"]:
            raise Refused(Problem(409, f"The runner cannot {wish.kind} now: {told['doing'] or 'idle'}.", "not_offered"))
        await connection.execute(
            "UPDATE penstock_console.wishes SET done_at = now(), outcome = 'nobody took it' "
            "WHERE done_at IS NULL AND taken_at IS NULL AND expires_at < now()"
        )
        await connection.execute(
            "DELETE FROM penstock_console.wishes WHERE at < now() - make_interval(days => $1)", KEPT_DAYS
        )
        said = await connection.execute(
            "INSERT INTO penstock_console.wishes (kind, release, step, actor, expires_at) "
            "VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5)) ON CONFLICT DO NOTHING",
            wish.kind,
            wish.release,
            wish.at,
            store.actor.name,
            float(WISH_SECONDS),
        )
        fresh = said.endswith(" 1")
        row = await connection.fetchrow(
            "SELECT *, false AS over FROM penstock_console.wishes "
            "WHERE release = $1 AND step = $2 AND kind = $3 AND done_at IS NULL",
            wish.release,
            wish.at,
            wish.kind,
        )
        if fresh:
            await store.audit_row(f"release.{wish.kind}.wish", wish.release, {"at": wish.at})
    if row is None:  # it was carried out in this moment
        raise Refused(Problem(409, "This was done just now. Look again.", "release_moved"))
    return 201 if fresh else 200, _shown_wish(row)
