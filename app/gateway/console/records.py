"""What the console shows beside live figures: drills' results, and jobs of all tenants. Under /admin/v1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from app.gateway.console.release import Line, Word
from app.gateway.errors import Problem, Refused, unknown_url, wrong_method
from app.gateway.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.gateway.keys.admin import Call
    from app.gateway.keys.store import Store
    from app.gateway.service import Service

MOST_DRILLS = 200
MOST_JOBS = 50
NO_JOBS = Problem(404, "There are no jobs here: `jobs` is not configured.", "no_jobs")
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0)]


class DrillResult(Strict):
    """The latest run of one drill on this stack."""

    passed: bool
    missed: tuple[Line, ...] = Field(default=(), max_length=50, description="Aims that were not held.")
    done: Line = Field(description="What was broken.")
    requests: Whole
    retried: Whole
    failed: Whole
    streams: Whole
    cut: Whole
    resumed: Whole
    worst_stall: Seconds | None = Field(description="Seconds.")
    full_capacity_seconds: Seconds | None
    load: Line = ""
    commit: Annotated[str, Field(max_length=64)] = ""


def drills(call: Call, parts: list[str]) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """GET /admin/v1/drills, PUT /admin/v1/drills/{name}. Raises Refused."""
    from pydantic import TypeAdapter, ValidationError

    from app.gateway.keys import forms

    if parts == ["drills"]:
        if call.method != "GET":
            raise Refused(wrong_method(call.method, call.path, "GET"))
        return _list_drills
    if len(parts) != 2:
        raise Refused(unknown_url(call.method, call.path))
    if call.method != "PUT":
        raise Refused(wrong_method(call.method, call.path, "PUT"))
    try:
        name = TypeAdapter(Word).validate_python(parts[1])
    except ValidationError:
        raise Refused(unknown_url(call.method, call.path)) from None
    result = forms.read(DrillResult, call.body)

    async def keep(store: Store) -> tuple[int, Any]:
        connection = store.connection
        async with connection.transaction():
            known = await connection.fetchval("SELECT count(*) FROM penstock_console.drills WHERE drill <> $1", name)
            if known >= MOST_DRILLS:
                raise Refused(Problem(409, f"There are results of {known} drills already.", "too_many_drills"))
            await connection.execute(
                "INSERT INTO penstock_console.drills (drill, result, actor) VALUES ($1, $2, $3) ON CONFLICT (drill) "
                "DO UPDATE SET result = excluded.result, actor = excluded.actor, at = now()",
                name,
                result.model_dump_json(),
                store.actor.name,
            )
            await store.audit_row("drill.result", name, {"passed": result.passed})
        return 200, {"object": "drill", "drill": name, **result.model_dump(mode="json")}

    return keep


async def _list_drills(store: Store) -> tuple[int, Any]:
    rows = await store.connection.fetch("SELECT drill, result, at FROM penstock_console.drills ORDER BY drill")
    data = [
        {"object": "drill", "drill": row["drill"], "at": row["at"].timestamp(), **json.loads(row["result"])}
        for row in rows
    ]
    return 200, {"object": "list", "data": data}


def jobs(service: Service, call: Call, parts: list[str]) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """GET /admin/v1/jobs: what waits, runs and ended, of all tenants. Raises Refused."""
    if service.jobs is None or parts != ["jobs"]:
        raise Refused(NO_JOBS)
    if call.method != "GET":
        raise Refused(wrong_method(call.method, call.path, "GET"))
    return _jobs


async def _jobs(store: Store) -> tuple[int, Any]:
    from app.jobs.schema import CANCELLED, CLAIMED, DONE, EXPIRED, FAILED, QUEUED

    connection = store.connection
    names = {QUEUED: "queued", CLAIMED: "running", DONE: "done", FAILED: "failed", EXPIRED: "expired",
             CANCELLED: "cancelled"}  # fmt: skip
    waiting = await connection.fetch(
        "SELECT tenant, state, count(*) AS count FROM penstock_jobs.rows WHERE state = ANY($1) "
        "GROUP BY tenant, state ORDER BY count(*) DESC LIMIT 200",
        [QUEUED, CLAIMED],
    )
    recent = await connection.fetch(
        "SELECT id, kind, tenant, endpoint, status, created_at, ended_at FROM penstock_jobs.batches "
        "ORDER BY ended_at IS NOT NULL, seq DESC LIMIT $1",
        MOST_JOBS,
    )
    counts = await connection.fetch(
        "SELECT batch, state, count(*) AS count FROM penstock_jobs.rows WHERE batch = ANY($1) GROUP BY batch, state",
        [row["id"] for row in recent],
    )
    rows: dict[str, dict[str, int]] = {}
    for row in counts:
        rows.setdefault(row["batch"], {})[names.get(row["state"], "other")] = row["count"]
    queue: dict[str, dict[str, int]] = {}
    for row in waiting:
        queue.setdefault(row["tenant"], {})[names[row["state"]]] = row["count"]
    return 200, {
        "object": "jobs",
        "queue": [{"tenant": tenant, "queued": 0, "running": 0, **found} for tenant, found in queue.items()],
        "recent": [
            {
                "id": row["id"],
                "kind": row["kind"],
                "tenant": row["tenant"],
                "endpoint": row["endpoint"],
                "status": row["status"],
                "created_at": row["created_at"].timestamp(),
                "ended_at": None if row["ended_at"] is None else row["ended_at"].timestamp(),
                "requests": rows.get(row["id"], {}),
            }
            for row in recent
        ],
    }
