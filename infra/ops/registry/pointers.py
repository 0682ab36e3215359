"""Which version of a model is staged and which is in production, with the history of both."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from infra.ops.registry.manifest import pointers_key
from infra.ops.registry.store import Bucket

STAGE, PRODUCTION = "stage", "production"
MOST_HISTORY = 500
"""Moves that are kept; older versions of the object hold the rest."""


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def read(bucket: Bucket, model: str) -> dict[str, Any]:
    """{stage, production, history}; a pointer that was never set is absent."""
    found = bucket.read(pointers_key(model))
    return found[0] if found else {"history": []}


def move(bucket: Bucket, model: str, pointer: str, digest: str, by: str, why: str) -> dict[str, Any]:
    """Sets a pointer, and says so in the history. One that is there already stays as it is."""

    def edit(content: dict[str, Any]) -> dict[str, Any]:
        before = content.get(pointer) or {}
        if before.get("digest") == digest:
            return content or {"history": []}
        entry = {"pointer": pointer, "digest": digest, "before": before.get("digest"), "at": now(), "by": by}
        history = [*content.get("history", []), {**entry, "why": why}]
        set_now = {"digest": digest, "at": entry["at"], "by": by}
        return {**content, pointer: set_now, "history": history[-MOST_HISTORY:]}

    return bucket.change(pointers_key(model), edit)


def clear(bucket: Bucket, model: str, pointer: str, by: str, why: str) -> None:
    """Takes a pointer away: what is there now is no version."""

    def edit(content: dict[str, Any]) -> dict[str, Any]:
        before = content.pop(pointer, None)
        if before is None:
            return content or {"history": []}
        entry = {"pointer": pointer, "digest": None, "before": before["digest"], "at": now(), "by": by, "why": why}
        return {**content, "history": [*content.get("history", []), entry][-MOST_HISTORY:]}

    bucket.change(pointers_key(model), edit)


def note(bucket: Bucket, model: str, content: Mapping[str, Any]) -> None:
    """An event that moves no pointer: an override, a removal."""

    def edit(pointers: dict[str, Any]) -> dict[str, Any]:
        history = [*pointers.get("history", []), {**content, "at": now()}]
        return {**pointers, "history": history[-MOST_HISTORY:]}

    bucket.change(pointers_key(model), edit)


def previous(pointers: Mapping[str, Any]) -> str | None:
    """The version that was in production before the one that is now."""
    current = (pointers.get(PRODUCTION) or {}).get("digest")
    for entry in reversed(pointers.get("history", [])):
        if entry.get("pointer") == PRODUCTION and entry.get("digest") == current and entry.get("before"):
            return str(entry["before"])
    return None
