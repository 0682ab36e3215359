"""The console's part of the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.gateway.console import records, release
from app.gateway.errors import Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.gateway.keys.admin import Call
    from app.gateway.keys.store import Store
    from app.gateway.service import Service

NO_CONSOLE = Problem(404, "There is no console here: `console` is not configured.", "no_console")


def work(service: Service, call: Call, parts: list[str]) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """What a request asks for. Raises Refused."""
    if service.console is None:
        raise Refused(NO_CONSOLE)
    if parts[0] == "release":
        return release.work(call, parts)
    if parts[0] == "drills":
        return records.drills(call, parts)
    return records.jobs(service, call, parts)
