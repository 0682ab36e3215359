"""What the parts of retrieval refuse alike, and how long they wait for the database."""

from __future__ import annotations

from app.gateway.errors import Problem, Refused, retry_after

ADD_SECONDS = 60.0
READ_SECONDS = 10.0
AWAY = Problem(
    503, "The database of retrieval is away or slow. Try again in 2 s.", "retrieval_database_away",
    headers=retry_after(),
)  # fmt: skip


def no_collection(name: str) -> Refused:
    return Refused(Problem(404, f"There is no collection `{name}`.", "collection_not_found", "collection"))
