"""Files, batches and jobs as clients see them: OpenAI's objects, and the one of jobs beside them. Without I/O."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

Record = Any
"""A row of the database, or a mapping like one."""
JOB_STATUS = {"validating": "queued", "finalizing": "in_progress"}
"""A job's own words for what is the same as a batch's."""


def _unix(moment: dt.datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def file_object(row: Record) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "file",
        "bytes": row["bytes"],
        "created_at": _unix(row["created_at"]),
        "expires_at": _unix(row["expires_at"]),
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": "processed",
    }


def _ended(row: Record, status: str) -> int | None:
    return _unix(row["ended_at"]) if row["status"] == status else None


def batch_object(row: Record) -> dict[str, Any]:
    errors = None if row["errors"] is None else {"object": "list", "data": json.loads(row["errors"])}
    return {
        "id": row["id"],
        "object": "batch",
        "endpoint": row["endpoint"],
        "errors": errors,
        "input_file_id": row["input_file"],
        "completion_window": "24h",
        "status": row["status"],
        "output_file_id": row["output_file"],
        "error_file_id": row["error_file"],
        "created_at": _unix(row["created_at"]),
        "in_progress_at": _unix(row["in_progress_at"]),
        "expires_at": _unix(row["expires_at"]),
        "finalizing_at": _unix(row["finalizing_at"]),
        "completed_at": _ended(row, "completed"),
        "failed_at": _ended(row, "failed"),
        "expired_at": _ended(row, "expired"),
        "cancelling_at": _unix(row["cancelling_at"]),
        "cancelled_at": _ended(row, "cancelled"),
        "request_counts": {"total": row["total"], "completed": row["completed"], "failed": row["failed"]},
        "metadata": None if row["metadata"] is None else json.loads(row["metadata"]),
    }


def job_object(row: Record) -> dict[str, Any]:
    """`completed`: the model answered. `failed`: it refused, or could not be reached; the result says why."""
    ended = row["ended_at"] is not None
    status = JOB_STATUS.get(row["status"], row["status"])
    if status == "in_progress" and not row.get("attempts"):
        status = "queued"
    if status == "completed" and row["failed"]:
        status = "failed"
    return {
        "id": row["id"],
        "object": "job",
        "endpoint": row["endpoint"],
        "status": status,
        "progress": {
            "percent": 100 if ended else 0,
            "attempts": row.get("attempts") or 0,
            "queued_before": row.get("queued_before"),
        },
        "created_at": _unix(row["created_at"]),
        "expires_at": _unix(row["expires_at"]),
        "ended_at": _unix(row["ended_at"]),
        "result_url": f"/v1/jobs/{row['id']}/result" if row["output_file"] or row["error_file"] else None,
        "webhook": None if row["webhook"] is None else {"url": row["webhook"]},
        "metadata": None if row["metadata"] is None else json.loads(row["metadata"]),
    }


def page(objects: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """`objects` may be one more than the limit, which says that there are more."""
    shown = objects[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(objects) > limit,
    }
